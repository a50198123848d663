"""A training run, as `pretrain`, `distill` and `finetune` share it: prepared, trained, finished.

A run is prepared (`prepare.py`) before its directory is touched. Its job claims the directory,
builds the loop's inputs, writes the first checkpoint if the first weights are not random, trains
(`loop.py`) and writes the manifest. The same command again resumes from the last whole checkpoint.
The step is the loader's whole state and randomness is a function of (seed, step), so a resumed run
computes what an uninterrupted run computes: bit for bit on the same mesh (of GPUs with
`--deterministic`), up to rounding on another.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import jax

from data.examples.mixture import make_schedule, parse
from data.examples.pretraining_examples import Examples
from data.files.paths import Place
from data.tokens.blocks import TokenBlocks
from model.loss.training_loss import Distillation
from model.memory import checkpoint_bytes
from model.sharding.mesh import make_mesh
from model.transformer import parameter_count, transformer_shapes
from pipeline.artifacts import Claim, finish
from pipeline.errors import PREEMPTED_STATUS, Preempted
from pipeline.fields import CacheOptions, TrackerName
from pipeline.hardware.batches import share_of
from pipeline.hardware.hosts import is_first, on_first_host
from pipeline.recipe import named
from pipeline.recipe.recipe import Recipe, recipe_to_json, with_rows
from pipeline.recipe.trainer import trainer_on
from pipeline.runs.checkpoints import explain_save_errors
from pipeline.runs.directory import changes_to_json, recorded_changes, saved_steps
from pipeline.runs.finished import read_metrics
from pipeline.stage import Intent, Job, Reading, bytes_in_words, check_free, look
from pipeline.terminal import print_end
from pipeline.tokens.opened_blocks import training_sizes
from pipeline.training.changes import agreement_of, later_mixtures
from pipeline.training.description import (
    check_numerics,
    describe_data,
    describe_run,
    epochs_caution,
)
from pipeline.training.evaluation import GapFiller, HeldOut, PageEvaluator
from pipeline.training.following import following, training_of_other_side
from pipeline.training.log.live_view import duration
from pipeline.training.log.summary import result_in_words
from pipeline.training.log.tracking import Tracking
from pipeline.training.loop import Training, record_time, train
from pipeline.training.prepare import PreparedRun, claimed_run, prepare
from pipeline.training.profile import Profile
from pipeline.training.start import Start

# Builds the loop's inputs and writes the first checkpoint; returns them, and what recipe.json and
# the manifest record of what the run began with.
Begin = Callable[[], tuple[Training, Mapping[str, Any]]]


def training(
    recipe: Recipe,
    tokens: str,
    out: Place,
    start: Start,
    *,
    profile: tuple[int, int] | None,
    track: tuple[TrackerName, ...],
    cache: CacheOptions,
) -> Job:
    """Returns the job that trains a recipe on token blocks.

    Args:
        recipe: recipe with its settings; its vocabulary rows may be those of the tokens.
        tokens: directory or address of the tokens.
        out: the run's directory.
        start: what the run begins with.
        profile: first and last step to trace; None for no trace.
        track: trackers that also get the run's numbers.
        cache: cache for blocks of an object store.

    Raises:
        ArtifactError: if the run cannot start; the message lists all reasons.
    """
    begun = on_first_host(lambda: bool(saved_steps(out)))
    prepared = prepare(
        start.adapt(recipe),
        tokens,
        out,
        checks=start.checks(begun),
        first=start.step,
        profile=profile,
        track=track,
        cache=cache,
    )
    prepared = start.with_inputs(prepared, begun)

    def begin() -> tuple[Training, Mapping[str, Any]]:
        training = make_training(prepared)
        return training, start.begin(prepared, training.trainer)

    def reads() -> Sequence[Reading]:
        return () if begun else start.reads()

    return job_of(prepared, tokens, begin, reads, first=start.first_step(prepared))


def job_of(
    prepared: PreparedRun,
    tokens: str,
    begin: Begin,
    reads: Callable[[], Sequence[Reading]],
    *,
    first: int = 0,
    last: Callable[[Training], None] = lambda _: None,
) -> Job:
    """Returns the job of a prepared run.

    Args:
        prepared: the run.
        tokens: token blocks as the user named them; "" where none are read.
        begin: builds the loop's inputs, and writes the first checkpoint unless there is one.
        reads: returns what else it reads: first weights, a teacher, tasks.
        first: step of the run's first state.
        last: what is left to do after the last step; every host calls it.
    """

    def run() -> None:
        with claimed_run(prepared) as there:
            if there is not Claim.FINISHED:
                carry_out(prepared, *begin(), last)

    return Job(lambda: intent_of(prepared, tokens, reads(), first), run)


def intent_of(
    prepared: PreparedRun, place: str, more: Sequence[Reading] = (), begins_at: int = 0
) -> Intent:
    """Returns the intent of a training, for `--dry-run`.

    Args:
        prepared: the run.
        place: tokens as the user named them; "" where none are read.
        more: what else it reads: first weights, a teacher, tasks.
        begins_at: step of its first state.

    Raises:
        LockHeld: if another command holds the lock.
        ArtifactError: if the directory holds something else, or a run that cannot be resumed.
    """
    recipe, out = prepared.recipe, prepared.out
    check_free(out, recipe.stage)
    agreement = agreement_of(out, recipe.stage, prepared.identity)
    changes = agreement.changes if agreement else ()
    done = max(saved_steps(out), default=begins_at)
    size = checkpoint_bytes(recipe.model, recipe.optimizer)
    intent = Intent(
        stage=recipe.stage,
        reads=[*([tokens_read(prepared.blocks, place)] if prepared.blocks else []), *more],
        writes=f"recipe.json, checkpoints of {bytes_in_words(size)} each, metrics and evaluations",
        out=out,
        identity=None if agreement else prepared.identity,  # the claim has the settings before
        work="; ".join([remaining_work(recipe, done), *map(str, changes)]),
        time=expected_time(recipe, out, done),
        finds=[f"caution: {caution}"] if (caution := caution_of(prepared)) else [],
    )
    if look(intent) is Claim.UNFINISHED or agreement:
        check_numerics(out)
    return intent


def caution_of(prepared: PreparedRun) -> str:
    """Returns a caution on a run's length; "" where there is nothing, or no text."""
    return epochs_caution(prepared.recipe, prepared.blocks) if prepared.blocks else ""


