"""The sides of a report, from finished runs, and the checks that all may be compared.

Runs of one length give curves of their evaluations. Runs of several lengths, with each length for
each seed, give curves of final losses: one point per length. Runs of equal seed share a trunk, so a
seed's runs are one unit of chance.

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
user allows it. An upcycled run is compared without the dense run that it began as, which the report
shows with its bill; where the baseline began so, that is a difference like any other. A student is
compared without its teacher and without how it was taught, and the candidate must have taught it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from eval import losses
from eval.sides import Difference, Points, Side
from pipeline.artifacts import json_differences, json_leaves
from pipeline.errors import ArtifactError
from pipeline.recipe.recipe import Differs, fixed_settings
from pipeline.runs.directory import UPCYCLED, RecordedDense, RecordedTeacher
from pipeline.runs.finished import FinishedRun

_DISTILLATION = "distillation"  # the part of a recipe that only a student has
_TEACHER = "teacher"  # the input that only a student has


def side(name: str, runs: Sequence[FinishedRun]) -> Side:
    """Returns the side.

    Raises:
        ArtifactError: if two runs have one length and seed, runs of one length were evaluated at
            different steps, or a seed lacks a length.
    """
    _check_seeds(runs)
    if len(lengths(runs)) > 1:
        return _side_of_several_lengths(name, runs)
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
        seeds=tuple(run.recipe["seed"] for run in runs),
        steps=steps,
        points=Points.DECAYING if any(map(decays, runs)) else Points.STEADY,
        pages=tuple(tuple(run.evaluations.values()) for run in runs),
    )


def networks(runs: Sequence[FinishedRun]) -> list[list[FinishedRun]]:
    """Returns the runs of each network, in the order in which they were named.

    Experts make no other network: a side has one kind of them, which `differences` checks.
    """
    by_model: dict[str, list[FinishedRun]] = {}
    for run in runs:
        model = without_experts(run.recipe)["model"]
        by_model.setdefault(json.dumps(model, sort_keys=True), []).append(run)
    return list(by_model.values())


def of_common_lengths(
    first: Sequence[FinishedRun], other: Sequence[FinishedRun]
) -> tuple[list[FinishedRun], list[FinishedRun]]:
    """Returns the runs of two networks that have a length of both; all, where each has one length.

    Raises:
        ArtifactError: if they have several lengths and none in common.
    """
    ours, theirs = lengths(first), lengths(other)
    common = {*ours} & {*theirs}
    if len(ours) == len(theirs) == 1:
        return [*first], [*other]
    if not common:
        raise ArtifactError(
            f"{other[0].directory} and {first[0].directory} are of two networks without runs of "
            f"one length ({', '.join(map(str, theirs))} against {', '.join(map(str, ours))} "
            "steps); name runs of one length of each."
        )
    return (
        [run for run in first if run.last_step in common],
        [run for run in other if run.last_step in common],
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


def _side_of_several_lengths(name: str, runs: Sequence[FinishedRun]) -> Side:
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
        seeds=tuple(run.recipe["seed"] for run in longest(runs)),
        steps=steps,
        points=Points.DECAYED,
        pages=tuple(
            tuple(by_seed[run.recipe["seed"]][step].pages for step in steps)
            for run in longest(runs)
        ),
    )


def differences(
    baseline: Sequence[FinishedRun], candidate: Sequence[FinishedRun], *, allowed: bool
) -> tuple[Difference, ...]:
    """Returns the settings that differ beyond the feed-forward, the name and the seed.

    Raises:
        ArtifactError: if there are any and none are allowed, or the runs scored different pages.
    """
    if not any(run.about.upcycled for run in baseline):
        candidate = [_without_beginning(run) for run in candidate]
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
        if several:
            _check_same_recipes_by_length(runs)
        for other in runs[1:]:
            if not several:
                check_same_recipe(runs[0], other)
            check_same_targets(runs[0], other, "--allow-differences compares them in bits per byte")
    compared = _without_lengths(runs) if several else runs
    return listed_differences([_fixed_settings(run) for run in compared], len(baseline))


def listed_differences(
    settings: Sequence[Mapping[str, Any]], baseline_runs: int
) -> tuple[Difference, ...]:
    """Returns the settings that are not equal in all runs.

    Args:
        settings: settings of each run, those of the baseline first.
        baseline_runs: number of the baseline's runs.
    """
    fields = [json_leaves(dict(of_run)) for of_run in settings]
    different = []
    for name in dict.fromkeys(name for leaves in fields for name in leaves):
        values = tuple(_in_words(leaves.get(name)) for leaves in fields)
        if len(set(values)) > 1:
            different.append(Difference(name, values[:baseline_runs], values[baseline_runs:]))
    return tuple(different)


def _check_same_lengths(baseline: Sequence[FinishedRun], candidate: Sequence[FinishedRun]) -> None:
    ours, theirs = lengths(candidate), lengths(baseline)
    if ours != theirs and max(len(ours), len(theirs)) > 1:
        raise ArtifactError(
            f"The baseline has runs of {', '.join(map(str, theirs))} steps and the candidate of "
            f"{', '.join(map(str, ours))}; name runs of the same lengths on both sides."
        )


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


def _without_beginning(run: FinishedRun) -> FinishedRun:
    return replace(run, about=msgspec.structs.replace(run.about, upcycled=None))


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
    if lines := json_differences(_fixed_settings(first), _fixed_settings(other), other="here"):
        raise ArtifactError(
            f"{first.directory} and {other.directory} differ in more than the feed-forward, "
            f"the name and the seed ({'; '.join(lines)}); compare runs of one recipe, or add "
            "--allow-differences: the report then lists them."
        )


def _fixed_settings(run: FinishedRun) -> dict[str, Any]:
    """Returns settings, digests of inputs and numerics, which must be equal on both sides."""
    recipe = fixed_settings(run.recipe, Differs.SIDES)
    recipe |= {"mixture_from": _by_step(recipe.get("mixture_from", ()), without="tokens")}
    if optimizer := recipe.get("optimizer"):
        rates = _by_step(optimizer.get("rate_from", ()))
        recipe |= {"optimizer": {**optimizer, "rate_from": rates}}
    numerics = {} if run.imported else {"version of the numerics": run.about.numerics_version}
    numerics |= {"began as": beginning(run.about.upcycled)}
    return without_experts(recipe) | digests_in_words(compared_inputs(run)) | numerics


def without_experts(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a recipe without its feed-forward layers."""
    model = {key: value for key, value in recipe["model"].items() if key != "switch"}
    return {**recipe, "model": model}


