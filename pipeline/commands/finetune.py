"""`mswitch finetune`: a finished run and tasks in, a fine-tuned run and its predictions out.

The recipe has the run's network and the published settings of fine-tuning. The run is trained like
any other: its loader and its loop are those of `pretrain`, and the same command again resumes to
the same numbers. Development data are predicted at every evaluation, the checkpoint with the best
score is kept and named in `best.json`, and its predictions on test data end the run
(docs/decisions/fine-tuning.md).
"""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from data.examples.task_examples import TaskExamples
from data.languages import codes
from data.tokens.tokenizer import MODEL_FILE, load
from model.config import DistillationConfig, OptimizerConfig
from pipeline.arguments import Finetune
from pipeline.artifacts import Claim, digest_of_manifest
from pipeline.errors import ArtifactError
from pipeline.hardware.hosts import joined_hosts, on_first_host
from pipeline.recipe.overrides import check_seeds, override
from pipeline.recipe.recipe import FinetuningConfig, Recipe
from pipeline.runs.directory import (
    checkpoint_read,
    directory_of_part,
    find_finished_run,
    saved_steps,
)
from pipeline.runs.opened_run import recipe_of
from pipeline.stage import Intent
from pipeline.tokens.opened_blocks import cached_nowhere, open_blocks
from pipeline.training.begin import check_all, claimed_run, unchecked_run
from pipeline.training.origins import start_from
from pipeline.training.run import carry_out, intent_of
from pipeline.training.tasks.finetuning import (
    Programs,
    Request,
    compiled_trainer,
    finetuning_checks,
    free_programs,
    make_programs,
    make_training,
    predict_test,
)
from pipeline.training.tasks.given_tasks import Finetuning, read_tasks, tasks_read, trainable
from pipeline.training.teacher import check_same_teacher, find

EXPERT_DROPOUT = 0.4  # Switch, section 2.4
# 1 / sqrt(10^6) = 0.001 at every step before the millionth: mT5's constant rate.
CONSTANT = OptimizerConfig(hold_steps=1_000_000)


def recipe_of_finetuning(
    run: Recipe, tasks: Sequence[str], languages: Sequence[str], targets: int, share: float
) -> Recipe:
    """Returns the recipe that fine-tunes a run.

    1,000 steps, evaluated and saved every 200 as in both papers; a task of more or fewer examples
    sets `steps`.

    Args:
        run: recipe of the pretrained run.
        tasks: names of the tasks.
        languages: languages of the training examples; none for all.
        targets: decoder tokens that the tasks' targets need.
        share: share of rows that are pretraining's.
    """
    config = FinetuningConfig(
        tasks=tuple(tasks),
        languages=tuple(languages),
        targets=max(targets, run.lengths.targets) if share else targets,
        pretraining_share=share,
    )
    recipe = replace(
        run,
        name=f"{run.name}-{'-'.join(tasks)}",
        steps=1_000,
        evaluate_every=200,
        checkpoint_every=200,
        log_every=20,
        keep_every=0,
        optimizer=CONSTANT,
        mixture="proportional",
        mixture_from=(),
        accumulate=1,
        distillation=None,
        finetuning=config,
    )
    switch = run.model.switch
    if switch is None:
        return recipe
    switch = replace(switch, expert_dropout=EXPERT_DROPOUT)
    return replace(recipe, model=replace(recipe.model, switch=switch))


