"""`mswitch evaluate`: scores held-out pages, tasks or sentences with one checkpoint of a run.

Pages go to `RUN/evaluation/step=N.parquet`, as pretraining writes them at intervals. Tasks and
sentences of parallel texts have files of their own, in `RUN/tasks/NAME/`.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import jax

from data.files.paths import Place, exists
from data.tasks.examples import TaskData
from data.tokens.blocks import TokenBlocks
from model.trainer import Trainer
from pipeline.arguments import Evaluate
from pipeline.artifacts import digest_of_manifest
from pipeline.errors import ArtifactError
from pipeline.hardware.batches import share_of
from pipeline.hardware.hosts import held_by_first_host, is_first, joined_hosts
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
from pipeline.stage import UNKNOWN, Intent, Reading, output_lock
from pipeline.terminal import print_end
from pipeline.tokens.opened_blocks import (
    cached_nowhere,
    check_held_out,
    check_holds_windows,
    open_blocks,
)
from pipeline.training.evaluation import HeldOut
from pipeline.training.log.live_view import duration
from pipeline.training.log.time_account import evaluating_seconds
from pipeline.training.tasks.given_tasks import read_tasks
from pipeline.training.tasks.scoring import TEST, TaskScoring, check_scores, file_of

SCORED = "validation"


def run(arguments: Evaluate) -> None:
    """Scores one checkpoint of a run, which no other command may write to meanwhile.

    Raises:
        ArtifactError: if there is nothing to score.
    """
    with joined_hosts(arguments.hosts, "evaluate"):
        find_run(arguments.run)
        check_asked(arguments)
        with held_by_first_host(lambda: output_lock(arguments.run, "evaluate")):
            checked = None
            if arguments.task or arguments.sentences:  # refused before pages are scored
                wait_until_seen(arguments.run)
                checked = checked_tasks(arguments, requested_step(arguments.run, arguments.step))
            if arguments.tokens:
                score(arguments)
            if checked is not None:
                score_tasks(arguments, *checked)


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """A checkpoint to score, and the held-out pages, which passed all checks.

    Attributes:
        recipe: recipe of the run.
        trainer: its functions.
        step: step of the checkpoint.
        blocks: token blocks.
        tokens: digest of their manifest.
    """

    recipe: Recipe
    trainer: Trainer
    step: int
    blocks: TokenBlocks
    tokens: str

    @property
    def held_out(self) -> HeldOut:
        """The held-out pages, in batches."""
        recipe = self.recipe
        share = share_of(self.trainer.mesh, recipe.rows, jax.process_index())
        return HeldOut(self.blocks, recipe.lengths, recipe.rows, share, recipe.held_out_pages)


def checked_request(arguments: Evaluate) -> EvaluationRequest:
    """Returns the run and text that the arguments name.

    Raises:
        ArtifactError: if there is no such run, checkpoint or held-out page, the tokens are not
            those of the run, or its targets are too short for their windows.
    """
    recipe, trainer = load_run(arguments.run)
    check_holds_windows(arguments.run, recipe)
    blocks = open_blocks(arguments.tokens, arguments.cache)
    check_tokens(arguments, blocks)
    check_held_out(blocks)
    wait_until_seen(arguments.run)
    step = requested_step(arguments.run, arguments.step)
    tokens = digest_of_manifest(blocks.directory)
    check_may_replace(arguments, step, tokens)
    return EvaluationRequest(
        recipe=recipe, trainer=trainer, step=step, blocks=blocks, tokens=tokens
    )


def intents(arguments: Evaluate) -> list[Intent]:
    """Returns the command's intent."""
    with joined_hosts(arguments.hosts, "evaluate"):
        check_asked(arguments)
        pages = [page_intent(arguments)] if arguments.tokens else []
        return pages + ([task_intent(arguments)] if arguments.task or arguments.sentences else [])


def page_intent(arguments: Evaluate) -> Intent:
    """Returns the command's intent on held-out pages."""
    with cached_nowhere(arguments) as uncached:
        request = checked_request(uncached)
    run, blocks = arguments.run, request.blocks
    most, counts = request.recipe.held_out_pages, blocks.counts("validation", "pages")
    pages = sum(min(count, most) if most else count for count in counts.values())
    shards = [shard for code in blocks.languages(SCORED) for shard in blocks.shards(code, SCORED)]
    size = sum(shard.file_bytes for shard in shards)
    return Intent(
        stage="evaluate",
        reads=[
            checkpoint_read("run", run, request.step),
            Reading("tokens", arguments.tokens, len(shards), size, f"{pages:,} held-out pages"),
        ],
        writes=f"evaluation/{evaluation_file(run, request.step).name}",
        out=run,
        work=f"step {request.step:,} of {request.recipe.name} on {pages:,} held-out pages",
        time=expected_time(run),
    )


def expected_time(run: Place) -> str:
    """Returns the mean time of the evaluations that a training made, in words."""
    seconds, count = evaluating_seconds(run), len(evaluated_steps(run))
    if not seconds or not count:
        return UNKNOWN
    mean = duration(seconds / count)
    return f"{mean}, as each of the {count} evaluations of this run took on its devices"


