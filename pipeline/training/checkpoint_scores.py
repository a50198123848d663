"""The scores of one checkpoint of a run: held-out pages, test data of tasks, or sentences.

Pages go to `RUN/evaluation/step=N.parquet`, as pretraining writes them at intervals. Tasks and
sentences of parallel texts have files of their own, in `RUN/tasks/NAME/`.
"""

import itertools
from collections.abc import Sequence
from functools import partial
from statistics import fmean

import jax

from data.files.paths import Place, exists
from data.tasks.examples import TaskData
from data.tokens.blocks import TokenBlocks
from model.trainer import Trainer
from pipeline.artifacts import digest_of_manifest
from pipeline.errors import ArtifactError
from pipeline.fields import CacheOptions
from pipeline.hardware.batches import share_of
from pipeline.hardware.hosts import is_first
from pipeline.recipe.recipe import Recipe
from pipeline.runs.directory import (
    best_step,
    check_same_vocabulary,
    checkpoint_read,
    evaluation_file,
    find_run,
    requested_step,
)
from pipeline.runs.finished import evaluated_steps, scored_tokens, write_evaluation
from pipeline.runs.opened_run import load_run, restore, wait_until_seen
from pipeline.runs.tasks import predictions_file, read_predictions
from pipeline.stage import UNKNOWN, Intent, Job, Reading
from pipeline.terminal import print_end
from pipeline.tokens.opened_blocks import check_held_out, check_holds_windows, open_blocks
from pipeline.training.evaluation import HeldOut
from pipeline.training.log.live_view import duration
from pipeline.training.log.time_account import evaluating_seconds
from pipeline.training.tasks.given_tasks import read_tasks
from pipeline.training.tasks.scoring import TEST, TaskScoring, check_scores, file_of

SCORED = "validation"


def page_scoring(run: Place, tokens: str, step: int | None, cache: CacheOptions) -> Job:
    """Returns the job that scores held-out pages.

    Args:
        run: directory of the run.
        tokens: directory or address of the token blocks.
        step: step of the checkpoint; None for the best or the last.
        cache: cache for blocks of an object store.

    Raises:
        ArtifactError: if there is no such run, checkpoint or held-out page, the tokens are not
            those of the run, or its targets are too short for their windows.
    """
    recipe, trainer = load_run(run)
    check_holds_windows(run, recipe)
    blocks = open_blocks(tokens, cache)
    check_tokens(run, blocks)
    check_held_out(blocks)
    wait_until_seen(run)
    step = requested_step(run, step)
    check_may_replace(run, step, blocks)
    return Job(
        partial(page_intent, run, recipe, step, blocks),
        partial(score_pages, run, recipe, trainer, step, blocks),
    )


def page_intent(run: Place, recipe: Recipe, step: int, blocks: TokenBlocks) -> Intent:
    """Returns the intent to score held-out pages."""
    most, counts = recipe.held_out_pages, blocks.counts(SCORED, "pages")
    pages = sum(min(count, most) if most else count for count in counts.values())
    shards = [shard for code in blocks.languages(SCORED) for shard in blocks.shards(code, SCORED)]
    size = sum(shard.file_bytes for shard in shards)
    return Intent(
        stage="evaluate",
        reads=[
            checkpoint_read("run", run, step),
            Reading("tokens", blocks.address, len(shards), size, f"{pages:,} held-out pages"),
        ],
        writes=f"evaluation/{evaluation_file(run, step).name}",
        out=run,
        work=f"step {step:,} of {recipe.name} on {pages:,} held-out pages",
        time=expected_time(run),
    )


def expected_time(run: Place) -> str:
    """Returns the mean time of the evaluations that a training made, in words."""
    seconds, count = evaluating_seconds(run), len(evaluated_steps(run))
    if not seconds or not count:
        return UNKNOWN
    mean = duration(seconds / count)
    return f"{mean}, as each of the {count} evaluations of this run took on its devices"


def score_pages(
    run: Place, recipe: Recipe, trainer: Trainer, step: int, blocks: TokenBlocks
) -> None:
    """Scores the held-out pages and writes the evaluation."""
    share = share_of(trainer.mesh, recipe.rows, jax.process_index())
    held_out = HeldOut(blocks, recipe.lengths, recipe.rows, share, recipe.held_out_pages)
    arrays, _ = restore(run, trainer, step)
    evaluation = held_out.score(trainer, arrays)
    assert evaluation is not None  # no `stop` was passed
    if not is_first():
        return
    path = write_evaluation(run, step, evaluation, digest_of_manifest(blocks.directory))
    losses = evaluation.losses.values()
    loss = f"held-out loss {fmean(losses):.4f} nats, " if losses else ""
    made = f"{loss}{len(held_out.pages):,} held-out pages, in {path}"
    print_end("evaluate", made, following=("inspect", run))