def with_groups(recipe: Recipe, run: Recipe) -> Recipe:
    """Returns the recipe with routing groups of as many rows as the run had, or fewer.

    Groups are counted in tokens, and the rows of a task are of other lengths than pretraining's.
    """
    switch = recipe.model.switch
    if switch is None or run.model.switch is None:
        return recipe
    of_run = run.model.switch
    rows, decoder_rows = (
        math.gcd(recipe.rows, max(tokens // length, 1))
        for tokens, length in (
            (of_run.encoder_group_tokens, run.lengths.inputs),
            (of_run.decoder_group_tokens, run.lengths.targets),
        )
    )
    switch = replace(
        switch,
        encoder_group_tokens=rows * recipe.lengths.inputs,
        decoder_group_tokens=decoder_rows * recipe.lengths.targets,
        encoder_pooled_groups=math.gcd(of_run.encoder_pooled_groups, recipe.rows // rows),
        decoder_pooled_groups=math.gcd(of_run.decoder_pooled_groups, recipe.rows // decoder_rows),
    )
    return replace(recipe, model=replace(recipe.model, switch=switch))


def run(arguments: Finetune) -> None:
    """Fine-tunes one run, or one per language or seed; repeats none that is finished.

    Raises:
        Preempted: if a signal stopped a run; its state is saved.
        ArtifactError: if a run cannot start.
    """
    held: list[Programs] = []
    with joined_hosts(arguments.hosts, "finetune"):
        for of_run in one_per_run(arguments):
            run_one(of_run, held)


def one_per_run(arguments: Finetune) -> Iterator[Finetune]:
    """Yields the arguments of each run, in a directory of its own if there are several.

    Raises:
        ArtifactError: if seeds are given twice, several hosts would join for each run, or a task
            lacks examples of a language.
    """
    if arguments.languages:
        arguments = replace(arguments, languages=codes(arguments.languages))
    seeds, languages, hosts = arguments.seeds, arguments.languages, arguments.hosts.count
    check_seeds(seeds, arguments.overrides)
    if hosts > 1 and (seeds or arguments.each_language):
        raise ArtifactError(
            f"Several runs were asked for on {hosts} hosts; give one command per run there, with "
            "--set seed=NUMBER or --languages CODE instead of --seeds or --each-language."
        )
    if arguments.each_language:
        languages = trainable(read_tasks(arguments.task, (), own=False), languages)
    for seed in seeds or (None,):
        of_seed = arguments if seed is None else with_part(arguments, f"{seed}", f"seed={seed}")
        if not arguments.each_language:
            yield replace(of_seed, seeds=())
        for code in languages if arguments.each_language else ():
            yield replace(with_part(of_seed, code), seeds=(), languages=(code,))


def with_part(arguments: Finetune, part: str, *overrides: str) -> Finetune:
    """Returns the arguments of a run in OUT-PART.

    Raises:
        ArtifactError: if OUT has no name.
    """
    out = directory_of_part(arguments.out, part)
    return replace(arguments, out=out, overrides=(*arguments.overrides, *overrides))


def intents(arguments: Finetune) -> list[Intent]:
    """Returns the command's intent, once per run."""
    with joined_hosts(arguments.hosts, "finetune"):
        return [requested_intent(of_run) for of_run in one_per_run(arguments)]


def requested_intent(arguments: Finetune) -> Intent:
    """Returns the intent of one run."""
    with cached_nowhere(arguments) as uncached:
        request = checked_request(uncached)
    more = [checkpoint_read("run", arguments.run, None)]
    if arguments.teacher is not None:
        more.append(checkpoint_read("teacher", arguments.teacher, None))
    finetuning = request.finetuning
    more += tasks_read(arguments.task, finetuning, finetuning.sources(request.prepared.recipe))
    return intent_of(request.prepared, arguments.tokens, more)


def checked_request(arguments: Finetune) -> Request:
    """Returns the run that the arguments name.

    Raises:
        ArtifactError: if the run cannot start.
        DataError: if a task cannot be read.
    """
    pretrained = recipe_of(find_finished_run(arguments.run), arguments.run)
    tasks = read_tasks(arguments.task, arguments.languages, own=arguments.each_language)
    vocabulary = arguments.run / MODEL_FILE
    finetuning = Finetuning(tasks, load(vocabulary), vocabulary)
    recipe = requested_recipe(arguments, pretrained, finetuning)
    prepared = unchecked_run(recipe, arguments.out, arguments.profile, arguments.track)
    blocks = open_blocks(arguments.tokens, arguments.cache) if arguments.tokens else None
    teacher = None if arguments.teacher is None else find(arguments.teacher)
    request = Request(replace(prepared, blocks=blocks), finetuning, teacher)
    check_all(recipe.name, finetuning_checks(arguments, pretrained, request))
    inputs = {"start": digest_of_manifest(arguments.run), **finetuning.digests}
    if blocks is not None:
        inputs["tokens"] = digest_of_manifest(blocks.directory)
    if arguments.corpus is not None:
        inputs["corpus"] = digest_of_manifest(arguments.corpus)
    if teacher is not None:
        inputs["teacher"] = teacher.identity
    return request._replace(prepared=replace(request.prepared, inputs=inputs))


def requested_recipe(arguments: Finetune, pretrained: Recipe, finetuning: Finetuning) -> Recipe:
    """Returns the recipe of the fine-tuning, with its overrides.

    Overrides apply twice: routing groups follow from the lengths, unless they are set themselves.
    """
    base = recipe_of_finetuning(
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


def run_one(arguments: Finetune, held: list[Programs]) -> None:
    """Fine-tunes one run to its last step; does nothing if it is finished.

    Args:
        arguments: arguments of one run.
        held: compiled programs of an earlier run, if there is one, replaced by this run's. Those
            that do not serve are let go first: a second teacher may not fit beside the first.
    """
    request = checked_request(arguments)
    prepared = request.prepared
    with claimed_run(prepared) as there:
        if there is Claim.FINISHED:
            return
        if not (held and held[0].serve(prepared.recipe)):
            free_programs(held)
            held.append(make_programs(request))
        (programs,) = held
        if request.teacher is not None:
            check_same_teacher(arguments.out, programs.record["teacher"])
        training = make_training(request, programs)
        assert isinstance(training.examples, TaskExamples)
        lengths = prepared.recipe.lengths
        for line in request.finetuning.lost(training.examples.sources, lengths):
            training.announce(line)
        if (
            max(on_first_host(lambda: saved_steps(arguments.out)), default=0)
            < prepared.recipe.steps
        ):
            training = replace(training, trainer=compiled_trainer(training))
        start_from(arguments.run, arguments.out, training.trainer, prepared.recipe)
        last = functools.partial(predict_test, arguments.corpus)
        carry_out(prepared, training, programs.record, last)
        held[:] = [programs._replace(trainer=training.trainer)]
