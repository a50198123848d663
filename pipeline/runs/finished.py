"""Finished runs, read back: recipe, evaluations, metrics.

A run is a directory that `mswitch pretrain`, `mswitch distill` or `mswitch import-hf` wrote. Runs
are only read here, never written.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pyarrow.parquet as pq

from eval import language_loss
from eval.language_loss import LanguageLosses, PageLosses
from pipeline import json_files
from pipeline.artifacts import claims
from pipeline.errors import ArtifactError
from pipeline.runs.directory import find_run

_STEP = "step="


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
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


def read_run(directory: Path) -> FinishedRun:
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
    return FinishedRun(
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


def median_metric(runs: Sequence[FinishedRun], name: str) -> float | None:
    """Returns a metric's median over all steps of all runs, or None if it was not recorded."""
    values = [line[name] for run in runs for line in run.metrics if line.get(name) is not None]
    return float(median(values)) if values else None


def mean_of_last_tenth(runs: Sequence[FinishedRun], name: str) -> float | None:
    """Returns a metric's mean over each run's last tenth, or None if it was not recorded."""
    values = [
        line[name]
        for run in runs
        for line in run.metrics[-max(1, len(run.metrics) // 10) :]
        if line.get(name) is not None
    ]
    return fmean(values) if values else None