def check_tokens(run: Place, blocks: TokenBlocks) -> None:
    """Checks that a run was trained on these tokens or, if imported, has their vocabulary.

    Raises:
        ArtifactError: if the tokens, or an imported run's vocabulary, differ.
    """
    trained_on = find_run(run).inputs.get("tokens")
    if trained_on is None:
        check_same_vocabulary(run, blocks)
    elif digest_of_manifest(blocks.directory) != trained_on:
        raise ArtifactError(
            f"{run} was trained on other tokens than {blocks.address}; name the directory that it "
            "was trained on."
        )


def check_may_replace(run: Place, step: int, blocks: TokenBlocks) -> None:
    """Checks that an existing evaluation of this step was made from the same tokens.

    A trained run records its tokens in recipe.json; for an imported run the evaluation file does.

    Raises:
        ArtifactError: if the existing evaluation was made from other or unrecorded tokens.
    """
    path = evaluation_file(run, step)
    if not exists(path):
        return
    trained_on = find_run(run).inputs.get("tokens", "")
    scored = scored_tokens(path)
    if (trained_on if scored is None else scored) != digest_of_manifest(blocks.directory):
        raise ArtifactError(
            f"{path} is there and was not made from {blocks.address}; move it out of the run, "
            "or import the model to another --out for these tokens."
        )


def task_scoring(
    run: Place,
    tasks: Sequence[str],
    sentences: Sequence[str],
    step: int | None,
    beams: int,
    corpus: str | None,
) -> Job:
    """Returns the job that predicts test data of tasks and scores sentences.

    Args:
        run: directory of the run.
        tasks: tasks to predict, as the user names them.
        sentences: parallel texts to score, likewise.
        step: step of the checkpoint; None for the best or the last.
        beams: number of beams of the search for an answer.
        corpus: corpus of the pretraining, whose shared text is marked; None if not known.

    Raises:
        ArtifactError: if one cannot be scored, or earlier predictions would lose what they hold.
        DataError: if one cannot be read.
    """
    wait_until_seen(run)
    step = requested_step(run, step)
    predicted = [_in_languages_of_run(run, data) for data in read_tasks(tasks, (), own=False)]
    texts = read_tasks(sentences, (), own=False)
    files = [file_of(run, data, TEST, step, beams) for data in predicted]
    check_scores(predicted, texts, files, corpus)
    count = sum(len(data.test) for data in itertools.chain(predicted, texts))
    return Job(
        partial(task_intent, run, step, count),
        partial(score_tasks, run, step, predicted, texts, corpus, beams),
    )


def task_intent(run: Place, step: int, examples: int) -> Intent:
    """Returns the intent to score a checkpoint on a number of test examples."""
    return Intent(
        stage="evaluate",
        reads=[checkpoint_read("run", run, step)],
        writes="tasks/NAME: predictions, or losses of sentences",
        out=run,
        work=f"step {step:,} on {examples:,} test examples",
    )


def _in_languages_of_run(run: Place, data: TaskData) -> TaskData:
    """Returns a task with the test data that a fine-tuned run was scored on, in its languages."""
    best = best_step(run)
    if best is None or not exists(path := predictions_file(run, data.task.name, TEST, best)):
        return data
    scored = set(read_predictions(path).language)
    return data._replace(test=[example for example in data.test if example.language in scored])


def score_tasks(
    run: Place,
    step: int,
    tasks: Sequence[TaskData],
    texts: Sequence[TaskData],
    corpus: str | None,
    beams: int,
) -> None:
    """Predicts test data and scores sentences, and writes both."""
    recipe, trainer = load_run(run)
    arrays, _ = restore(run, trainer, step)
    scoring = TaskScoring(run, recipe, trainer, arrays, step)
    sentences = [*scoring.predict(tasks, corpus, beams), *scoring.score_sentences(texts)]
    if is_first():
        print_end("evaluate", "; ".join(sentences), following=("inspect", run))
