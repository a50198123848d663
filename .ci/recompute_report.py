"""Recomputes report.json from the runs' evaluation files in plain pandas, without mswitch's code.

Usage: recompute_report.py REPORT_DIR --baseline RUN... --candidate RUN... [--student RUN...]
                           [--also NAME=RUN...] [--languages N]
                           [--baseline-tasks RUN... --candidate-tasks RUN...] [--step-times DIR]

Losses, gains, bits per byte, intervals, p-values and step speed-ups must be equal to 1e-9, counts
and verdicts exactly. Standard errors are computed by leaving out one page at a time.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from recompute_contents import check_names, compare_contents
from recompute_gains import error, interval, kept, mean_gain, scored
from recompute_scripts import compare_scripts
from recompute_sides import Side, curves, last, longest, side, without_variants
from recompute_speedups import is_bound, log_speedup, mean_speedup
from recompute_statistics import adjusted, same
from recompute_tasks import compare_sentences, compare_tasks
from recompute_times import compare_times
from scipy import stats


def verdict_of(report: dict, found: dict[str, float | None], runs: list[int]) -> str:
    """Returns the verdict."""
    baseline, candidate = (report[which]["name"] for which in ("baseline", "candidate"))
    if found["mean_gain"] is None:
        return "Nothing can be told: no language has two held-out pages."
    if found["mean_gain_low"] <= 0 <= found["mean_gain_high"]:
        return f"No difference between {baseline} and {candidate} was detected."
    word = "better" if found["mean_gain"] > 0 else "worse"
    single = " in these runs; other seeds may differ" if min(runs) == 1 else ""
    return f"{candidate} is {word} than {baseline}{single}."


def compare_students(students: list[dict], sides: list[Side], runs: list[Path]) -> None:
    """Compares the share that each student keeps, overall and per language."""
    by_name: dict[str, list[Path]] = {}
    for run in runs:
        name = json.loads((run / "recipe.json").read_text())["recipe"]["name"]
        by_name.setdefault(name, []).append(run)
    ends = ("gain_retained", "gain_retained_low", "gain_retained_high")
    check_names("students", by_name, [shown["name"] for shown in students])
    for shown in students:
        three = [*sides, side(by_name[shown["name"]])]
        parts = {"overall": (shown["overall"], without_variants(three))}
        for code, row in shown["languages"].items():
            parts[code] = row, [[r[r.language == code] for r in last(one)] for one in three]
        for code, (row, rows) in parts.items():
            for name, found in zip(ends, kept(rows), strict=True):
                same(f"{shown['name']} {code} {name}", row[name], found)
        print(f"{shown['name']}: {len(parts)} shares kept equal to 1e-9")


def compare_means(
    name: str, summary: dict, sides: list[Side], unit: tuple[str, str]
) -> tuple[float, float, float] | None:
    """Compares the mean speed-up and its interval; returns its log, standard error and freedom."""
    if summary["mean_step_speedup"] is None:
        return None
    mean, size, free = mean_speedup(sides, *unit)
    same(f"{name} mean speed-up", summary["mean_step_speedup"], math.exp(mean))
    if summary["languages_speedup_is_bound"] > 0.05 * summary["languages"]:
        size = math.nan  # bounds have no spread
    known = not math.isnan(size)
    for end, sign in (("low", -1), ("high", 1)):
        found = math.exp(mean + sign * stats.t.ppf(0.975, free) * size) if known else None
        same(f"{name} speed-up {end}", summary[f"mean_step_speedup_{end}"], found)
    return mean, size, free


def compare_null(null: dict, one: Side, seeds: list[int], unit: tuple[str, str]) -> None:
    """Compares one side's halves, as far as the report shows them."""
    halves = [
        [one[seeds.index(seed)] for seed in null[f"{which}_seeds"]]
        for which in ("baseline", "candidate")
    ]
    compared = [curves(half, *unit) for half in halves]
    rows = []
    for code, shown in null["languages"].items():
        gain = compared[0][code].iloc[-1] - compared[1][code].iloc[-1]
        same(f"null {code} gain", shown["gain"], gain)
        mine = scored([[r[r.language == code] for r in last(half)] for half in halves], unit[1])
        p_value = interval(mine, gain, *unit)[2] if len(mine[0][0]) > 1 else None
        trained = all((curve.index > 0).sum() > 1 for curve in compared)
        speedup = log_speedup(*(dict(curve[code]) for curve in compared)) if trained else None
        ratio = None if speedup is None else math.exp(speedup)
        same(f"null {code} speed-up", shown["step_speedup"], ratio)
        rows.append({"code": code, "gain": gain, "p_value": p_value, "speedup": speedup})
    table, summary = pd.DataFrame(rows).set_index("code"), null["summary"]
    counted = table[~table.index.str.endswith("-Latn")]
    same("null languages", summary["languages"], len(counted))
    same("null better", summary["languages_improved"], int((counted.gain > 0).sum()))
    same("null worse", summary["languages_worse"], int((counted.gain < 0).sum()))
    known = counted.speedup.notna().all()
    median = math.exp(counted.speedup.astype(float).median()) if known else None
    same("null median speed-up", summary["median_step_speedup"], median)
    for name, found in mean_gain(without_variants(halves), *unit).items():
        same(f"null {name}", summary[name], found)
    tested = adjusted(counted.p_value.dropna().astype(float))
    found = counted.loc[tested.index[tested < 0.05]]
    for name, sign in (("improved", 1), ("worse", -1)):
        shown = null["summary"][f"languages_{name}_significantly"]
        same(f"null {name}", shown, int((sign * found.gain > 0).sum()))
    compare_means("null", null["summary"], halves, unit)