def digests_in_words(inputs: Mapping[str, str]) -> dict[str, str]:
    """Returns the digests of inputs by a name that a reader understands."""
    return {f"digest of the {name}": digest for name, digest in inputs.items()}


def beginning(dense: RecordedDense | None) -> str:
    """Returns how a run began, in words."""
    if dense is None:
        return "not upcycled"
    begun = f"{dense.recipe} at step {dense.step}, begins at {dense.begins_at}"
    return f"{begun}, logits {dense.logits}, noise {dense.noise}"


def _by_step(entries: Sequence[Mapping[str, Any]], without: str = "") -> dict[str, Any]:
    """Returns mixtures or rates by the step at which they begin, without the field `without`.

    The place of a mixture's tokens is left out so, because their digest is compared.
    """
    return {
        str(entry["step"]): {k: v for k, v in entry.items() if k not in ("step", without)}
        for entry in entries
    }


def compared_inputs(run: FinishedRun) -> Mapping[str, str]:
    """Returns the digests of a run's inputs without the dense run that a Switch began as.

    That one is a difference of its own (`beginning`): seeds began as different runs.
    """
    return {name: digest for name, digest in run.about.inputs.items() if name != UPCYCLED}


def _in_words(value: Any) -> str:
    return "not recorded" if value is None else str(value)


def check_same_pages(first: FinishedRun, other: FinishedRun) -> None:
    """Checks that two runs scored the same held-out pages.

    Raises:
        ArtifactError: if they did not.
    """
    if not losses.same_pages(first.pages, other.pages):
        raise ArtifactError(
            f"{first.directory} and {other.directory} scored different held-out pages "
            f"({len(first.pages.loss_nats)} against {len(other.pages.loss_nats)} pages, or other "
            "addresses); evaluate both on tokens of the same corpus."
        )


