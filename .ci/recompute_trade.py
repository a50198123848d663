"""Costs, points and frontiers of a report, and its comparisons with further networks, recomputed.

Costs are read anew from recipe.json and metrics.jsonl of each run.
"""

import itertools
import json
import statistics
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from recompute_gains import mean_gain
from recompute_languages import compare_languages, compare_means, compare_summary
from recompute_scripts import ALONE
from recompute_sides import BITS, NATS, Unit, at_step, evaluations, side, unit_of, without_variants
from recompute_statistics import same

COSTS = "device_seconds", "flops_per_token", "parameters"


def networks(runs: list[Path]) -> list[list[Path]]:
    """Returns the runs of each network: of one model but for its experts."""
    found: dict[str, list[Path]] = {}
    for run in runs:
        model = {k: v for k, v in _about(run)["recipe"]["model"].items() if k != "switch"}
        found.setdefault(json.dumps(model, sort_keys=True), []).append(run)
    return list(found.values())


def compare_trade(report: dict, baseline: list[Path], candidate: list[Path]) -> None:
    """Compares what is equal, every point and frontier, and each further comparison."""
    shown = report.get("trade")
    if shown is None:
        return  # a report of an earlier version
    of_sides = [networks(runs) for runs in (baseline, candidate)]
    named = dict(
        zip([one["name"] for one in shown["networks"]], itertools.chain(*of_sides), strict=True)
    )
    for one in shown["networks"]:
        for field, value in _costs(named[one["name"]]).items():
            if field == "devices":
                assert one[field] == value, (one["name"], one[field], value)
            else:
                same(f"{one['name']} {field}", one[field], value)
    ours = of_sides[1][0]
    times = report["step_times"]
    ratio = times and times["step_time_ratio"]
    for number, (opponent, equal) in enumerate(
        zip(
            of_sides[0],
            [shown["equal"], *(one["equal"] for one in shown["opponents"])],
            strict=True,
        )
    ):
        found = _equal(_costs(opponent), _costs(ours), None if number else ratio)
        if equal != found:
            sys.exit(f"network {number} of the baseline is equal in {found}, shown is {equal}")
    _compare_first_sentence(report["sentence"], shown["equal"], report["verdict"])
    for one, runs in zip(shown["opponents"], of_sides[0][1:], strict=True):
        _compare_opponent(one, runs, ours)
    unit = NATS if shown["unit"] == "nats per token" else BITS
    _compare_points(report, shown, named, unit)
    _compare_frontiers(shown)
    print(
        f"{len(shown['points'])} points, {len(shown['frontiers'])} frontiers and "
        f"{len(shown['opponents'])} further networks equal to 1e-9"
    )


def _about(run: Path) -> dict:
    return json.loads((run / "recipe.json").read_text())


def _costs(runs: list[Path]) -> dict:
    """Returns the costs of a network; its time is the median over its runs."""
    about = _about(runs[0])
    paces = [pace for run in runs if (pace := _pace(run)) is not None]
    flops, lengths = about.get("flops_per_sequence"), about.get("lengths")
    tokens = lengths and lengths["inputs"] + lengths["targets"]
    return {
        "width": about["recipe"]["model"]["embed"],
        "parameters": about.get("parameters"),
        "flops_per_token": flops / tokens if flops and tokens else None,
        "step_device_seconds": statistics.median(paces) if paces else None,
        "devices": sorted({kind for run in runs for kind in _about(run).get("devices", [])}),
    }


def _pace(run: Path) -> float | None:
    """Returns the device-seconds per step of a run; None if its log has no times."""
    path = run / "metrics.jsonl"
    lines = map(json.loads, path.read_text().splitlines()) if path.exists() else []
    seconds = [line["seconds"] for line in lines if line.get("seconds") is not None]
    devices = len(_about(run).get("devices", []))
    trained = max(evaluations(run)) > 0
    return statistics.median(seconds) * devices or None if seconds and trained else None


def _equal(opponent: dict, ours: dict, step_time_ratio: float | None) -> list[str] | None:
    def ratio(field: str) -> float | None:
        known = opponent[field] and ours[field]
        return opponent[field] / ours[field] if known else None

    of_logs = ratio("step_device_seconds") if opponent["devices"] == ours["devices"] else None
    ratios = {
        "FLOPs per token": ratio("flops_per_token"),
        "parameters": ratio("parameters"),
        "time per step": of_logs if step_time_ratio is None else step_time_ratio,
        "width": ratio("width"),
    }
    if set(ratios.values()) == {None}:
        return None
    return [name for name, value in ratios.items() if value and 0.95 <= value <= 1.05]


