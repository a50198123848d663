"""What a report must hold besides its gains: curves, losses per run, null comparisons, models."""

import itertools
import math
import sys
from collections.abc import Iterable

from recompute_sides import NATS, Side, curves, last
from recompute_statistics import same

MOST_DIVISIONS = 10  # null comparisons of a side with many runs


def compare_contents(report: dict, sides: list[Side]) -> None:
    """Compares losses per run and step, and checks that no null comparison is missing."""
    for at, (which, one) in enumerate(zip(("baseline", "candidate"), sides, strict=True)):
        facts = report[which]
        compare_curves(report["curves"][facts["name"]], one, facts["name"])
        for run, shown in zip(one, facts["held_out_loss_nats"], strict=True):
            same(f"{facts['name']} held-out loss", shown, over_pages(run, max(run)))
        final = [rows.groupby("language")[[*NATS]].sum() for rows in last(one)]
        for code, row in report["languages"].items():
            found = [sums.loc[code, NATS[0]] / sums.loc[code, NATS[1]] for sums in final]
            for shown, loss in zip(row[f"loss_nats_{which}_runs"], found, strict=True):
                same(f"{code} loss of a run of {facts['name']}", shown, loss)
        check_nulls([null for null in report["nulls"] if of_side(null, report, at)], facts)
    print("losses of every run and step equal to 1e-9, no null comparison missing")


def of_side(null: dict, report: dict, at: int) -> bool:
    """Returns whether a null comparison is of the baseline (0) or the candidate (1)."""
    return (null["name"] == report["candidate"]["name"]) == bool(at)


def compare_curves(shown: dict, one: Side, name: str) -> None:
    """Compares curves at the steps whose evaluations are there; published runs have few."""
    table = curves(one, *NATS)
    if left_out := set(table.index) - set(shown["steps"]):
        sys.exit(f"the curves of {name} leave out steps {sorted(left_out)}")
    for step, loss_of in table.iterrows():
        at = shown["steps"].index(step)
        for code, losses in shown["loss_nats"].items():
            if code != "all":
                same(f"{name} {code} at {step}", losses[at], loss_of[code])
        totals = [over_pages(run, step) for run in one]
        same(f"{name} all at {step}", shown["loss_nats"]["all"][at], sum(totals) / len(totals))
        for number, total in enumerate(totals):
            run = shown["loss_nats_all_by_run"][number]
            same(f"{name} run {number} at {step}", run[at], total)


def over_pages(run: dict, step: int) -> float:
    """Returns the loss per token over all pages."""
    return run[step][NATS[0]].sum() / run[step][NATS[1]].sum()


def check_nulls(nulls: list[dict], facts: dict) -> None:
    """Checks that each division of a side's seeds into halves is there once."""
    seeds = facts["seeds"]
    half = len(seeds) // 2
    count = math.comb(len(seeds), half) // (1 if len(seeds) % 2 else 2) if half else 0
    halves = [frozenset(map(frozenset, seeds_of(null))) for null in nulls]
    whole = all(sorted(itertools.chain(*seeds_of(null))) == sorted(seeds) for null in nulls)
    if len(set(halves)) != min(count, MOST_DIVISIONS) or not whole:
        sys.exit(
            f"{facts['name']} has seeds {seeds}, and its {len(nulls)} null comparisons are not "
            "their divisions into halves"
        )


def seeds_of(null: dict) -> list[list[int]]:
    """Returns the seeds of both halves."""
    return [null["baseline_seeds"], null["candidate_seeds"]]


def check_names(kind: str, named: Iterable[str], shown: Iterable[str]) -> None:
    """Checks that a report holds the models that were named, and no others."""
    if sorted(set(named)) != sorted(shown):
        sys.exit(f"{kind} {sorted(set(named))} were named, the report holds {sorted(shown)}")
