"""Finished runs, read back: recipe, evaluations, metrics.

A run is a directory that `mswitch pretrain`, `distill`, `finetune`, `prune` or `import-hf` wrote.
Runs are only read here, never written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from data.errors import DataError
from data.files.json_files import decode_json, read_json
from data.files.parquet_files import read_table
from data.files.paths import Place, exists, names_in, read_bytes
from eval import losses
from eval.losses import PageLosses
from pipeline.artifacts import claims
from pipeline.errors import ArtifactError
from pipeline.runs.directory import RECIPE, find_run
from pipeline.runs.evaluation_paths import FOLDER, OF_STEP, evaluation_file, routing_beside
from pipeline.runs.record import MixtureRecord, RunRecord
from pipeline.runs.sentence_files import SENTENCES, sentence_files


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """The contents of a run's directory.

    Attributes:
        directory: directory of the run.
        recipe: the recipe of recipe.json.
        about: all of recipe.json.
        evaluations: pages of each evaluation, by step, ascending.
        metrics: lines of metrics.jsonl.
        tokens_seen: training tokens read, by language.
        imported: whether `mswitch import-hf` wrote the run, or that from which it was pruned.
    """

    directory: Place
    recipe: Mapping[str, Any]
    about: RunRecord
    evaluations: Mapping[int, PageLosses]
    metrics: Sequence[Mapping[str, float | None]]
    tokens_seen: Mapping[str, float]
    imported: bool

    @property
    def last_step(self) -> int:
        """Step of the last evaluation; 0 for an imported model."""
        return max(self.evaluations)

    @property
    def pages(self) -> PageLosses:
        """Pages of the last evaluation."""
        return self.evaluations[self.last_step]

    @property
    def switch(self) -> Mapping[str, Any] | None:
        """Settings of the switch layers; None for a dense run."""
        return self.recipe["model"]["switch"]

    @property
    def experts(self) -> int | None:
        """Number of experts per switch layer; None for a dense run."""
        return None if self.switch is None else self.switch.get("experts")

    @property
    def devices(self) -> tuple[str, ...]:
        """Kinds of the devices of the run, one entry per device."""
        return tuple(sorted(self.about.devices))


def evaluation_files(directory: Place) -> dict[int, Place]:
    """Returns a run's evaluation files by step, ascending.

    Raises:
        ArtifactError: if there is no run, or it was never evaluated.
    """
    find_run(directory)
    if not (found := evaluated_steps(directory)):
        raise ArtifactError(
            f"Evaluations were expected in {directory / 'evaluation'}, which holds none; "
            f"run `mswitch evaluate --run {directory} --tokens DIR` first."
        )
    return found


def evaluated_steps(directory: Place) -> dict[int, Place]:
    """Returns a run's evaluation files by step, ascending; none if it was never evaluated."""
    names = map(OF_STEP.fullmatch, names_in(directory / FOLDER))
    steps = sorted(int(of[2]) for of in names if of is not None and of[1] is None)
    return {step: evaluation_file(directory, step) for step in steps}


def read_run(directory: Place) -> FinishedRun:
    """Returns a finished run.

    Raises:
        ArtifactError: if there is no run, it is not finished, or its evaluations scored different
            pages.
    """
    about = find_run(directory)
    evaluations, imported = evaluation_files(directory), _is_imported(directory)
    last, steps = max(evaluations), 0 if imported else about.recipe["steps"]
    if last != steps:
        raise ArtifactError(
            f"{directory} trains for {steps} steps and was last evaluated at step {last}; "
            "let `mswitch pretrain` finish, or evaluate its last checkpoint."
        )
    found, pages = {}, None
    paths = reversed(evaluations.values())
    tables = ((read_table(path, losses.SCHEMA), str(path)) for path in paths)
    for step, at_step in zip(reversed(evaluations), losses.from_tables(tables), strict=True):
        pages = pages or at_step  # the last step comes first
        if not losses.same_targets(pages, at_step):
            raise ArtifactError(
                f"{evaluations[last]} and {evaluations[step]} scored different held-out pages "
                f"({len(pages.loss_nats)} against {len(at_step.loss_nats)}, or other targets); "
                "evaluate all steps on the same tokens."
            )
        # Equal counts are kept once: with many evaluations they would be most of the memory.
        found[step] = replace(pages, loss_nats=at_step.loss_nats)
    return FinishedRun(
        directory=directory,
        recipe=about.recipe,
        about=about,
        evaluations=dict(sorted(found.items())),
        metrics=read_metrics(directory / "metrics.jsonl"),
        tokens_seen=_tokens_seen(directory / "mixture.json"),
        imported=imported,
    )


def files_read(directory: Place) -> dict[str, Place]:
    """Returns the files of a run that a report reads, by a name of each."""
    names = (RECIPE, "metrics.jsonl", "mixture.json")
    files = {name: directory / name for name in names if exists(directory / name)}
    evaluations = evaluation_files(directory)
    files |= {str(step): path for step, path in evaluations.items()}
    last = max(evaluations)
    if exists(routing := routing_beside(evaluations[last])):
        files["routing"] = routing
    texts = sentence_files(directory, last)
    return files | {f"{SENTENCES}/{name}": path for name, path in texts.items()}


def last_routing(directory: Place) -> Place | None:
    """Returns the routing file of a run's last evaluation, or None if there is none."""
    *_, last = evaluation_files(directory).values()
    path = routing_beside(last)
    return path if exists(path) else None


def _is_imported(directory: Place) -> bool:
    """Returns whether the run, or the run that it was pruned from, was imported."""
    if not claims.is_finished(directory):
        return False
    head = claims.read_head(directory)
    return head.stage == "import-hf" or (head.stage == "prune" and head.settings.get("step") == 0)


def read_metrics(path: Place) -> list[dict[str, float | None]]:
    """Returns the lines of a run's log; none if there is no log.

    A last line without its end is left out: it is being written, or a kill cut it and the next
    start of the run repairs it.

    Raises:
        ArtifactError: if a line is broken.
    """
    if not exists(path):
        return []
    try:
        *lines, _ = read_bytes(path).split(b"\n")
        return [decode_json(line, dict[str, float | None], str(path)) for line in lines if line]
    except DataError as error:
        raise ArtifactError(
            f"One JSON object per line was expected in {path} ({error}); remove the broken line, "
            "or the file: the report then shows its metrics as not recorded."
        ) from error


def _tokens_seen(path: Place) -> dict[str, float]:
    languages = read_json(path, MixtureRecord).languages if exists(path) else {}
    return {code: one.tokens_seen for code, one in languages.items()}
