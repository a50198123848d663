"""Fine-tuning: a finished run is trained on tasks, and predicts their test data.

The run is trained like any other: its loader and its loop are those of `pretrain`, and the same
command again resumes to the same numbers. Development data are predicted at every evaluation, the
checkpoint with the best score is kept and named in `best.json`, and its predictions on test data
end the run (docs/decisions/fine-tuning.md).
"""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax

from data.examples.span_corruption import lengths_for_inputs
from data.examples.task_examples import TaskExamples
from data.files.digests import digest_of_contents
from data.files.paths import Place
from data.tasks.examples import TaskData
from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import MODEL_FILE, load
from model.config import DistillationConfig
from model.loss.training_loss import Distillation
from model.sharding.layouts import with_shardings
from model.sharding.mesh import make_mesh
from model.trainer import Trainer
from pipeline.artifacts import digest_of_manifest
from pipeline.corpus.pages import read_corpus
from pipeline.errors import ArtifactError
from pipeline.fields import CacheOptions, TrackerName
from pipeline.hardware.hosts import is_first, on_first_host
from pipeline.recipe.finetuning import recipe_of_finetuning, with_settings
from pipeline.recipe.fits import check_memory
from pipeline.recipe.recipe import Recipe
from pipeline.recipe.trainer import trainer_on
from pipeline.runs.directory import (
    best_saved_step,
    best_step,
    check_same_vocabulary,
    checkpoint_read,
    find_finished_run,
    saved_steps,
)
from pipeline.runs.opened_run import recipe_of, restore
from pipeline.runs.tasks import check_metric
from pipeline.stage import Job, Reading
from pipeline.tokens.opened_blocks import check_blocks, open_blocks
from pipeline.training.loop import Training, device_batches
from pipeline.training.prepare import (
    PreparedRun,
    check_all,
    check_mixture,
    machine_checks,
    unchecked_run,
)
from pipeline.training.profile import Profile, check_profile
from pipeline.training.run import job_of, make_examples, make_tracking
from pipeline.training.shapes import check_network
from pipeline.training.start import Weights
from pipeline.training.tasks.given_tasks import (
    Finetuning,
    overlaps_with,
    read_tasks,
    tasks_read,
)
from pipeline.training.tasks.predictor import Predictor
from pipeline.training.tasks.scoring import TEST, TaskEvaluator, score_in_words
from pipeline.training.teacher import (
    Teacher,
    check_dense,
    check_fills_groups,
    check_rows,
    check_same_teacher,
    find,
)

PRETRAINING_MIXTURE = "temperature:0.1"  # of pretraining mixed in: mT5's, beside 0.3 before


def finetuning(
    run: Place,
    tasks: Sequence[str],
    out: Place,
    languages: tuple[str, ...],
    held: list["Programs"],
    *,
    alone: bool,
    tokens: str,
    share: float,
    corpus: str | None,
    taught_by: Place | None,
    settings: Sequence[str],
    profile: tuple[int, int] | None,
    track: tuple[TrackerName, ...],
    cache: CacheOptions,
) -> Job:
    """Returns the job that fine-tunes a run.

    Args:
        run: directory of the finished run.
        tasks: tasks as the user names them.
        out: directory of the fine-tuned run.
        languages: languages of the training examples; none for all.
        held: compiled programs of an earlier run, if there is one; replaced by this run's.
        alone: whether development and test data have these languages only, too.
        tokens: tokens of the pretraining to mix in; "" for none.
        share: share of rows that are pretraining's.
        corpus: corpus of the pretraining, whose shared text is marked; None if it is not known.
        taught_by: directory of a fine-tuned run to learn from; None without.
        settings: `field=value` settings of the recipe.
        profile: first and last step to trace; None for no trace.
        track: trackers that also get the run's numbers.
        cache: cache for blocks of an object store.

    Raises:
        ArtifactError: if the run cannot start; the message lists all reasons.
        DataError: if a task cannot be read.
    """
    pretrained = recipe_of(find_finished_run(run), run)
    vocabulary = run / MODEL_FILE
    given = Finetuning(read_tasks(tasks, languages, alone), load(vocabulary), vocabulary)
    base = recipe_of_finetuning(pretrained, given.names, languages, given.targets, share)
    if taught_by is not None:
        base = replace(base, distillation=DistillationConfig(initialization="random"))
    recipe = with_settings(base, pretrained, settings)
    prepared = unchecked_run(recipe, out, profile, track)
    prepared = replace(prepared, blocks=open_blocks(tokens, cache) if tokens else None)
    teacher = None if taught_by is None else find(taught_by)
    checks = finetuning_checks(run, pretrained, prepared, given, teacher, corpus)
    check_all(recipe.name, checks)
    inputs = input_digests(run, given, prepared.blocks, corpus, teacher)
    prepared = replace(prepared, inputs=inputs)

    def reads() -> list[Reading]:
        first = [checkpoint_read("run", run, None)]
        if taught_by is not None:
            first.append(checkpoint_read("teacher", taught_by, None))
        return [*first, *tasks_read(tasks, given, given.sources(recipe))]

    return job_of(
        prepared,
        tokens,
        partial(begin, run, prepared, given, teacher, held),
        reads,
        last=partial(predict_test, corpus),
    )