def tokens_read(blocks: TokenBlocks, place: str) -> Reading:
    """Returns token blocks as something that is read; their page tables do not count."""
    shards = [
        shard
        for splits in blocks.manifest.languages.values()
        for split in splits.values()
        for shard in split.shards
    ]
    tokens = blocks.counts("train", "tokens")
    holds = f"{sum(tokens.values()):,} training tokens in {len(tokens)} languages"
    return Reading("tokens", place, len(shards), sum(shard.file_bytes for shard in shards), holds)


def remaining_work(recipe: Recipe, done: int) -> str:
    """Returns the steps that are left, in words."""
    parameters = parameter_count(transformer_shapes(recipe.model))
    after = f" after step {done:,}" if done else ""
    return (
        f"{recipe.steps - done:,} steps{after}, of {recipe.rows} rows x {recipe.inputs} tokens; "
        f"{parameters:,} parameters"
    )


def expected_time(recipe: Recipe, out: Place, done: int) -> str:
    """Returns the time of the steps that are left at the speed of those that were logged."""
    lines = read_metrics(out / "metrics.jsonl")
    seconds = [spent for line in lines if (spent := line.get("seconds"))]
    if seconds:
        left, pace = recipe.steps - done, median(seconds)
        return (
            f"{duration(left * pace)} at {pace:.3g} s per step, as logged so far; evaluations and "
            "checkpoints come on top"
        )
    rows = recipe.model.vocabulary_rows
    if recipe.name in named.names() and recipe == with_rows(named.get(recipe.name), rows):
        options = f"--recipe {recipe.name} --set model.vocabulary_rows={rows}"
        command = f"mswitch plan {options} --topology TOPOLOGY"
        return f"not measured before the first steps; `{command}` bounds it on TPUs and GPUs"
    return "not measured before the first steps"