def check_same_targets(first: FinishedRun, other: FinishedRun, what_to_do: str) -> None:
    """Checks that two runs cut their pages into the same targets.

    Raises:
        ArtifactError: if they did not; its end is `what_to_do`.
    """
    if not losses.same_targets(first.pages, other.pages):
        raise ArtifactError(
            f"{first.directory} and {other.directory} cut the same held-out pages into different "
            f"targets, as different vocabularies or lengths do; {what_to_do}."
        )


def check_students(
    students: Sequence[FinishedRun],
    baseline: FinishedRun,
    teachers: Sequence[FinishedRun],
    *,
    differences_allowed: bool,
) -> None:
    """Checks that students are dense runs like the baseline, except for their distillation.

    Raises:
        ArtifactError: if one is not; or has no teacher, or one that is not among `teachers`; or if
            students of one name have different settings or lengths, so that they are not seeds of
            one recipe.
    """
    named: dict[str, FinishedRun] = {}
    for student in students:
        _check_same_distillation(named.setdefault(student.recipe["name"], student), student)
        _check_teacher(student, teachers)
        check_same_pages(baseline, student)
        check_same_targets(baseline, student, "a student needs its teacher's vocabulary")
        if student.switch is not None:
            raise ArtifactError(
                f"{student.directory} was named as a student and has experts; name dense runs."
            )
        _check_has_teacher(student)
        if not differences_allowed:
            check_same_recipe(baseline, _without_distillation(student))


def _check_has_teacher(student: FinishedRun) -> None:
    if student.recipe.get(_DISTILLATION) is None:
        raise ArtifactError(
            f"{student.directory} was named as a student and has no teacher; name a run that "
            "`mswitch distill` wrote."
        )


def _without_distillation(student: FinishedRun) -> FinishedRun:
    """Returns the student without the settings and inputs that only students have."""
    recipe = {key: value for key, value in student.recipe.items() if key != _DISTILLATION}
    inputs = {key: value for key, value in compared_inputs(student).items() if key != _TEACHER}
    return replace(
        student, recipe=recipe, about=msgspec.structs.replace(student.about, inputs=inputs)
    )


def _check_same_distillation(first: FinishedRun, other: FinishedRun) -> None:
    ours, theirs = (run.recipe.get(_DISTILLATION) for run in (first, other))
    lines = json_differences(ours, theirs, _DISTILLATION)
    lines += json_differences(first.last_step, other.last_step, "steps")
    if lines:
        raise ArtifactError(
            f"{first.directory} and {other.directory} are students of one name, "
            f"{first.recipe['name']!r}, and have different settings or lengths "
            f"({'; '.join(lines)}); distill one of them with another --set name=NAME."
        )


def _check_teacher(student: FinishedRun, teachers: Sequence[FinishedRun]) -> None:
    """Checks that the recorded teacher of a student is one of the candidate's longest runs."""
    teacher = student.about.teacher
    if teacher is None or any(_is_teacher(run, teacher) for run in teachers):
        return
    raise ArtifactError(
        f"The teacher of {student.directory} is step {teacher.step:,} of {teacher.recipe}, seed "
        f"{teacher.seed}, of {teacher.parameters:,} parameters, which is not the end of one of the "
        "candidate's longest runs; name it with --candidate."
    )


def _is_teacher(run: FinishedRun, recorded: RecordedTeacher) -> bool:
    """Returns whether a run is the teacher; a recorded step of 0 is imported, or not recorded."""
    return (
        run.recipe["name"] == recorded.recipe
        and run.recipe["seed"] == recorded.seed
        and run.about.parameters == recorded.parameters
        and recorded.step in (0, run.last_step)
    )


def check_names(models: Sequence[Side]) -> None:
    """Checks that no two models of a report have one name.

    Raises:
        ArtifactError: if two have.
    """
    names = [model.name for model in models]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ArtifactError(
            f"--also names a model {twice[0]!r}, as a side of the report is named; choose another "
            "name."
        )