def input_digests(
    run: Place,
    given: Finetuning,
    blocks: TokenBlocks | None,
    corpus: str | None,
    teacher: Teacher | None,
) -> dict[str, str]:
    """Returns the digest of each input of a fine-tuning."""
    inputs = {"start": digest_of_manifest(run), **given.digests}
    if blocks is not None:
        inputs["tokens"] = digest_of_manifest(blocks.directory)
    if corpus is not None:
        inputs["corpus"] = digest_of_manifest(corpus)
    if teacher is not None:
        inputs["teacher"] = teacher.identity
    return inputs


def begin(
    run: Place,
    prepared: PreparedRun,
    given: Finetuning,
    teacher: Teacher | None,
    held: list["Programs"],
) -> tuple[Training, Mapping[str, Any]]:
    """Returns the loop's inputs and the teacher's record; the run's weights become checkpoint 0.

    Programs of an earlier run that do not serve are let go first: a second teacher may not fit
    beside the first.
    """
    recipe, out = prepared.recipe, prepared.out
    if not (held and held[0].serve(recipe)):
        free_programs(held)
        held.append(make_programs(recipe, teacher))
    (programs,) = held
    if teacher is not None:
        check_same_teacher(out, programs.record["teacher"])
    training = make_training(prepared, given, programs)
    assert isinstance(training.examples, TaskExamples)
    for line in given.lost(training.examples.sources, recipe.lengths):
        training.announce(line)
    if max(on_first_host(lambda: saved_steps(out)), default=0) < recipe.steps:
        training = replace(training, trainer=compiled_trainer(training))
        held[:] = [programs._replace(trainer=training.trainer)]
    Weights(run).begin(prepared, training.trainer)
    return training, programs.record


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


def free_programs(held: list[Programs]) -> None:
    """Frees the programs of an earlier run: a second teacher may not fit beside the first."""
    held.clear()
    gc.collect()  # predictors refer to themselves, and to the teacher


def compiled_trainer(training: Training) -> Trainer:
    """Returns the trainer with its programs compiled, which further runs then share."""
    trainer = training.trainer
    state = with_shardings(jax.eval_shape(trainer.init), trainer.shardings)
    with training.account.spend("compiling"):
        return trainer.with_compiled_step(state, next(device_batches(training, 0)))


def make_programs(recipe: Recipe, teacher: Teacher | None) -> Programs:
    """Returns a recipe's functions; a student's have its teacher's weights."""
    mesh = make_mesh(recipe.mesh)
    if teacher is None or recipe.distillation is None:
        return Programs(recipe, trainer_on(recipe, mesh), {}, {})
    network, record = teacher.weights(mesh)
    distillation = Distillation(recipe.distillation, network)
    return Programs(recipe, trainer_on(recipe, mesh, distillation), {}, {"teacher": record})


def _without_languages(recipe: Recipe) -> Recipe:
    assert recipe.finetuning is not None  # a recipe of `mswitch finetune`
    return replace(recipe, finetuning=replace(recipe.finetuning, languages=()))


def make_training(prepared: PreparedRun, given: Finetuning, programs: Programs) -> Training:
    """Returns the loop's inputs."""
    recipe = prepared.recipe
    evaluator = TaskEvaluator(
        given.tasks,
        given.tokenizer,
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
        examples=given.examples(recipe, pretraining),
        evaluator=evaluator,
        out=prepared.out,
        account=prepared.account,
        profile=Profile(prepared.profile, prepared.out / "profile"),
        console=prepared.console,
        tracking=make_tracking(prepared),
    )


def predict_test(corpus: str | None, training: Training) -> None:
    """Predicts the test data of each task with the weights of the best step that has some.

    Args:
        corpus: corpus of the pretraining, whose shared text is marked; None if it is not known.
        training: the loop's inputs.
    """
    out, evaluator = training.out, training.evaluator
    assert isinstance(evaluator, TaskEvaluator)
    with training.account.spend("evaluating"):
        best, saved = on_first_host(lambda: (best_step(out), best_saved_step(out)))
        if saved != best:
            training.announce(
                f"the checkpoint of step {best:,}, the best, is gone; step {saved:,} is the best "
                "of those that have one"
            )
        arrays, step = restore(out, training.trainer, saved)
        tasks = [data for data in evaluator.tasks if data.test]
        overlaps = overlaps_with(corpus, [data.test for data in tasks])
        for data, shared in zip(tasks, overlaps, strict=True):
            scores = evaluator.predict(training.trainer, arrays, data, TEST, step, shared)
            assert scores is not None  # it was not stopped
            if is_first():
                for sentence in evaluator.cut_in_words(data):
                    training.announce(sentence)
                said = score_in_words(data, scores, data.test, " on test data")
                training.announce(f"{said}, at step {step:,}, the best on development data.")


