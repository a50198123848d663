"""Finished runs, read back: recipe, evaluations, metrics; and which of them may be compared.

A run is a directory that `mswitch pretrain` wrote. Two runs may be compared when their recipes
agree in everything but the name, the seed, the feed-forward layers (`model.switch`) and what leaves
a step's result as it is (the mesh, how often it logs), when they were trained on the same tokens,
and when every evaluation scored the same held-out pages with the same targets. Everything else is
refused with a sentence. Runs are only read, never written.
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
from pipeline import artifacts
from pipeline.artifacts import ArtifactError

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

    @property
    def switch(self) -> Mapping[str, Any] | None:
        """The feed-forward's settings; None for a dense run."""
        return self.recipe["model"]["switch"]

    @property
    def devices(self) -> tuple[str, ...]:
        """Kinds of the devices it ran on, one entry a device."""
        return tuple(sorted(self.about.get("devices", ())))


def evaluation_files(directory: Path) -> dict[int, Path]:
    """Returns a run's evaluation files by step, ascending."""
    if not (directory / "recipe.json").exists():
        raise ArtifactError(
            f"A run was expected in {directory}, which holds no recipe.json; "
            "name a directory that `mswitch pretrain` wrote."
        )
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
    about = artifacts.read_json(directory / "recipe.json")
    evaluations = evaluation_files(directory)
    last, steps = max(evaluations), about["recipe"]["steps"]
    if last != steps:
        raise ArtifactError(
            f"{directory} trains for {steps} steps and was last evaluated at step {last}; "
            "let `mswitch pretrain` finish, or evaluate its last checkpoint."
        )
    pages = _page_losses(evaluations[last])
    losses = {}
    for step, path in evaluations.items():
        at_step = pages if step == last else _page_losses(path)
        _check_same_pages(pages, at_step, directory / "evaluation", path)
        losses[step] = language_loss.by_language(at_step)
    return Run(
        directory=directory,
        recipe=about["recipe"],
        about=about,
        losses=losses,
        pages=pages,
        metrics=_metrics(directory / "metrics.jsonl"),
        tokens_seen=_tokens_seen(directory / "mixture.json"),
    )


def _page_losses(path: Path) -> PageLosses:
    return language_loss.from_table(pq.read_table(path), str(path))


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
    languages = artifacts.read_json(path).get("languages", {}) if path.exists() else {}
    return {code: float(one["tokens_seen"]) for code, one in languages.items()}


def check_comparable(runs: Sequence[Run]) -> None:
    """Raises an ArtifactError unless all runs may be compared with each other."""
    first = runs[0]
    for other in runs[1:]:
        lines = artifacts.differences(_fixed(first), _fixed(other))
        if lines:
            raise ArtifactError(
                f"{first.directory} and {other.directory} differ in more than the feed-forward, "
                f"the name and the seed ({'; '.join(lines).replace('asked', 'here')}); "
                "compare runs of one recipe, or train again."
            )
        _check_same_pages(first.pages, other.pages, first.directory, other.directory)


def _fixed(run: Run) -> dict[str, Any]:
    """Returns what must be equal on both sides."""
    recipe = {key: value for key, value in run.recipe.items() if key not in _FREE}
    model = {key: value for key, value in run.recipe["model"].items() if key != "switch"}
    tokens = run.about.get("inputs", {}).get("tokens")
    return recipe | {"model": model, "digest of the tokens": tokens}


def _check_same_pages(one: PageLosses, other: PageLosses, here: Path, there: Path) -> None:
    if not language_loss.same_pages(one, other):
        raise ArtifactError(
            f"{here} and {there} scored different held-out pages ({len(one.url)} against "
            f"{len(other.url)} pages, or other targets); evaluate both on the same tokens."
        )


def median_metric(runs: Sequence[Run], name: str) -> float | None:
    """Returns a metric\'s median over all steps of all runs, or None if it was not recorded."""
    values = [line[name] for run in runs for line in run.metrics if line.get(name) is not None]
    return float(median(values)) if values else None


def last_tenth(runs: Sequence[Run], name: str) -> float | None:
    """Returns a metric\'s mean over each run\'s last tenth, or None if it was not recorded."""
    values = [
        line[name]
        for run in runs
        for line in run.metrics[-max(1, len(run.metrics) // 10) :]
        if line.get(name) is not None
    ]
    return fmean(values) if values else None