def _compare_first_sentence(sentence: str, equal: list[str] | None, verdict: str) -> None:
    names = " and ".join(filter(None, [", ".join((equal or [])[:-1]), *(equal or [])[-1:]]))
    opening = f"At equal {names}: " if equal else "With nothing equal within 5%: "
    if not sentence.startswith(("" if equal is None else opening) + verdict):
        sys.exit(f"the report begins with {sentence!r}, equal are {equal}")


def _compare_opponent(shown: dict, runs: list[Path], ours: list[Path]) -> None:
    """Compares the candidate with a further network, at the lengths of both."""
    steps = [{max(evaluations(run)) for run in of} for of in (runs, ours)]
    if max(map(len, steps)) > 1:
        common = steps[0] & steps[1]
        runs, ours = ([run for run in of if max(evaluations(run)) in common] for of in (runs, ours))
    both, unit = [side(runs), side(ours)], unit_of(shown)
    compare_summary(compare_languages(shown["languages"], both, unit), shown["summary"], None)
    compare_means(shown["name"], shown["summary"], both, unit)
    for name, found in mean_gain(without_variants(both), *unit).items():
        same(f"{shown['name']} {name}", shown["summary"][name], found)


def _compare_points(report: dict, shown: dict, named: dict[str, list[Path]], unit: Unit) -> None:
    expected = []
    for name, runs in named.items():
        costs = _costs(runs)
        for run in runs:
            steps, pace = max(evaluations(run)), _pace(run)
            costs["device_seconds"] = None if pace is None else pace * steps
            seed = _about(run)["recipe"]["seed"]
            expected.append((name, steps, seed, run, [costs[cost] for cost in COSTS]))
    order = list(named)
    expected.sort(key=lambda one: (order.index(one[0]), *one[1:3]))
    for point, (name, steps, seed, run, costs) in zip(shown["points"], expected, strict=True):
        assert (point["network"], point["steps"], point["seeds"]) == (name, steps, [seed])
        for cost, value in zip(COSTS, costs, strict=True):
            same(f"{name} {seed} {steps} {cost}", point[cost], value)
        ((rows,),) = at_step([side([run])], steps)
        for languages, loss in _losses(report, rows, *unit).items():
            same(f"{name} {seed} {steps} {languages}", point["losses"][languages], loss)


def _losses(report: dict, rows: pd.DataFrame, amount: str, size: str) -> dict[str, float]:
    """Returns mean losses over the languages with two scored pages, and over those of scripts."""
    languages = report["languages"]
    pages = pd.Series({code: row["held_out_pages"] for code, row in languages.items()})
    sums = rows.groupby("language")[[amount, size]].sum()
    loss = sums[amount] / sums[size]
    script = pd.Series({code: languages[code]["script"] for code in loss.index})
    counts = script.map(script.value_counts())
    label = script.where(counts > 1, ALONE)
    if label.nunique() == 1:
        label[:] = ""
    elif (alone := label == ALONE).sum() == 1:
        label[alone] = script[alone]
    several = pages[loss.index] > 1
    means = loss[several].groupby(label[several]).mean().drop("", errors="ignore")
    return {"all": loss[several].mean(), **means}


def _compare_frontiers(shown: dict) -> None:
    """Compares each frontier with the points: none is left out, and none is above another."""
    table = pd.DataFrame(shown["points"])
    losses = pd.DataFrame(table.losses.tolist())
    keys = [table.side, table.network, table.steps]
    for one in shown["frontiers"]:
        cost, name = one["cost"], one["languages"]
        costs = table[cost].astype(float)
        mean = pd.DataFrame({cost: costs, "loss": losses[name]}).groupby(keys).mean()
        mean[cost] = costs.groupby(keys).apply(lambda all_of: all_of.mean(skipna=False))
        mean = mean.loc[[one["side"]]].dropna().reset_index()
        below = [
            not (
                ((mean[cost] <= at[cost]) & (mean.loss < at.loss))
                | ((mean[cost] < at[cost]) & (mean.loss <= at.loss))
            ).any()
            for _, at in mean.iterrows()
        ]
        best = mean.loc[np.array(below, bool)].sort_values(cost)
        label = f"frontier of {one['side']} by {cost}, {name}"
        names = [(point["network"], point["steps"]) for point in one["points"]]
        if names != list(zip(best.network, best.steps, strict=True)):
            sys.exit(f"the {label} has {names}, recomputed {best}")
        for point, (_, found) in zip(one["points"], best.iterrows(), strict=True):
            same(f"{label} {cost}", point[cost], found[cost])
            same(f"{label} loss", point["loss"], found.loss)
