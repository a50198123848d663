"""Checks that finished runs may be compared.

Two runs may be compared under three conditions:

* Their recipes agree in everything but the name, the seed, the feed-forward layers (`model.switch`)
  and the settings that leave a step's result unchanged (the mesh, how often it logs). Runs of
  several lengths also differ in their steps and in the share of them before the decay; both sides
  then have the same lengths. Mixtures and rates that begin at a step count; when a run was made
  longer does not, because its steps are the same.
* They were trained by one version of the numerics, from the same inputs: tokens, vocabulary, first
  weights, mixture file, teacher.
* Every evaluation scored the same held-out pages with the same targets.

Other held-out pages are always refused. Every other difference is refused too, or listed where the
user allows it. An upcycled run is compared without the dense run that it began as.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from eval import losses
from eval.sides import Difference
from pipeline.artifacts.differences import json_differences, json_leaves
from pipeline.errors import ArtifactError
from pipeline.runs.finished import FinishedRun
from pipeline.runs.record import UPCYCLED
from pipeline.runs.sides_of_runs import last_rate, lengths

# May differ: none changes what a step computes, except the seed, which is meant to.
_FREE = {"name", "seed", "mesh", "remat", "accumulate", "logits_mib"}
_FREE |= {"evaluate_every", "checkpoint_every", "log_every", "keep_every"}


def differences(
    baseline: Sequence[FinishedRun], candidate: Sequence[FinishedRun], *, allowed: bool
) -> tuple[Difference, ...]:
    """Returns the settings that differ beyond the feed-forward, the name and the seed.

    Raises:
        ArtifactError: if there are any and none are allowed, or the runs scored different pages.
    """
    runs = [*baseline, *candidate]
    for other in runs[1:]:
        check_same_pages(runs[0], other)
    for first, *others in (baseline, candidate):
        for other in others:
            check_same_targets(first, other, "runs of one side need one vocabulary")
            _check_same_architecture(first, other)
    _check_same_lengths(baseline, candidate)
    several = len(lengths(baseline)) > 1
    if not allowed:
        (_check_same_recipes_by_length if several else _check_same_recipes)(runs)
        for other in runs[1:]:
            check_same_targets(runs[0], other, "--allow-differences compares them in bits per byte")
    fields = [json_leaves(_fixed(run)) for run in (_without_lengths(runs) if several else runs)]
    names = dict.fromkeys(name for one in fields for name in one)
    rows = [(name, tuple(_plain(one.get(name)) for one in fields)) for name in names]
    count = len(baseline)
    return tuple(
        Difference(name, values[:count], values[count:])
        for name, values in rows
        if len(set(values)) > 1
    )


def _check_same_lengths(baseline: Sequence[FinishedRun], candidate: Sequence[FinishedRun]) -> None:
    ours, theirs = lengths(candidate), lengths(baseline)
    if ours != theirs and max(len(ours), len(theirs)) > 1:
        named = [", ".join(map(str, one)) for one in (theirs, ours)]
        raise ArtifactError(
            f"The baseline has runs of {named[0]} steps and the candidate of {named[1]}; name runs "
            "of the same lengths on both sides."
        )


def _check_same_recipes(runs: Sequence[FinishedRun]) -> None:
    """Checks runs of one length per side, whose lengths are equal, too."""
    for other in runs[1:]:
        check_same_recipe(runs[0], other)


def _check_same_recipes_by_length(runs: Sequence[FinishedRun]) -> None:
    """Checks that all runs agree but for the length, and runs of one length in everything."""
    firsts = {run.last_step: run for run in reversed(runs)}
    for run in runs:
        check_same_recipe(firsts[run.last_step], run)
        check_same_recipe(_without_length(runs[0]), _without_length(run))


def _without_lengths(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Returns runs of several lengths without their steps; without their decays if those agree."""
    decays = {(run.last_step, last_rate(run).get("decay_from")) for run in runs}
    if len(decays) == len(lengths(runs)):
        return [_without_length(run) for run in runs]
    return [_without_steps(run) for run in runs]


