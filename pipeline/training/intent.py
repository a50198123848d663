"""What a training would do: what `--dry-run` of `pretrain`, `distill` and `finetune` prints."""

from collections.abc import Sequence
from statistics import median

from data.files.paths import Place
from data.tokens.blocks import TokenBlocks
from model.memory import checkpoint_bytes
from model.transformer import parameter_count, transformer_shapes
from pipeline.artifacts.claims import Claim
from pipeline.artifacts.intent import Intent, Reading, bytes_in_words, look
from pipeline.artifacts.output_lock import check_free
from pipeline.recipe import named
from pipeline.recipe.recipe import Recipe, with_rows
from pipeline.runs.directory import saved_steps
from pipeline.runs.finished import read_metrics
from pipeline.training.changes.allowed_changes import agreement_of
from pipeline.training.description import check_numerics
from pipeline.training.log.live_view import duration
from pipeline.training.prepared import PreparedRun


def intent_of(
    prepared: PreparedRun, place: str, more: Sequence[Reading] = (), begins_at: int = 0
) -> Intent:
    """Returns what a training would do.

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
    one = checkpoint_bytes(recipe.model, recipe.optimizer)
    intent = Intent(
        stage=recipe.stage,
        reads=[*([tokens_read(prepared.blocks, place)] if prepared.blocks else []), *more],
        writes=f"recipe.json, checkpoints of {bytes_in_words(one)} each, metrics and evaluations",
        out=out,
        identity=None if agreement else prepared.identity,  # the claim has the settings before
        work="; ".join([work_of(recipe, done), *map(str, changes)]),
        time=expected_time(recipe, out, done),
    )
    if look(intent) is Claim.UNFINISHED or agreement:
        check_numerics(out)
    return intent


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
    return Reading("tokens", place, len(shards), sum(one.file_bytes for one in shards), holds)


def work_of(recipe: Recipe, done: int) -> str:
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
    seconds = [one for line in lines if (one := line.get("seconds"))]
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
