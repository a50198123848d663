"""Finished runs, read back: recipe, evaluations, metrics; and which of them may be compared.

A run is a directory that `mswitch pretrain`, `mswitch distill` or `mswitch import-hf` wrote. Two
runs may be compared when their recipes agree in everything but the name, the seed, the feed-forward
layers (`model.switch`) and what leaves a step's result as it is (the mesh, how often it logs), when
they were made from the same inputs (tokens, vocabulary, first weights, a mixture's file, a
teacher), and when every evaluation scored the same held-out pages with the same targets. Everything
else is refused with a sentence, or listed where the user allows it; other held-out pages are
refused in any case. Of a student, who taught it and how is left out. Runs are only read, never
written.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pyarrow.parquet as pq

from eval import language_loss
from eval.language_loss import LanguageLosses, PageLosses
from eval.report import Difference
from pipeline import json_files
from pipeline.artifacts import claims
from pipeline.errors import ArtifactError
from pipeline.runs.directory import find_run

_STEP = "step="
# May differ: none of them changes what a step computes, but for the seed, which is meant to.
_FREE = (
    "name",
    "seed",
    "mesh",
    "remat",
    "accumulate",
    "evaluate_every",
    "checkpoint_every",
    "log_every",
)
_TEACHING = "distillation"  # a student's own part of the recipe
_TEACHER = "teacher"  # and of its inputs


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run's directory says."""

    directory: Path
    recipe: Mapping[str, Any]
    about: Mapping[str, Any]
    losses: Mapping[int, LanguageLosses]
    pages: PageLosses
    metrics: Sequence[Mapping[str, float]]
    tokens_seen: Mapping[str, float]
    imported: bool

    @property
    def last_step(self) -> int:
        """The step of its last evaluation; 0 for an imported model."""
        return max(self.losses)

    @property
    def switch(self) -> Mapping[str, Any] | None:
        """The feed-forward's settings; None for a dense run."""
        return self.recipe["model"]["switch"]

    @property
    def devices(self) -> tuple[str, ...]:
        """Kinds of the devices it ran on, one entry a device."""
        return tuple(sorted(self.about.get("devices", ())))


def evaluation_files(directory: Path) -> dict[int, Path]:
    """Returns a run's evaluation files by step, ascending.

    Raises:
        ArtifactError: it is no run, or was never evaluated.
    """
    find_run(directory)
    paths = (directory / "evaluation").glob(f"{_STEP}*.parquet")
    found = {int(path.stem.removeprefix(_STEP)): path for path in paths}
    if not found:
        raise ArtifactError(
            f"Evaluations were expected in {directory / 'evaluation'}, which holds none; "
            f"run `mswitch evaluate --run {directory} --tokens DIR` first."
        )
    return dict(sorted(found.items()))


def read_run(directory: Path) -> Run:
    """Returns a finished run.

    Raises:
        ArtifactError: it is no run, is not finished, or its evaluations scored different pages.
    """
    about = find_run(directory)
    evaluations, imported = evaluation_files(directory), _is_imported(directory)
    last, steps = max(evaluations), 0 if imported else about["recipe"]["steps"]
    if last != steps:
        raise ArtifactError(
            f"{directory} trains for {steps} steps and was last evaluated at step {last}; "
            "let `mswitch pretrain` finish, or evaluate its last checkpoint."
        )
    losses, pages = {}, None
    tables = ((pq.read_table(path), str(path)) for path in reversed(evaluations.values()))
    for step, at_step in zip(reversed(evaluations), language_loss.from_tables(tables), strict=True):
        pages = pages or at_step  # of the last step
        if not language_loss.same_targets(pages, at_step):
            raise ArtifactError(
                f"{evaluations[last]} and {evaluations[step]} scored different held-out pages "
                f"({len(pages.loss_nats)} against {len(at_step.loss_nats)}, or other targets); "
                "evaluate all steps on the same tokens."
            )
        losses[step] = language_loss.by_language(at_step)
    assert pages is not None  # there is an evaluation
    return Run(
        directory=directory,
        recipe=about["recipe"],
        about=about,
        losses=dict(sorted(losses.items())),
        pages=pages,
        metrics=_metrics(directory / "metrics.jsonl"),
        tokens_seen=_tokens_seen(directory / "mixture.json"),
        imported=imported,
    )


def routing_file(directory: Path) -> Path | None:
    """Returns what a run's last evaluation wrote of its routing, if it did."""
    last = evaluation_files(directory)[max(evaluation_files(directory))]
    path = last.with_name(f"routing-{last.name}")
    return path if path.exists() else None


def _is_imported(directory: Path) -> bool:
    path = directory / claims.MANIFEST
    return path.exists() and json_files.read_json(path).get("stage") == "import-hf"


def _metrics(path: Path) -> list[dict[str, float]]:
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    except ValueError as error:
        raise ArtifactError(
            f"{path} should hold one JSON object a line and does not ({error}); "
            "remove the broken line, or the file: the report then says that it is not recorded."
        ) from error


def _tokens_seen(path: Path) -> dict[str, float]:
    languages = json_files.read_json(path).get("languages", {}) if path.exists() else {}
    return {code: float(one["tokens_seen"]) for code, one in languages.items()}