def _without_length(run: FinishedRun) -> FinishedRun:
    """Returns a run without its steps and without the share of them before the decay."""
    run = _without_steps(run)
    if not (optimizer := run.recipe.get("optimizer")):
        return run
    kept = {name: value for name, value in last_rate(run).items() if name != "decay_from"}
    if changed := optimizer.get("rate_from"):
        kept = {**optimizer, "rate_from": (*changed[:-1], kept)}
    return replace(run, recipe={**run.recipe, "optimizer": kept})


def _without_steps(run: FinishedRun) -> FinishedRun:
    return replace(run, recipe={k: v for k, v in run.recipe.items() if k != "steps"})


def _check_same_architecture(first: FinishedRun, other: FinishedRun) -> None:
    """Checks that two runs of one side are seeds or lengths of one network."""
    ours, theirs = (run.recipe["model"]["switch"] for run in (other, first))
    if lines := json_differences(theirs, ours, "model.switch", other="here"):
        raise ArtifactError(
            f"{first.directory} and {other.directory} are named on one side and have other experts "
            f"({'; '.join(lines)}); a side has one architecture, so name the other with --also "
            "NAME=RUN."
        )


def check_same_recipe(first: FinishedRun, other: FinishedRun) -> None:
    """Checks that two runs agree in their recipes, inputs and numerics.

    Raises:
        ArtifactError: if they differ beyond the feed-forward, the name and the seed.
    """
    if lines := json_differences(_fixed(first), _fixed(other), other="here"):
        raise ArtifactError(
            f"{first.directory} and {other.directory} differ in more than the feed-forward, "
            f"the name and the seed ({'; '.join(lines)}); compare runs of one recipe, or add "
            "--allow-differences: the report then lists them."
        )


def _fixed(run: FinishedRun) -> dict[str, Any]:
    """Returns settings, digests of inputs and numerics, which must be equal on both sides."""
    recipe = {key: value for key, value in run.recipe.items() if key not in _FREE}
    model = {key: value for key, value in run.recipe["model"].items() if key != "switch"}
    recipe |= {"mixture_from": _by_step(recipe.get("mixture_from", ()), without="tokens")}
    if optimizer := recipe.get("optimizer"):
        rates = _by_step(optimizer.get("rate_from", ()))
        recipe |= {"optimizer": {**optimizer, "rate_from": rates}}
    digests = {f"digest of the {name}": digest for name, digest in inputs_of(run).items()}
    numerics = {} if run.imported else {"version of the numerics": run.about.numerics_version}
    return recipe | {"model": model} | digests | numerics


def _by_step(entries: Sequence[Mapping[str, Any]], without: str = "") -> dict[str, Any]:
    """Returns mixtures or rates by the step at which they begin, without the field `without`.

    The place of a mixture's tokens is left out so, because their digest is compared.
    """
    named = ("step", without)
    return {str(one["step"]): {k: v for k, v in one.items() if k not in named} for one in entries}


def inputs_of(run: FinishedRun) -> Mapping[str, str]:
    """Returns the digests of a run's inputs without the dense run that a Switch began as.

    The report shows that one, with its bill.
    """
    return {name: one for name, one in run.about.inputs.items() if name != UPCYCLED}


def _plain(value: Any) -> str:
    return "not recorded" if value is None else str(value)


def check_same_pages(one: FinishedRun, other: FinishedRun) -> None:
    """Checks that two runs scored the same held-out pages.

    Raises:
        ArtifactError: if they did not.
    """
    if not losses.same_pages(one.pages, other.pages):
        raise ArtifactError(
            f"{one.directory} and {other.directory} scored different held-out pages "
            f"({len(one.pages.loss_nats)} against {len(other.pages.loss_nats)} pages, or other "
            "addresses); evaluate both on tokens of the same corpus."
        )


def check_same_targets(one: FinishedRun, other: FinishedRun, what_to_do: str) -> None:
    """Checks that two runs cut their pages into the same targets.

    Raises:
        ArtifactError: if they did not; its end is `what_to_do`.
    """
    if not losses.same_targets(one.pages, other.pages):
        raise ArtifactError(
            f"{one.directory} and {other.directory} cut the same held-out pages into different "
            f"targets, as different vocabularies or lengths do; {what_to_do}."
        )
