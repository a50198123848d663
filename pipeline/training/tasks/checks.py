"""What must hold of tasks before a run is fine-tuned on them."""

import functools
from collections.abc import Callable
from dataclasses import replace

from data.examples.span_corruption import lengths_for_inputs
from data.files.digests import digest_of_contents
from data.tasks.examples import TaskData
from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import MODEL_FILE
from pipeline.arguments import Finetune
from pipeline.corpus.manifests import read_corpus
from pipeline.errors import ArtifactError
from pipeline.recipe.recipe import Recipe
from pipeline.runs.directory import check_same_vocabulary
from pipeline.runs.task_files import check_metric
from pipeline.tokens.checks import check_blocks
from pipeline.training.checks import check_mixture, machine_checks
from pipeline.training.from_runs.first_weights import check_network
from pipeline.training.from_runs.teacher import Teacher, check_fills_groups, check_student
from pipeline.training.profiling import check_profile
from pipeline.training.tasks.finetuning_run import PRETRAINING_MIXTURE, Request
from pipeline.training.tasks.given_tasks import Finetuning


def checks_of(
    arguments: Finetune, pretrained: Recipe, request: Request
) -> list[Callable[[], object]]:
    """Returns what must hold before a run is fine-tuned, each to be called."""
    (prepared, finetuning, teacher), blocks = request, request.prepared.blocks
    recipe = prepared.recipe
    checks: list[Callable[[], object]] = [
        *(functools.partial(check_trains, data) for data in finetuning.tasks),
        *(functools.partial(check_metric, data.task) for data in finetuning.tasks),
        functools.partial(check_network, arguments.run, pretrained, recipe),
        functools.partial(check_evaluates_saved_steps, recipe),
        functools.partial(check_mixed_pretraining, recipe, blocks),
        functools.partial(check_profile, arguments.profile, recipe.steps),
        functools.partial(finetuning.schedule, recipe, mixed=blocks is not None),
        *machine_checks(recipe, arguments.out),
    ]
    if arguments.corpus is not None:
        checks.append(functools.partial(read_corpus, arguments.corpus))
    if blocks is not None:
        pretraining = replace(recipe, mixture=PRETRAINING_MIXTURE)
        checks += [
            functools.partial(check_same_vocabulary, arguments.run, blocks),
            functools.partial(check_blocks, blocks),
            functools.partial(check_mixture, pretraining, blocks),
        ]
    if teacher is not None:
        checks += [
            functools.partial(check_teaches_tasks, teacher, recipe, finetuning),
            functools.partial(check_begins_with_run, recipe),
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
    """
    check_student(teacher, recipe)
    check_fills_groups(teacher, recipe)
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