def score(arguments: Evaluate) -> None:
    """Scores one checkpoint and writes the evaluation."""
    request = checked_request(arguments)
    step, held_out = request.step, request.held_out
    arrays, _ = restore(arguments.run, request.trainer, step)
    evaluation = held_out.score(request.trainer, arrays)
    assert evaluation is not None  # no `stop` was passed
    if not is_first():
        return
    path = write_evaluation(arguments.run, step, evaluation, request.tokens)
    losses = evaluation.losses.values()
    loss = f"held-out loss {fmean(losses):.4f} nats, " if losses else ""
    made = f"{loss}{len(held_out.pages):,} held-out pages, in {path}"
    print_end("evaluate", made, following=("inspect", arguments.run))


def check_asked(arguments: Evaluate) -> None:
    """Checks that something is to be scored, with options that it has.

    Raises:
        ArtifactError: if nothing is, or an option is of something else or impossible.
    """
    if arguments.beams < 1:
        raise ArtifactError(f"--beams was {arguments.beams}; it is 1 (greedy) or more.")
    if not (arguments.tokens or arguments.task or arguments.sentences):
        raise ArtifactError(
            f"{arguments.run} was to be evaluated on nothing; name held-out pages (--tokens DIR), "
            "tasks (--task TASK) or a parallel text (--sentences TASK)."
        )
    if arguments.beams > 1 and not arguments.task:
        raise ArtifactError("--beams are of --task; name a task, or leave --beams out.")
    if arguments.corpus is not None and not (arguments.task or arguments.sentences):
        raise ArtifactError(
            "--corpus is searched for examples of --task and --sentences; name one, or leave "
            "--corpus out."
        )


def task_intent(arguments: Evaluate) -> Intent:
    """Returns the command's intent on tasks."""
    run = arguments.run
    wait_until_seen(run)
    step = requested_step(run, arguments.step)
    count = sum(len(data.test) for data in itertools.chain(*checked_tasks(arguments, step)))
    return Intent(
        stage="evaluate",
        reads=[checkpoint_read("run", run, step)],
        writes="tasks/NAME: predictions, or losses of sentences",
        out=run,
        work=f"step {step:,} on {count:,} test examples",
    )


def checked_tasks(arguments: Evaluate, step: int) -> tuple[Sequence[TaskData], Sequence[TaskData]]:
    """Returns the tasks to predict and the parallel texts to score, which passed all checks.

    Raises:
        ArtifactError: if one cannot be scored, or earlier predictions would lose what they hold.
        DataError: if one cannot be read.
    """
    asked = read_tasks(arguments.task, (), own=False)
    tasks = [_in_languages_of_run(arguments.run, data) for data in asked]
    texts = read_tasks(arguments.sentences, (), own=False)
    files = [file_of(arguments.run, data, TEST, step, arguments.beams) for data in tasks]
    check_scores(tasks, texts, files, arguments.corpus)
    return tasks, texts


def _in_languages_of_run(run: Place, data: TaskData) -> TaskData:
    """Returns a task with the test data that a fine-tuned run was scored on, in its languages."""
    best = best_step(run)
    if best is None or not exists(path := predictions_file(run, data.task.name, TEST, best)):
        return data
    scored = set(read_predictions(path).language)
    return data._replace(test=[example for example in data.test if example.language in scored])


def score_tasks(arguments: Evaluate, tasks: Sequence[TaskData], texts: Sequence[TaskData]) -> None:
    """Predicts test data and scores sentences, and writes both."""
    recipe, trainer = load_run(arguments.run)
    arrays, step = restore(arguments.run, trainer, arguments.step)
    scoring = TaskScoring(arguments.run, recipe, trainer, arrays, step)
    sentences = scoring.predict(tasks, arguments.corpus, arguments.beams)
    sentences += scoring.score_sentences(texts)
    if is_first():
        print_end("evaluate", "; ".join(sentences), following=("inspect", arguments.run))


def check_tokens(arguments: Evaluate, blocks: TokenBlocks) -> None:
    """Checks that a run was trained on these tokens or, if imported, has their vocabulary.

    Raises:
        ArtifactError: if the tokens, or an imported run's vocabulary, differ.
    """
    trained_on = find_run(arguments.run).inputs.get("tokens")
    if trained_on is None:
        check_same_vocabulary(arguments.run, blocks)
    elif digest_of_manifest(blocks.directory) != trained_on:
        raise ArtifactError(
            f"{arguments.run} was trained on other tokens than {arguments.tokens}; "
            "name the directory that it was trained on."
        )


def check_may_replace(arguments: Evaluate, step: int, tokens: str) -> None:
    """Checks that an existing evaluation of this step was made from the same tokens.

    A trained run records its tokens in recipe.json; for an imported run the evaluation file does.

    Raises:
        ArtifactError: if the existing evaluation was made from other or unrecorded tokens.
    """
    path = evaluation_file(arguments.run, step)
    if not exists(path):
        return
    trained_on = find_run(arguments.run).inputs.get("tokens", "")
    scored = scored_tokens(path)
    if (trained_on if scored is None else scored) != tokens:
        raise ArtifactError(
            f"{path} is there and was not made from {arguments.tokens}; move it out of the run, "
            "or import the model to another --out for these tokens."
        )
