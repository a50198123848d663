"""Fine-tuned runs, read back: seed, training languages, predictions of the best step.

The mode follows from a run's training languages. A run that was trained on one language and
predicted that one alone is a part of the mode "each language alone". JAX is not imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from data.files.parquet_files import read_table
from data.files.paths import Place, exists
from data.languages import get
from eval.tasks.predictions import MAY_BE_NULL, SCHEMA
from pipeline.errors import ArtifactError
from pipeline.runs.best_step import BEST, best_step
from pipeline.runs.directory import RECIPE, find_finished_run
from pipeline.runs.evaluation_paths import routing_beside
from pipeline.runs.task_files import DESCRIPTION, predictions_file

ALL, ALONE = "all languages", "each language alone"
MOST_NAMED = 3  # languages that the name of a mode lists
TEST = "test"
SPLITS = (TEST, "development")


@dataclass(frozen=True, kw_only=True)
class FinetunedRun:
    """A finished fine-tuned run.

    Attributes:
        directory: its directory.
        seed: its seed.
        start: digest of the manifest of the run that it began as.
        trained_on: training languages; all if empty.
        files: predictions of the best step, by task.
    """

    directory: Place
    seed: int
    start: str | None
    trained_on: tuple[str, ...]
    files: Mapping[str, Place]

    @cached_property
    def tables(self) -> dict[str, pa.Table]:
        """Predictions by task."""
        return {name: read_table(path, SCHEMA, MAY_BE_NULL) for name, path in self.files.items()}

    @property
    def mode(self) -> str:
        """Training languages, in words."""
        if not self.trained_on:
            return ALL
        predicted = {code for one in self.tables.values() for code in one["language"].unique()}
        if {str(code) for code in predicted} == set(self.trained_on) and len(predicted) == 1:
            return ALONE
        if len(self.trained_on) > MOST_NAMED:
            return f"{len(self.trained_on)} languages only"
        return f"{', '.join(get(code).name for code in self.trained_on)} only"


def read_finetuned(directory: Place) -> FinetunedRun:
    """Returns a finished fine-tuned run.

    Raises:
        ArtifactError: if there is none, or a task has no predictions.
    """
    about = find_finished_run(directory)
    recipe = about.recipe
    if not (finetuning := recipe.get("finetuning")):
        raise ArtifactError(
            f"A fine-tuned run was expected in {directory}, which holds one that learned no task; "
            "name a directory that `mswitch finetune` wrote."
        )
    return FinetunedRun(
        directory=directory,
        seed=recipe["seed"],
        start=about.inputs.get("start"),
        trained_on=tuple(sorted({get(code).code for code in finetuning["languages"]})),
        files={name: _predictions_of(directory, name) for name in finetuning["tasks"]},
    )


def files_read(directory: Place) -> dict[str, Place]:
    """Returns the files of a fine-tuned run that a report reads, by a name of each.

    Raises:
        ArtifactError: if there is no such run.
    """
    files = read_finetuned(directory).files
    found = {RECIPE: directory / RECIPE, BEST: directory / BEST}
    for name, path in files.items():
        beside = (path, path.parent / DESCRIPTION, routing_beside(path))
        found |= {f"{name}/{one.name}": one for one in beside if exists(one)}
    return found


def _predictions_of(directory: Place, task: str) -> Place:
    """Returns the predictions of the best step: of test data, or else of development data."""
    step = best_step(directory)
    if step is not None:
        for split in SPLITS:
            if exists(path := predictions_file(directory, task, split, step)):
                return path
    raise ArtifactError(
        f"Predictions of {task} were expected in {directory / 'tasks' / task}, which has none of "
        "the best step; let `mswitch finetune` finish."
    )