def finetuning_checks(
    run: Place,
    pretrained: Recipe,
    prepared: PreparedRun,
    given: Finetuning,
    teacher: Teacher | None,
    corpus: str | None,
) -> list[Callable[[], object]]:
    """Returns the checks before a run is fine-tuned, each to be called."""
    recipe, blocks = prepared.recipe, prepared.blocks
    checks: list[Callable[[], object]] = [
        *(partial(check_trains, data) for data in given.tasks),
        *(partial(check_metric, data.task) for data in given.tasks),
        partial(check_network, run, pretrained, recipe),
        partial(check_evaluates_saved_steps, recipe),
        partial(check_mixed_pretraining, recipe, blocks),
        partial(check_profile, prepared.profile, recipe.steps),
        partial(given.schedule, recipe, mixed=blocks is not None),
        *machine_checks(recipe, prepared.out),
    ]
    if corpus is not None:
        checks.append(partial(read_corpus, corpus))
    if blocks is not None:
        pretraining = replace(recipe, mixture=PRETRAINING_MIXTURE)
        checks += [
            partial(check_same_vocabulary, run, blocks),
            partial(check_blocks, blocks),
            partial(check_mixture, pretraining, blocks),
        ]
    if teacher is not None:
        checks += [
            partial(check_teaches_tasks, teacher, recipe, given),
            partial(check_begins_with_run, recipe),
        ]
    return checks


def check_trains(data: TaskData) -> None:
    """Checks that a task has training and development examples.

    Raises:
        ArtifactError: if a split is missing.
    """
    for split in ("train", "development"):
        if not getattr(data, split):
            raise ArtifactError(
                f"Fine-tuning needs a {split} split of task {data.task.name}, whose description "
                f"has {', '.join(data.task.splits)}; add it to `splits` there."
            )


def check_teaches_tasks(teacher: Teacher, recipe: Recipe, finetuning: Finetuning) -> None:
    """Checks that a fine-tuned run can teach a dense one the same tasks.

    Raises:
        ArtifactError: if its vocabulary or its tasks differ, the student is sparse, or its batches
            do not fill the teacher's routing groups.
        ConfigurationError: if a device would need more memory than it has.
    """
    check_dense(recipe, "name a dense one as --run")
    check_rows(teacher, recipe, "name runs of one vocabulary")
    check_fills_groups(teacher, recipe)
    check_memory(recipe, teacher.recipe.model)
    if digest_of_contents(teacher.directory / MODEL_FILE) != digest_of_contents(
        finetuning.vocabulary
    ):
        raise ArtifactError(
            f"{teacher.directory} and {finetuning.vocabulary.parent} have different vocabularies, "
            "so probabilities of the one mean nothing to the other; name runs of one vocabulary."
        )
    ours, theirs = finetuning.digests, teacher.inputs
    if other := [name for name, digest in ours.items() if theirs.get(name) != digest]:
        raise ArtifactError(
            f"{teacher.directory} was not fine-tuned on {', '.join(other)} as it is given here; "
            "name a run that was, with the same languages."
        )


def check_begins_with_run(recipe: Recipe) -> None:
    """Checks that no setting gives a fine-tuned student other first weights than those of `--run`.

    Raises:
        ArtifactError: if `distillation.initialization` does.
    """
    assert recipe.distillation is not None  # a student's recipe
    if recipe.distillation.initialization != "random":
        raise ArtifactError(
            f"distillation.initialization was {recipe.distillation.initialization}, and a "
            "fine-tuned student begins with the weights of --run; leave it out."
        )


def check_evaluates_saved_steps(recipe: Recipe) -> None:
    """Checks that every evaluated step has a checkpoint, of which the best is kept.

    Raises:
        ArtifactError: if one has none.
    """
    if not recipe.evaluate_every or recipe.evaluate_every % recipe.checkpoint_every:
        raise ArtifactError(
            f"evaluate_every was {recipe.evaluate_every} with checkpoint_every "
            f"{recipe.checkpoint_every}; fine-tuning keeps the best evaluated checkpoint, so "
            "evaluate_every must be a multiple of checkpoint_every."
        )


def check_mixed_pretraining(recipe: Recipe, blocks: TokenBlocks | None) -> None:
    """Checks that pretraining is mixed in only with tokens to read, and with room for its targets.

    Raises:
        ArtifactError: if it is not.
    """
    config = recipe.finetuning
    assert config is not None  # a recipe of `mswitch finetune`
    if bool(config.pretraining_share) != (blocks is not None):
        raise ArtifactError(
            f"finetuning.pretraining_share was {config.pretraining_share} "
            f"{'with' if blocks else 'without'} --tokens; pretraining is mixed in with both, "
            "for example --tokens DIR --pretraining-share 0.01."
        )
    needed = lengths_for_inputs(recipe.inputs).targets
    if blocks is not None and needed > config.targets:
        raise ArtifactError(
            f"finetuning.targets was {config.targets}, and pretraining of {recipe.inputs} inputs "
            f"has {needed} targets in a row; set finetuning.targets={needed} or more."
        )