def compare_languages(
    languages: dict[str, dict], sides: list[Side], unit: tuple[str, str]
) -> pd.DataFrame:
    """Compares losses, gains, speed-ups and intervals of each language; returns what was found."""
    nats, bits = ("loss_nats", "target_tokens"), ("loss_bits", "text_bytes")
    in_nats, in_bits = ([curves(one, *each) for one in sides] for each in (nats, bits))
    compared = in_nats if unit == nats else in_bits
    rows = []
    for code, shown in languages.items():
        for at, name in enumerate(("baseline", "candidate")):
            same(f"{code} nats", shown[f"loss_nats_{name}"], in_nats[at][code].iloc[-1])
            same(f"{code} bits", shown[f"bits_per_byte_{name}"], in_bits[at][code].iloc[-1])
        mine = scored([[r[r.language == code] for r in last(one)] for one in sides], unit[1])
        pages = len(mine[0][0])
        gain = final_gain(compared, code, mine, unit)
        bits_gain = gain if unit == bits else in_bits[0][code].iloc[-1] - in_bits[1][code].iloc[-1]
        same(f"{code} gain in bits", shown["gain_bits_per_byte"], bits_gain)
        field = "gain_nats" if unit == nats else "gain_bits_per_byte"
        same(f"{code} gain", shown[field], gain)
        trained = all((curve.index > 0).sum() > 1 for curve in compared)
        both = [dict(curve[code]) for curve in compared]
        speedup = math.exp(log_speedup(*both)) if trained else None
        same(f"{code} speed-up", shown["step_speedup"], speedup)
        same(f"{code} pages", shown["held_out_pages"], pages)
        several = pages > 1
        low, high, p_value = interval(mine, gain, *unit) if several else (None, None, None)
        same(f"{code} low", shown[f"{field}_low"], low)
        same(f"{code} high", shown[f"{field}_high"], high)
        bound = is_bound(*both) if trained else None
        same(f"{code} bound", shown["step_speedup_is_bound"], bound)
        ours, theirs = (
            [of[unit[0]].sum() / of[unit[1]].sum() for of in side_of] for side_of in mine[::-1]
        )
        rows.append(
            {"code": code, "gain": gain, "speedup": speedup, "p_value": p_value, "bound": bound}
            | {"variant": code.endswith("-Latn"), "shown": shown["p_value_adjusted"]}
            | {"bits": bits_gain, "pages": pages}
            | {"every": max(ours) < min(theirs), "tokens": shown["training_tokens"]}
        )
    return pd.DataFrame(rows).set_index("code")


def final_gain(
    compared: list[pd.DataFrame], code: str, mine: list[list[pd.DataFrame]], unit: tuple[str, str]
) -> float:
    """Returns the gain over the pages that both sides score; of all pages where none is."""
    if not len(mine[0][0]):
        return compared[0][code].iloc[-1] - compared[1][code].iloc[-1]
    theirs, ours = (np.mean([r[unit[0]].sum() / r[unit[1]].sum() for r in of]) for of in mine)
    return float(theirs - ours)


