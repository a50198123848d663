"""A fine-tuning that passed all checks: its programs, its training and its last predictions."""

import gc
from dataclasses import replace
from statistics import fmean
from typing import Any, NamedTuple

import jax

from data.tasks.examples import TaskData
from model.checkpoints.table import with_shardings
from model.loss.training_loss import Distillation
from model.sharding.mesh import make_mesh
from model.trainer import Trainer
from pipeline.hardware.coordination import is_first
from pipeline.recipe.recipe import Recipe
from pipeline.recipe.trainer import trainer_on
from pipeline.runs.best_step import best_step
from pipeline.runs.open import restore
from pipeline.training.from_runs import teacher as teachers
from pipeline.training.loop import Training, device_batches
from pipeline.training.prepared import PreparedRun
from pipeline.training.profiling import Profile
from pipeline.training.run import make_examples, make_tracking
from pipeline.training.tasks.evaluation import TEST, TaskEvaluator
from pipeline.training.tasks.given_tasks import Finetuning
from pipeline.training.tasks.overlap import overlaps_with
from pipeline.training.tasks.predictor import Predictor

PRETRAINING_MIXTURE = "temperature:0.3"  # of pretraining mixed in; mT5's


class Request(NamedTuple):
    """A fine-tuning whose arguments passed all checks.

    Attributes:
        prepared: the run.
        finetuning: its tasks.
        teacher: fine-tuned run to learn from; None without.
    """

    prepared: PreparedRun
    finetuning: Finetuning
    teacher: teachers.Teacher | None


class Programs(NamedTuple):
    """What runs of one recipe on several languages share, so that it is compiled once.

    Attributes:
        recipe: recipe that they were made for.
        trainer: functions of the network.
        predictors: predictor of each task, by name.
        record: fields of recipe.json about the teacher; none without.
    """

    recipe: Recipe
    trainer: Trainer
    predictors: dict[str, Predictor]
    record: dict[str, Any]

    def serve(self, recipe: Recipe) -> bool:
        """Returns whether another recipe has these programs: whether only its languages differ."""
        return _without_languages(self.recipe) == _without_languages(recipe)


def let_go(held: list[Programs]) -> None:
    """Frees the programs of an earlier run: a second teacher may not fit beside the first."""
    held.clear()
    gc.collect()  # predictors refer to themselves, and to the teacher


def compiled(training: Training) -> Trainer:
    """Returns the trainer with its programs compiled, which further runs then share."""
    trainer = training.trainer
    state = with_shardings(jax.eval_shape(trainer.init), trainer.shardings)
    with training.account.spend("compiling"):
        return trainer.compiled(state, next(device_batches(training, 0)))


def make_programs(request: Request) -> Programs:
    """Returns a recipe's functions; a student's have its teacher's weights."""
    recipe, teacher = request.prepared.recipe, request.teacher
    mesh = make_mesh(recipe.mesh)
    if teacher is None or recipe.distillation is None:
        return Programs(recipe, trainer_on(recipe, mesh), {}, {})
    network, record = teacher.weights(mesh)
    distillation = Distillation(recipe.distillation, network)
    return Programs(recipe, trainer_on(recipe, mesh, distillation), {}, {"teacher": record})


def _without_languages(recipe: Recipe) -> Recipe:
    assert recipe.finetuning is not None  # a recipe of `mswitch finetune`
    return replace(recipe, finetuning=replace(recipe.finetuning, languages=()))


def make_training(request: Request, programs: Programs) -> Training:
    """Returns the loop's inputs."""
    prepared, finetuning = request.prepared, request.finetuning
    recipe = prepared.recipe
    evaluator = TaskEvaluator(
        finetuning.tasks,
        finetuning.tokenizer,
        recipe,
        prepared.out,
        recipe.lengths.targets,
        programs.predictors,
    )
    pretraining = (
        None
        if prepared.blocks is None
        else make_examples(
            replace(recipe, mixture=PRETRAINING_MIXTURE, finetuning=None), prepared.blocks
        )
    )
    return Training(
        recipe=recipe,
        trainer=programs.trainer,
        examples=finetuning.examples(recipe, pretraining),
        evaluator=evaluator,
        out=prepared.out,
        account=prepared.account,
        profile=Profile(prepared.profile, prepared.out / "profile"),
        console=prepared.console,
        tracking=make_tracking(prepared),
    )


def predict_test(training: Training, evaluator: TaskEvaluator, corpus: str | None) -> None:
    """Predicts the test data of each task with the weights of the best step.

    Args:
        training: the loop's inputs.
        evaluator: the run's evaluation.
        corpus: corpus of the pretraining, whose shared text is marked; None if it is not known.
    """
    out = training.out
    with training.account.spend("evaluating"):
        arrays, step = restore(out, training.trainer, best_step(out))
        for data in evaluator.tasks:
            if data.test:
                shared = overlaps_with(corpus, data.test)
                scores = evaluator.predict(training.trainer, arrays, data, TEST, step, shared)
                assert scores is not None  # it was not stopped
                if is_first():
                    training.announce(test_line(data, scores, step))


def test_line(data: TaskData, scores: dict[str, float], step: int) -> str:
    """Returns a task's score on test data, in words."""
    return (
        f"{data.task.name}: {fmean(scores.values()):.1f} % on test data, mean of "
        f"{len(scores)} languages, at step {step:,}, the best on development data."
    )
