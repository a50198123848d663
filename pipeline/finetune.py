"""`mswitch finetune`: a finished run and tasks in, a fine-tuned run and its predictions out.

A run that learns tasks is trained like any other: its loader and its loop are those of `pretrain`,
and the same command again resumes to the same numbers. Development data are predicted at every
evaluation, the checkpoint with the best score is kept and named in `best.json`, and its
predictions on test data end the run (docs/decisions/fine-tuning.md).
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import fmean
from typing import Any, NamedTuple

import jax

from data.stores.addresses import Place
from data.tasks.examples import TaskData
from data.tokens.tokenizer import MODEL_FILE, load
from model.checkpoint import with_shardings
from model.loss.distillation import Distillation, DistillationConfig
from model.sharding.mesh import make_mesh
from model.train_step import Trainer
from pipeline.arguments import Finetune
from pipeline.artifacts.claims import digest_of_manifest
from pipeline.artifacts.intent import Intent
from pipeline.errors import ArtifactError
from pipeline.hardware.coordination import is_first
from pipeline.hardware.host_watch import joined
from pipeline.recipe.finetuned import finetuned, with_groups
from pipeline.recipe.recipe import Recipe, override, recipe_from_json
from pipeline.recipe.trainer import trainer_on
from pipeline.runs.best_step import best_step
from pipeline.runs.directory import (
    RECIPE,
    check_same_vocabulary,
    checkpoint_read,
    find_finished_run,
)
from pipeline.runs.open import restore
from pipeline.tokens.open_blocks import open_blocks
from pipeline.training import teacher as teachers
from pipeline.training.checks import check_all, machine_checks
from pipeline.training.first_weights import start_from
from pipeline.training.intent import intent_of
from pipeline.training.loop import Training, device_batches
from pipeline.training.profiling import Profile, check_profile
from pipeline.training.run import (
    PreparedRun,
    begin,
    carry_out,
    is_finished,
    locked_by_first_host,
    make_examples,
    make_tracking,
)
from pipeline.training.tasks.evaluation import TEST, TaskEvaluator
from pipeline.training.tasks.given_tasks import (
    Finetuning,
    check_evaluates_saved_steps,
    check_same_inputs,
    check_teaches_tasks,
    check_trains,
    read_tasks,
)
from pipeline.training.tasks.overlap import overlaps_with
from pipeline.training.tasks.predictor import Predictor


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
        trainer: functions of the network.
        predictors: predictor of each task, by name.
        record: fields of recipe.json about the teacher; none without.
    """

    trainer: Trainer
    predictors: dict[str, Predictor]
    record: dict[str, Any]


def run(arguments: Finetune) -> None:
    """Fine-tunes one run, or one per language or seed; repeats none that is finished.

    Raises:
        Preempted: if a signal stopped a run; its state is saved.
        ArtifactError: if a run cannot start.
    """
    programs: Programs | None = None
    with joined(arguments.hosts, "finetune"):
        for one in each(arguments):
            programs = run_one(one, programs)


def each(arguments: Finetune) -> Iterator[Finetune]:
    """Yields the arguments of each run, in a directory of its own if there are several.

    Raises:
        ArtifactError: if seeds are given twice, or several hosts would join for each run.
    """
    seeds, languages = arguments.seeds, arguments.languages
    several = bool(seeds) or arguments.each_language
    if len(set(seeds)) < len(seeds) or (several and arguments.hosts.count > 1):
        raise ArtifactError(
            f"--seeds {' '.join(map(str, seeds))} was given, with {arguments.hosts.count} hosts; "
            "give each seed once, and on several hosts one command per run."
        )
    if arguments.each_language and not languages:
        tasks = read_tasks(arguments.task, (), own=False)
        languages = tuple(sorted({one.language for data in tasks for one in data.train}))
    for seed in seeds or (None,):
        of_seed = arguments if seed is None else with_part(arguments, f"{seed}", f"seed={seed}")
        if not arguments.each_language:
            yield replace(of_seed, seeds=())
        for code in languages if arguments.each_language else ():
            yield replace(with_part(of_seed, code), seeds=(), languages=(code,))


def with_part(arguments: Finetune, part: str, *overrides: str) -> Finetune:
    """Returns the arguments of a run in OUT-PART."""
    out = arguments.out.with_name(f"{arguments.out.name}-{part}")
    return replace(arguments, out=out, overrides=(*arguments.overrides, *overrides))


