"""Checks that students may be compared with a baseline, and that the candidate taught them.

A student is compared without its teacher and without how it was taught.
"""

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from pipeline.artifacts.differences import json_differences
from pipeline.errors import ArtifactError
from pipeline.runs.comparable import (
    check_same_pages,
    check_same_recipe,
    check_same_targets,
    inputs_of,
)
from pipeline.runs.finished import FinishedRun
from pipeline.runs.record import RecordedTeacher

_DISTILLATION = "distillation"  # the part of a recipe that only a student has
_TEACHER = "teacher"  # the input that only a student has


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
    inputs = {key: value for key, value in inputs_of(student).items() if key != _TEACHER}
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
    if teacher is None or any(_taught(teacher, run) for run in teachers):
        return
    raise ArtifactError(
        f"The teacher of {student.directory} is step {teacher.step:,} of {teacher.recipe}, seed "
        f"{teacher.seed}, of {teacher.parameters:,} parameters, which is not the end of one of the "
        "candidate's longest runs; name it with --candidate."
    )


def _taught(teacher: RecordedTeacher, run: FinishedRun) -> bool:
    """Returns whether a run is the teacher; a recorded step of 0 is imported, or not recorded."""
    same = teacher.recipe, teacher.seed, teacher.parameters
    of_run = run.recipe["name"], run.recipe["seed"], run.about.parameters
    return same == of_run and teacher.step in (0, run.last_step)