def make_training(prepared: PreparedRun, distillation: Distillation | None = None) -> Training:
    """Returns the loop's inputs; `distillation` is a student's teacher."""
    recipe = prepared.recipe
    assert prepared.blocks is not None  # pretraining and distillation read tokens
    mesh = make_mesh(recipe.mesh)
    share = share_of(mesh, recipe.rows, jax.process_index())
    held_out = HeldOut(prepared.blocks, recipe.lengths, recipe.rows, share, recipe.held_out_pages)
    return Training(
        recipe=recipe,
        trainer=trainer_on(recipe, mesh, distillation),
        examples=make_examples(recipe, prepared.blocks, prepared.later),
        evaluator=PageEvaluator(
            held_out, GapFiller(held_out, recipe), prepared.out, prepared.announce
        ),
        out=prepared.out,
        account=prepared.account,
        profile=Profile(prepared.profile, prepared.out / "profile"),
        console=prepared.console,
        tracking=make_tracking(prepared),
    )


def make_tracking(prepared: PreparedRun) -> Tracking:
    """Returns the trackers of the run, which its directory names and `RUN/tracking.json` keeps."""
    recipe = recipe_to_json(prepared.recipe)
    return Tracking(prepared.track, prepared.out, recipe, prepared.announce)


def carry_out(
    prepared: PreparedRun,
    training: Training,
    more: Mapping[str, Any],
    last: Callable[[Training], None],
) -> None:
    """Trains to the recipe's last step and finishes the directory.

    Args:
        prepared: the run whose directory is claimed.
        training: the loop's inputs.
        more: further fields of recipe.json and of the manifest.
        last: what is left to do after the last step; every host calls it.

    Raises:
        Preempted: if SIGTERM stopped the run; its state is saved.
        ArtifactError: if the run cannot be written, or too many updates in a row were skipped.
    """
    stage, steps, out = prepared.recipe.stage, prepared.recipe.steps, prepared.out
    with explain_save_errors(out):
        if is_first():
            describe_run(out, prepared.recipe, training.trainer, prepared.inputs, more)
            describe_data(out, prepared.recipe, training.examples, prepared.console)
            if caution := caution_of(prepared):
                prepared.announce(f"caution: {caution}")
        with training.tracking as tracking:
            result = train(training)
            tracking.state = "finished" if result.finished else "stopped"
    if not result.finished:
        raise Preempted(
            f"{stage}: stopped after step {result.step}, which is saved; the same command resumes "
            f"(exit status {PREEMPTED_STATUS})."
        )
    last(training)
    if is_first():
        record_time(training, result)
        changes = changes_to_json(recorded_changes(out))
        tokens = prepared.blocks and prepared.blocks.address
        body = {"steps": steps, **more} | ({"changes": changes} if changes else {})
        finish(out, stage, *prepared.identity, body)
        other = () if tokens is None else training_of_other_side(out, tokens)
        print_end(stage, result_in_words(out), following=following(out, tokens), or_else=other)


def make_examples(
    recipe: Recipe, blocks: TokenBlocks, later: Sequence[TokenBlocks] = ()
) -> Examples:
    """Returns the training examples of a recipe on token blocks, and on those of its changes."""
    return Examples(
        blocks=blocks,
        schedule=make_schedule(parse(recipe.mixture, training_sizes(blocks)), recipe.seed),
        lengths=recipe.lengths,
        first_sentinel=blocks.manifest.vocabulary.first_sentinel,
        seed=recipe.seed,
        later=later_mixtures(recipe, later),
    )
