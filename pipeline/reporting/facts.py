"""What a report calls its two sides, and facts about each side's runs."""

from collections.abc import Sequence

from eval import sides
from eval.losses import Unit
from eval.sides import RunFacts, Side
from pipeline.reporting import run_metrics
from pipeline.runs.finished import FinishedRun


def names_of(baseline: FinishedRun, candidate: FinishedRun) -> tuple[str, str]:
    """Returns `mT5` (or `T5`) and `Switch`, or recipe names where both are of one kind."""
    kinds = tuple(_kind(run) for run in (baseline, candidate))
    if kinds[0] != kinds[1]:
        return kinds[0], kinds[1]
    recipes = (baseline.recipe["name"], candidate.recipe["name"])
    if recipes[0] != recipes[1]:
        return recipes
    return f"{kinds[0]} (baseline)", f"{kinds[1]} (candidate)"


def _kind(run: FinishedRun) -> str:
    dense = "T5" if run.recipe["name"].startswith("t5-") else "mT5"
    kind = dense if run.switch is None else "Switch"
    return f"{kind} (imported {run.recipe['name']})" if run.imported else kind


def facts_of(of: Side, runs: Sequence[FinishedRun], every: Sequence[FinishedRun]) -> RunFacts:
    """Returns the facts about a side: its recipe, size, devices, speed and losses.

    Args:
        of: the side.
        runs: its runs of greatest length.
        every: its runs of all lengths, whose commits are named.
    """
    first = runs[0]
    totals = [sides.total_curve(run, Unit.NATS_PER_TOKEN)[-1] for run in of.runs]
    return RunFacts(
        name=of.name,
        recipe=first.recipe["name"],
        seeds=tuple(run.recipe["seed"] for run in runs),
        parameters=first.about.parameters,
        flops_per_sequence=first.about.flops_per_sequence,
        experts=first.experts,
        devices=" + ".join(sorted({counted(run.devices) for run in runs})),
        steps=first.last_step,
        step_seconds=run_metrics.median_metric(runs, "seconds"),
        step_seconds_spread=run_metrics.spread_over_tenths(runs, "seconds"),
        tokens_per_second=run_metrics.median_metric(runs, "tokens_per_second"),
        dropped_share=(
            None if first.switch is None else run_metrics.mean_of_last_tenth(runs, "dropped_share")
        ),
        training_loss_nats=run_metrics.mean_of_last_tenth(runs, "loss_nats"),
        held_out_loss_nats=tuple(float(total) for total in totals),
        commits=tuple(dict.fromkeys(commit for run in every for commit in run.about.commits)),
    )


def counted(devices: Sequence[str]) -> str:
    """Returns `8 × TPU v5p` for eight such entries, `not recorded` for none."""
    kinds = [f"{devices.count(kind)} × {kind}" for kind in dict.fromkeys(devices)]
    return ", ".join(kinds) or "not recorded"