def compare_losses(losses: dict[str, dict], one: Side) -> None:
    """Compares a model's final losses and their intervals."""
    units = {
        "loss_nats": ("loss_nats", "target_tokens"),
        "bits_per_byte": ("loss_bits", "text_bytes"),
    }
    for code, shown in losses.items():
        for name, unit in units.items():
            (runs,) = scored([[r[r.language == code] for r in last(one)]], unit[1])
            loss = np.mean([r[unit[0]].sum() / r[unit[1]].sum() for r in runs])
            same(f"{code} {name}", shown[name], loss)
            known = len(runs[0]) > 1
            size, free = error([1], [runs], *unit) if known else (math.nan, math.nan)
            wide = stats.t.ppf(0.975, free) * size
            for end, sign in (("low", -1), ("high", 1)):
                same(
                    f"{code} {name} {end}",
                    shown[f"{name}_{end}"],
                    loss + sign * wide if known else None,
                )


def compare_further(report: dict, sides: list[Side], also: list[str]) -> None:
    """Compares the further models: their losses, and their gains over the baseline."""
    runs: dict[str, list[Path]] = {}
    for word in also:
        name, _, run = word.partition("=")
        runs.setdefault(name, []).append(Path(run))
    models = dict(zip((report[at]["name"] for at in ("baseline", "candidate")), sides, strict=True))
    for shown in report["further"]:
        models[shown["name"]] = one = side(runs[shown["name"]])
        in_nats = shown["unit"] == "nats per token"
        unit = ("loss_nats", "target_tokens") if in_nats else ("loss_bits", "text_bytes")
        both = [sides[0], one]
        compare_summary(compare_languages(shown["languages"], both, unit), shown["summary"], None)
        compare_means(shown["name"], shown["summary"], both, unit)
        for name, found in mean_gain(without_variants(both), *unit).items():
            same(f"{shown['name']} {name}", shown["summary"][name], found)
    for name, losses in report["losses"].items():
        compare_losses(losses, models[name])
        print(f"{name}: losses of {len(losses)} languages and their intervals equal to 1e-9")


def compare_pruned(report: dict, candidate: Side, also: list[str]) -> None:
    """Compares what pruned models lost against the candidate, in their languages and in others."""
    named: dict[str, list[Path]] = {}
    for word in also:
        name, _, run = word.partition("=")
        named.setdefault(name, []).append(Path(run))
    unit = "loss_nats", "target_tokens"
    for shown in report["pruned"]:
        about = json.loads((named[shown["name"]][0] / "recipe.json").read_text())
        facts = about["pruned"]["languages"], about["pruned"]["experts"]
        assert (shown["languages"], shown["experts_before"]) == facts
        assert shown["experts"] == about["recipe"]["model"]["switch"]["experts"]
        both = side(named[shown["name"]]), candidate
        ours, theirs = (curves(of, *unit).iloc[-1] for of in both)
        lost = ours - theirs
        for code, value in shown["lost_nats"].items():
            same(f"{shown['name']} {code} lost_nats", value, lost[code])
        lost = lost[~lost.index.str.endswith("-Latn")]  # no mean counts script variants
        own = lost.index.isin(shown["languages"])
        for name, part in (("lost_in_own", lost[own]), ("lost_in_others", lost[~own])):
            same(f"{shown['name']} {name}", shown[name], part.mean() if len(part) else None)
        print(f"{shown['name']}: losses by share of experts kept equal to 1e-9")