def differences(
    baseline: Sequence[Run], candidate: Sequence[Run], *, allowed: bool
) -> tuple[Difference, ...]:
    """Returns in what the runs differ beyond the feed-forward, the name and the seed.

    Raises:
        ArtifactError: they differ and may not, or were evaluated on different pages.
    """
    runs = [*baseline, *candidate]
    for other in runs[1:]:
        _check_same_pages(runs[0], other)
    for first, *others in (baseline, candidate):
        for other in others:
            _check_same_targets(first, other, "runs of one side need one vocabulary")
    if not allowed:
        for other in runs[1:]:
            _check_same_recipe(runs[0], other)
            _check_same_targets(
                runs[0], other, "--allow-differences compares them in bits per byte"
            )
    leaves = [claims.leaves(_fixed(run)) for run in runs]
    names = dict.fromkeys(name for one in leaves for name in one)
    rows = [(name, tuple(_plain(one.get(name)) for one in leaves)) for name in names]
    count = len(baseline)
    return tuple(
        Difference(name, values[:count], values[count:])
        for name, values in rows
        if len(set(values)) > 1
    )


def check_students(
    students: Sequence[Run],
    baseline: Run,
    teachers: Sequence[Run],
    *,
    differences_allowed: bool,
) -> None:
    """Checks that students are dense runs like the baseline, but for who taught them and how.

    Raises:
        ArtifactError: they are not; or nobody or another run taught them; or two ways of teaching
            share a name, and would be taken for seeds of one.
    """
    named: dict[str, Run] = {}
    for student in students:
        _check_taught_alike(named.setdefault(student.recipe["name"], student), student)
        _check_teacher(student, teachers)
        _check_same_pages(baseline, student)
        _check_same_targets(baseline, student, "a student needs its teacher's vocabulary")
        if student.switch is not None:
            raise ArtifactError(
                f"{student.directory} was named as a student and has experts; name dense runs."
            )
        _check_taught(student)
        if not differences_allowed:
            _check_same_recipe(baseline, _as_if_untaught(student))


def _check_taught(student: Run) -> None:
    if student.recipe.get(_TEACHING) is None:
        raise ArtifactError(
            f"{student.directory} was named as a student and was taught by no run; name a run that "
            "`mswitch distill` wrote."
        )


def _as_if_untaught(student: Run) -> Run:
    """Returns the student without what only a student has."""
    recipe = {key: value for key, value in student.recipe.items() if key != _TEACHING}
    inputs = {key: value for key, value in _inputs(student).items() if key != _TEACHER}
    return replace(student, recipe=recipe, about={**student.about, "inputs": inputs})


def _check_taught_alike(first: Run, other: Run) -> None:
    one, way = (run.recipe.get(_TEACHING) for run in (first, other))
    if lines := claims.differences(one, way, _TEACHING):
        raise ArtifactError(
            f"{first.directory} and {other.directory} are students of one name, "
            f"{first.recipe['name']!r}, and were taught otherwise ({'; '.join(lines)}); distill "
            "one of them with another --set name=NAME."
        )


def _check_teacher(student: Run, teachers: Sequence[Run]) -> None:
    """Compares who taught a student, where that is recorded, with the candidate's runs."""
    says = student.about.get("teacher")
    known = [
        (run.recipe["name"], run.recipe["seed"], run.about.get("parameters")) for run in teachers
    ]
    if says and (says["recipe"], says["seed"], says["parameters"]) not in known:
        raise ArtifactError(
            f"{student.directory} was taught by {says['recipe']}, seed {says['seed']}, of "
            f"{says['parameters']:,} parameters, which is none of the candidate's runs; name its "
            "teacher with --candidate."
        )


def _check_same_recipe(first: Run, other: Run) -> None:
    lines = claims.differences(_fixed(first), _fixed(other))
    if lines:
        raise ArtifactError(
            f"{first.directory} and {other.directory} differ in more than the feed-forward, "
            f"the name and the seed ({'; '.join(lines).replace('asked', 'here')}); "
            "compare runs of one recipe, or say --allow-differences: the report then names them."
        )


def _fixed(run: Run) -> dict[str, Any]:
    """Returns what must be equal on both sides."""
    recipe = {key: value for key, value in run.recipe.items() if key not in _FREE}
    model = {key: value for key, value in run.recipe["model"].items() if key != "switch"}
    digests = {f"digest of the {name}": digest for name, digest in _inputs(run).items()}
    return recipe | {"model": model} | digests


def _inputs(run: Run) -> Mapping[str, str]:
    return run.about.get("inputs", {})


def _plain(value: Any) -> str:
    return "not recorded" if value is None else str(value)


def _check_same_pages(one: Run, other: Run) -> None:
    if not language_loss.same_pages(one.pages, other.pages):
        raise ArtifactError(
            f"{one.directory} and {other.directory} scored different held-out pages "
            f"({len(one.pages.loss_nats)} against {len(other.pages.loss_nats)} pages, or other "
            "addresses); evaluate both on tokens of the same corpus."
        )


def _check_same_targets(one: Run, other: Run, what_to_do: str) -> None:
    if not language_loss.same_targets(one.pages, other.pages):
        raise ArtifactError(
            f"{one.directory} and {other.directory} cut the same held-out pages into other "
            f"targets, as different vocabularies or lengths do; {what_to_do}."
        )


def median_metric(runs: Sequence[Run], name: str) -> float | None:
    """Returns a metric's median over all steps of all runs, or None if it was not recorded."""
    values = [line[name] for run in runs for line in run.metrics if line.get(name) is not None]
    return float(median(values)) if values else None


def last_tenth(runs: Sequence[Run], name: str) -> float | None:
    """Returns a metric's mean over each run's last tenth, or None if it was not recorded."""
    values = [
        line[name]
        for run in runs
        for line in run.metrics[-max(1, len(run.metrics) // 10) :]
        if line.get(name) is not None
    ]
    return fmean(values) if values else None
