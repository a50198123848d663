"""The models beside the two sides of a report, recomputed: students, further and pruned ones."""

import json
from pathlib import Path

from recompute_contents import check_names
from recompute_gains import kept, mean_gain
from recompute_languages import compare_languages, compare_losses, compare_means, compare_summary
from recompute_sides import NATS, Side, curves, evaluations, last, side, unit_of, without_variants
from recompute_statistics import same


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


def compare_further(report: dict, sides: list[Side], also: list[str]) -> None:
    """Compares the further models: their losses, and their gains over the baseline."""
    runs = runs_by_name(also)
    models = dict(zip((report[at]["name"] for at in ("baseline", "candidate")), sides, strict=True))
    for shown in report["further"]:
        models[shown["name"]] = one = side(runs[shown["name"]])
        unit = unit_of(shown)
        both = [sides[0], one]
        compare_summary(compare_languages(shown["languages"], both, unit), shown["summary"], None)
        compare_means(shown["name"], shown["summary"], both, unit)
        for name, found in mean_gain(without_variants(both), *unit).items():
            same(f"{shown['name']} {name}", shown["summary"][name], found)
    for name, losses in report["losses"].items():
        compare_losses(losses, models[name])
        print(f"{name}: losses of {len(losses)} languages and their intervals equal to 1e-9")


def compare_pruned(report: dict, candidate: list[Path], also: list[str]) -> None:
    """Compares what pruned models lost, in their languages and in others.

    The sources are the candidate's longest runs of their seeds.
    """
    named = runs_by_name(also)
    for shown in report["pruned"]:
        about = json.loads((named[shown["name"]][0] / "recipe.json").read_text())
        facts = about["pruned"]["languages"], about["pruned"]["experts"]
        assert (shown["languages"], shown["experts_before"]) == facts
        assert shown["experts"] == about["recipe"]["model"]["switch"]["experts"]
        seeds = [seed_of(run) for run in named[shown["name"]]]
        sources = [[run for run in candidate if seed_of(run) == seed] for seed in seeds]
        longest = [max(runs, key=lambda run: max(evaluations(run))) for runs in sources]
        both = side(named[shown["name"]]), side(longest)
        ours, theirs = (curves(of, *NATS).iloc[-1] for of in both)
        lost = ours - theirs
        for code, value in shown["lost_nats"].items():
            same(f"{shown['name']} {code} lost_nats", value, lost[code])
        lost = lost[~lost.index.str.endswith("-Latn")]  # no mean counts script variants
        own = lost.index.isin(shown["languages"])
        for name, part in (("lost_in_own", lost[own]), ("lost_in_others", lost[~own])):
            same(f"{shown['name']} {name}", shown[name], part.mean() if len(part) else None)
        print(f"{shown['name']}: losses by share of experts kept equal to 1e-9")


def seed_of(run: Path) -> int:
    """Returns the seed of a run."""
    return json.loads((run / "recipe.json").read_text())["recipe"]["seed"]


def runs_by_name(also: list[str]) -> dict[str, list[Path]]:
    """Returns the runs of each further model, from words like NAME=RUN."""
    runs: dict[str, list[Path]] = {}
    for word in also:
        name, _, run = word.partition("=")
        runs.setdefault(name, []).append(Path(run))
    return runs