def intents(arguments: Finetune) -> list[Intent]:
    """Returns what the command would do, once per run."""
    with joined(arguments.hosts, "finetune"):
        return [requested_intent(one) for one in each(arguments)]


def requested_intent(arguments: Finetune) -> Intent:
    """Returns what one run would do."""
    request = resolved(arguments)
    weights = [checkpoint_read("run", arguments.run, None)]
    if arguments.teacher is not None:
        weights.append(checkpoint_read("teacher", arguments.teacher, None))
    return intent_of(request.prepared, arguments.tokens, weights)


def resolved(arguments: Finetune) -> Request:
    """Returns the run that the arguments name.

    Raises:
        ArtifactError: if the run cannot start.
        DataError: if a task cannot be read.
    """
    pretrained = recipe_of(arguments.run)
    tasks = read_tasks(arguments.task, arguments.languages, own=arguments.each_language)
    vocabulary = arguments.run / MODEL_FILE
    finetuning = Finetuning(tasks, load(vocabulary), vocabulary)
    recipe = requested_recipe(arguments, pretrained, finetuning)
    prepared = begin(arguments, recipe)
    blocks = open_blocks(arguments.tokens, arguments.cache) if arguments.tokens else None
    teacher = None if arguments.teacher is None else teachers.find(arguments.teacher)
    checks: list[Callable[[], None]] = [
        *(functools.partial(check_trains, data) for data in tasks),
        functools.partial(check_evaluates_saved_steps, recipe),
        functools.partial(check_same_inputs, recipe, blocks),
        functools.partial(check_profile, arguments.profile, recipe.steps),
        *machine_checks(recipe, arguments.out),
    ]
    if blocks is not None:
        checks.append(functools.partial(check_same_vocabulary, arguments.run, blocks))
    if teacher is not None:
        checks.append(functools.partial(check_teaches_tasks, teacher, recipe, finetuning))
    check_all(recipe.name, checks)
    inputs = {"start": digest_of_manifest(arguments.run), **finetuning.digests}
    if blocks is not None:
        inputs["tokens"] = digest_of_manifest(blocks.directory)
    if teacher is not None:
        inputs["teacher"] = teacher.identity
    return Request(replace(prepared, inputs=inputs, blocks=blocks), finetuning, teacher)


def recipe_of(run: Place) -> Recipe:
    """Returns the recipe of a finished run.

    Raises:
        ArtifactError: if there is no finished run.
    """
    return recipe_from_json(find_finished_run(run).recipe, str(run / RECIPE))


def requested_recipe(arguments: Finetune, pretrained: Recipe, finetuning: Finetuning) -> Recipe:
    """Returns the recipe of the fine-tuning, with its overrides.

    Overrides apply twice: routing groups follow from the lengths, unless they are set themselves.
    """
    base = finetuned(
        pretrained,
        finetuning.names,
        arguments.languages,
        finetuning.targets,
        arguments.pretraining_share,
    )
    if arguments.teacher is not None:
        base = replace(base, distillation=DistillationConfig(initialization="random"))
    changed = override(base, arguments.overrides)
    return override(with_groups(changed, pretrained), arguments.overrides)


def run_one(arguments: Finetune, programs: Programs | None) -> Programs | None:
    """Fine-tunes one run to its last step; does nothing if it is finished.

    Args:
        arguments: arguments of one run.
        programs: compiled programs of an earlier run of the same recipe.

    Returns:
        The run's programs, for the next one.
    """
    request = resolved(arguments)
    prepared = request.prepared
    with locked_by_first_host(prepared):
        if is_finished(prepared):
            return programs
        programs = programs or make_programs(request)
        training = make_training(request, programs)
        training = replace(training, trainer=compiled(training))
        start_from(arguments.run, arguments.out, training.trainer)
        evaluator = training.evaluator
        assert isinstance(evaluator, TaskEvaluator)
        last = functools.partial(predict_test, training, evaluator, arguments.corpus)
        carry_out(prepared, training, programs.record, last)
    return programs._replace(trainer=training.trainer)


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
        return Programs(trainer_on(recipe, mesh), {}, {})
    network, record = teacher.weights(mesh)
    distillation = Distillation(recipe.distillation, network)
    return Programs(trainer_on(recipe, mesh, distillation), {}, {"teacher": record})


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
            replace(recipe, mixture="temperature:0.3", finetuning=None), prepared.blocks
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
