"""The evaluation of a fine-tuned run: predictions on development data, and the best step so far."""

from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from data.files.paths import Place, exists
from data.languages import get
from data.tasks.examples import TaskData, TaskExample
from data.tokens.tokenizer import Tokenizer
from eval.tasks.predictions import from_table, table_of
from model.trainer import Trainer
from pipeline.hardware.coordination import is_first
from pipeline.recipe.recipe import Recipe
from pipeline.runs.best_step import best_step, record_score, recorded_scores
from pipeline.runs.task_files import (
    predictions_file,
    scores_by_language,
    write_predictions,
)
from pipeline.training.evaluation.evaluator import Scored
from pipeline.training.tasks.predictor import Predictor

DEVELOPMENT = "development"
TEST = "test"


class TaskEvaluator(NamedTuple):
    """Evaluates a run on the development data of its tasks.

    Attributes:
        tasks: tasks with their data.
        tokenizer: the run's tokenizer.
        recipe: the run's recipe.
        out: the run's directory.
        targets: tokens per generated answer, at most.
        predictors: predictor of each task, made at its first use.
        beams: number of beams of the search for an answer; 1 is greedy.
    """

    tasks: Sequence[TaskData]
    tokenizer: Tokenizer
    recipe: Recipe
    out: Place
    targets: int
    predictors: dict[str, Predictor]
    beams: int = 1

    def is_written(self, step: int) -> bool:
        """Returns whether the step has a score, which is written last, and its predictions."""
        return step in recorded_scores(self.out) and all(
            exists(self.file(data, DEVELOPMENT, step)) for data in self.tasks
        )

    def best(self) -> Collection[int]:
        """Returns the best step so far, once one is evaluated."""
        step = best_step(self.out)
        return () if step is None else (step,)

    def evaluate(
        self, trainer: Trainer, arrays: Any, step: int, stop: Callable[[], bool]
    ) -> Scored | None:
        """Predicts development data and writes the best step; None if it was stopped."""
        found: dict[str, float] = {}
        means = []
        for data in self.tasks:
            scores = self.predict(trainer, arrays, data, DEVELOPMENT, step, stop=stop)
            if scores is None:
                return None
            means.append(self.chosen_by(scores))
            found |= {f"{data.task.name}/{code}": score for code, score in scores.items()}
        score = fmean(means)
        if is_first():
            record_score(self.out, step, score)
        return Scored("score", score, found)

    def chosen_by(self, scores: Mapping[str, float]) -> float:
        """Returns a task's part in the choice of the best step: the mean over training languages.

        Where a run learns English alone, its scores elsewhere are near chance: their mean would
        choose a step by noise, and would use development data that a zero-shot run does not have.
        """
        config = self.recipe.finetuning
        assert config is not None  # a recipe of `mswitch finetune`
        trained_on = {get(code).code for code in config.languages}
        own = [score for code, score in scores.items() if code in trained_on]
        return fmean(own or scores.values())

    def predict(
        self,
        trainer: Trainer,
        arrays: Any,
        data: TaskData,
        split: str,
        step: int,
        overlaps: Collection[int] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> dict[str, float] | None:
        """Writes a run's predictions on one split, and of a sparse run their routing.

        Args:
            trainer: functions of the network.
            arrays: weights to predict with.
            data: a task.
            split: name of the split.
            step: step of the weights.
            overlaps: positions of examples that share text with the pretraining corpus; None if
                that was not looked for.
            stop: called before every batch; True abandons the predictions.

        Returns:
            Score of each language in percent; None if it was stopped.
        """
        examples: list[TaskExample] = getattr(data, split)
        # Where labels are scored, development data choose a step, and text is not needed for that.
        answers = self.predictor(trainer, data).answers(
            arrays, examples, stop, with_text=split == TEST
        )
        if answers is None:
            return None
        table = table_of(
            data.task,
            split,
            examples,
            predictions=answers.texts,
            label_nats=answers.label_nats,
            overlaps=overlaps,
        )
        path = self.file(data, split, step)
        if is_first():
            write_predictions(path, data.task, table, answers.routing)
        return scores_by_language(data.task, from_table(table, str(path)))

    def predictor(self, trainer: Trainer, data: TaskData) -> Predictor:
        """Returns the predictor of a task, whose programs are compiled once."""
        name = data.task.name
        if name not in self.predictors:
            self.predictors[name] = Predictor(
                trainer,
                self.tokenizer,
                data.task,
                rows=self.recipe.rows,
                inputs=self.recipe.lengths.inputs,
                targets=self.targets,
                beams=self.beams,
                logits_bytes=self.recipe.logits_bytes,
            )
        return self.predictors[name]

    def file(self, data: TaskData, split: str, step: int) -> Place:
        """Returns the path of the predictions of one split."""
        return file_of(self.out, data, split, step, self.beams)


def file_of(run: Place, data: TaskData, split: str, step: int, beams: int) -> Place:
    """Returns the path of a run's predictions of one split; beams are part of its name."""
    name = split if beams == 1 else f"{split}-{beams}-beams"
    return predictions_file(run, data.task.name, name, step)
