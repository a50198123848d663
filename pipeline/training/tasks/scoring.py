"""What `mswitch evaluate` writes about tasks: predictions, and the losses of parallel sentences."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq

from data.files.atomic import atomic_write
from data.files.paths import Place, exists
from data.tasks.description import Task
from data.tasks.examples import TaskData
from data.tokens.tokenizer import MODEL_FILE, load
from model.trainer import Trainer
from pipeline.corpus.manifests import read_corpus
from pipeline.errors import ArtifactError
from pipeline.hardware.coordination import is_first
from pipeline.recipe.recipe import Recipe
from pipeline.runs.sentence_files import SENTENCES
from pipeline.runs.task_files import (
    DESCRIPTION,
    check_metric,
    predictions_file,
    read_predictions,
    read_task_of,
)
from pipeline.training.tasks.evaluation import TEST, TaskEvaluator
from pipeline.training.tasks.given_tasks import Finetuning, rows_set_aside
from pipeline.training.tasks.overlap import overlaps_with
from pipeline.training.tasks.sentences import SentenceScorer


class TaskScoring:
    """The scores of one checkpoint of a run on tasks.

    Args:
        run: directory of the run.
        recipe: its recipe.
        trainer: functions of its network.
        arrays: weights of the checkpoint.
        step: step of the checkpoint.
    """

    def __init__(self, run: Place, recipe: Recipe, trainer: Trainer, arrays: Any, step: int):
        self.run, self.recipe, self.trainer = run, recipe, trainer
        self.arrays, self.step = arrays, step
        self.tokenizer = load(run / MODEL_FILE)

    def predict(self, tasks: Sequence[TaskData], corpus: str | None, beams: int) -> list[str]:
        """Writes predictions on the test data of tasks; returns a sentence about each.

        Args:
            tasks: tasks with their data.
            corpus: corpus of the pretraining, whose shared text is marked; None if not known.
            beams: number of beams of the search for an answer; 1 is greedy.
        """
        said = []
        for data in tasks:
            evaluator = self.evaluator(data, beams)
            shared = overlaps_with(corpus, data.test)
            scores = evaluator.predict(
                self.trainer, self.arrays, data, TEST, self.step, overlaps=shared
            )
            assert scores is not None  # it was not stopped
            said += rows_set_aside(data)
            said.append(
                f"{data.task.name}: {fmean(scores.values()):.1f} %, mean of {len(scores)} "
                f"languages, in {evaluator.file(data, TEST, self.step)}"
            )
        return said

    def evaluator(self, data: TaskData, beams: int) -> TaskEvaluator:
        """Returns what predicts a task; how long its answers are does not depend on other tasks."""
        alone = Finetuning((data,), self.tokenizer, self.run / MODEL_FILE)
        targets = alone.answer_tokens(self.recipe)
        return TaskEvaluator([data], self.tokenizer, self.recipe, self.run, targets, {}, beams)

    def score_sentences(self, tasks: Sequence[TaskData]) -> list[str]:
        """Writes the loss of each test sentence of tasks; returns a sentence about each task."""
        said, scorer = [], SentenceScorer(self.trainer, self.recipe, self.tokenizer)
        for data in tasks:
            table = scorer.losses(self.arrays, data.test)
            path = predictions_file(self.run, data.task.name, SENTENCES, self.step)
            if is_first():
                with atomic_write(path, path.parent.parent.parent) as unfinished:
                    pq.write_table(table, unfinished)
            said.append(
                f"{data.task.name}: {fmean(table['loss_nats'].to_pylist()):.1f} nats per sentence, "
                f"mean of {table.num_rows:,} sentences, in {path}"
            )
        return said


def check_scores(
    tasks: Sequence[TaskData],
    texts: Sequence[TaskData],
    files: Sequence[Place],
    corpus: str | None,
) -> None:
    """Checks all tasks and parallel texts, before the first is scored.

    Args:
        tasks: tasks to predict.
        texts: parallel texts whose sentences are scored.
        files: file of each task's predictions.
        corpus: corpus of the pretraining; None if it is not known.

    Raises:
        ArtifactError: if there is nothing to score, no such corpus, or earlier predictions would
            lose what they hold.
        DataError: if a metric's library is missing.
    """
    if corpus is not None:
        read_corpus(corpus)
    for data in (*tasks, *texts):
        check_has_test(data)
    for data, path in zip(tasks, files, strict=True):
        check_metric(data.task)
        check_may_replace(path, data.task, corpus)


def check_has_test(data: TaskData) -> None:
    """Checks that a task has test data.

    Raises:
        ArtifactError: if it has none.
    """
    if not data.test:
        raise ArtifactError(
            f"Task {data.task.name} was to be scored on its test split, which its description does "
            f"not name ({', '.join(data.task.splits)}); add it to `splits`."
        )


def check_may_replace(path: Place, task: Task, corpus: str | None) -> None:
    """Checks that predictions on test data would not lose what earlier ones hold.

    Raises:
        ArtifactError: if earlier ones are of another description, or marked text that they share
            with a corpus, and none is named.
    """
    if exists(path.parent / DESCRIPTION) and read_task_of(path) != task:
        raise ArtifactError(
            f"{path.parent} holds predictions of another description of {task.name}; give the new "
            "one another name, or remove the folder."
        )
    if not exists(path):
        return
    if corpus is None and read_predictions(path).compared.any():
        raise ArtifactError(
            f"{path} marks examples that share text with the pretraining corpus, and none was "
            "named; name it with --corpus, or remove the file."
        )
