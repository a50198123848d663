"""A side of a report, from its finished runs.

Runs of one length give curves of their evaluations. Runs of several lengths, with each length for
each seed, give curves of final losses: one point per length. Runs of equal seed share a trunk, so a
seed's runs are one unit of chance.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from eval.sides import Points, Side
from pipeline.errors import ArtifactError
from pipeline.runs.finished import FinishedRun


def side(name: str, runs: Sequence[FinishedRun]) -> Side:
    """Returns the side.

    Raises:
        ArtifactError: if two runs have one length and seed, runs of one length were evaluated at
            different steps, or a seed lacks a length.
    """
    _check_seeds(runs)
    if len(lengths(runs)) > 1:
        return _of_several_lengths(name, runs)
    steps = tuple(runs[0].evaluations)
    for other in runs[1:]:
        if tuple(other.evaluations) != steps:
            raise ArtifactError(
                f"{runs[0].directory} and {other.directory} were evaluated at different steps "
                f"({len(steps)} and {len(other.evaluations)} of them); evaluate both at the same "
                "steps."
            )
    return Side(
        name=name,
        steps=steps,
        points=Points.DECAYING if any(map(decays, runs)) else Points.STEADY,
        pages=tuple(tuple(run.evaluations.values()) for run in runs),
    )


def longest(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Returns the runs of the greatest length, by which gains are judged."""
    most = max(lengths(runs))
    return [run for run in runs if run.last_step == most]


def lengths(runs: Sequence[FinishedRun]) -> tuple[int, ...]:
    """Returns the lengths of runs in steps, ascending."""
    return tuple(sorted({run.last_step for run in runs}))


def decays(run: FinishedRun) -> bool:
    """Returns whether a run's learning rate falls to 0 at its end."""
    return last_rate(run).get("decay_from", 1) < 1


def last_rate(run: FinishedRun) -> Mapping[str, Any]:
    """Returns the settings of the learning rate at the end of a run."""
    optimizer = run.recipe.get("optimizer", {})
    return (optimizer, *optimizer.get("rate_from", ()))[-1]


def _check_seeds(runs: Sequence[FinishedRun]) -> None:
    """Checks that no two trained runs have one seed and length: they are not independent."""
    trained: dict[tuple[int, int], FinishedRun] = {}
    for run in runs:
        if run.imported:
            continue
        first = trained.setdefault((run.recipe["seed"], run.last_step), run)
        if first is not run:
            raise ArtifactError(
                f"{first.directory} and {run.directory} have one seed and one length; name one of "
                "them."
            )


def _of_several_lengths(name: str, runs: Sequence[FinishedRun]) -> Side:
    steps = lengths(runs)
    if len({decays(run) for run in runs}) > 1:
        raise ArtifactError(
            f"The learning rate of some runs of {name} falls to 0 and that of others does not; "
            "name decayed runs of several lengths, without their trunk."
        )
    if not any(map(decays, runs)):
        raise ArtifactError(
            f"The learning rate of no run of {name} falls to 0, and runs of several lengths "
            "compare at the ends of their decays; branch decays off a trunk (docs/commands.md), or "
            "name runs of one length."
        )
    by_seed: dict[int, dict[int, FinishedRun]] = {}
    for run in runs:
        by_seed.setdefault(run.recipe["seed"], {})[run.last_step] = run
    for seed, of_seed in by_seed.items():
        if missing := [step for step in steps if step not in of_seed]:
            raise ArtifactError(
                f"Seed {seed} of {name} has no run of {', '.join(map(str, missing))} steps, which "
                "other seeds have; name runs of the same lengths for each seed."
            )
    return Side(
        name=name,
        steps=steps,
        points=Points.DECAYED,
        pages=tuple(
            tuple(by_seed[run.recipe["seed"]][step].pages for step in steps)
            for run in longest(runs)
        ),
    )