def main(arguments: list[str]) -> None:
    """Recomputes the report, compares it and prints the values that were compared."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("--baseline", type=Path, nargs="+", required=True)
    parser.add_argument("--candidate", type=Path, nargs="+", required=True)
    parser.add_argument("--student", type=Path, nargs="+", default=[])
    parser.add_argument("--also", nargs="+", default=[], metavar="NAME=RUN")
    parser.add_argument("--baseline-tasks", type=Path, nargs="+", default=[])
    parser.add_argument("--candidate-tasks", type=Path, nargs="+", default=[])
    parser.add_argument("--step-times", type=Path, help="what mswitch time wrote")
    parser.add_argument("--languages", type=int, help="number of languages to expect")
    parsed = parser.parse_args(arguments)
    report = json.loads((parsed.report / "report.json").read_text())
    for name in ("index.html", "report.md"):
        assert (parsed.report / name).stat().st_size > 1000, name
    sides = [side(runs) for runs in (parsed.baseline, parsed.candidate)]
    nats, bits = ("loss_nats", "target_tokens"), ("loss_bits", "text_bytes")
    unit = nats if report["unit"] == "nats per token" else bits
    table = compare_languages(report["languages"], sides, unit)
    compare_summary(table, report["summary"], parsed.languages)
    speedup = compare_means("the", report["summary"], sides, unit)
    compare_times(report.get("step_times"), parsed.step_times, speedup)
    means = mean_gain(without_variants(sides), *unit)
    for name, found in means.items():
        same(name, report["summary"][name], found)
    verdict = verdict_of(report, means, [len(one) for one in sides])
    if report["verdict"] != verdict:
        sys.exit(f"the report's verdict is {report['verdict']!r}, recomputed {verdict!r}")
    print(f"mean gain equal to 1e-9; verdict: {verdict}")
    compare_contents(report, sides)
    for null in report["nulls"]:
        at = 0 if null["name"] == report["baseline"]["name"] else 1
        seeds = report[("baseline", "candidate")[at]]["seeds"]
        compare_null(null, sides[at], seeds, unit)
    print(f"interval of the mean speed-up, {len(report['nulls'])} null comparisons equal to 1e-9")
    compare_students(report["students"], sides, parsed.student)
    if "scripts" in report:  # reports published before they had rows of scripts do not
        compare_scripts(report, table, sides, *unit)
    further = [one["name"] for one in [*report.get("further", []), *report.get("pruned", [])]]
    check_names("further models", [word.partition("=")[0] for word in parsed.also], further)
    if "further" in report:  # nor do they have further models
        compare_further(report, sides, parsed.also)
    if "pruned" in report:  # nor do they have pruned models
        compare_pruned(report, sides[1], parsed.also)
    if "tasks" in report:
        compare_tasks(report, parsed.baseline_tasks, parsed.candidate_tasks)
        compare_sentences(report, longest(parsed.baseline), longest(parsed.candidate))


def compare_summary(table: pd.DataFrame, summary: dict[str, float], languages: int | None) -> None:
    """Compares counts, speed-ups and intervals over languages, script variants left out."""
    counted = table[~table.variant]
    tested = adjusted(counted.p_value.dropna().astype(float))
    for code, shown in table.shown.items():
        same(f"{code} p-value", None if pd.isna(shown) else shown, tested.get(code))
    significant = counted.loc[tested.index[tested < 0.05]]
    exact = {
        "languages": len(counted),
        "languages_improved": int((counted.gain > 0).sum()),
        "languages_worse": int((counted.gain < 0).sum()),
        "languages_improved_significantly": int((significant.gain > 0).sum()),
        "languages_worse_significantly": int((significant.gain < 0).sum()),
        "languages_improved_in_every_run": int(counted.every.sum()),
        "median_held_out_pages": float(counted.pages.median()),
        "script_variants": int(table.variant.sum()),
    }
    known = counted[counted.tokens.fillna(0).astype(float) > 0]
    if min(known.gain.nunique(), known.tokens.nunique()) > 1:
        tokens = known.tokens.astype(float)
        exact["gain_tokens_rank_correlation"] = stats.spearmanr(known.gain, tokens).statistic
    if counted.speedup.notna().all():
        speedups = counted.speedup.astype(float)
        exact |= {
            "languages_not_reached": int((counted.gain < 0).sum()),
            "languages_speedup_is_bound": int(counted.bound.sum()),
            "median_step_speedup": float(np.exp(np.log(speedups).median())),
            "mean_step_speedup": float(np.exp(np.log(speedups).mean())),
            "share_step_speedup_at_least_4": float((speedups >= 4 * (1 - 1e-9)).mean()),
        }
    for name, value in exact.items():
        same(name, summary[name], value)
    if languages not in (None, len(counted)):
        sys.exit(f"{languages} languages were expected, the report holds {len(counted)}")
    for name, value in exact.items():
        print(f"{name:38} report {summary[name]:<12.6g} recomputed {value:.6g}")
    print(f"{len(table)} rows equal to 1e-9, intervals and p-values too")


if __name__ == "__main__":
    main(sys.argv[1:])
