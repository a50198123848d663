"""What a run achieved, step by step, from its evaluations and its log: losses, speed and time.

The end of a training and `mswitch inspect` show it. Only files are read, without JAX.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import pyarrow as pa
from msgspec import Struct
from rich.console import Console
from rich.table import Column, Table

from data.errors import DataError
from data.files.json_files import Count, read_json
from data.files.parquet_files import read_table, row_count
from data.files.paths import Place
from eval import losses
from pipeline.artifacts import MANIFEST, read_head, words_of
from pipeline.errors import ArtifactError
from pipeline.runs.directory import (
    best_step,
    find_run,
    recorded_changes,
    recorded_scores,
    saved_steps,
)
from pipeline.runs.finished import (
    Evaluation,
    evaluated_steps,
    gap_in_words,
    latest_gaps,
    read_metrics,
)
from pipeline.runs.stored_arrays import verify_checkpoint
from pipeline.runs.tasks import read_finetuned, read_predictions, read_task_of, scores_by_language
from pipeline.training.log.live_view import duration

Line = Mapping[str, float | None]  # of the log

LINES = 12  # of a run without evaluations
SCORES = pa.schema(
    [losses.SCHEMA.field(name) for name in ("language", "loss_nats", "target_tokens")]
)


@dataclass(frozen=True, kw_only=True)
class StepSummary:
    """A run at one step; None stands for what was not recorded.

    Attributes:
        step: number of updates so far.
        held_out_nats: mean over languages of the held-out loss, in nats per target token.
        loss_nats: training loss since the last line of the log.
        tokens_per_second: median speed so far.
        seconds: time of all steps so far, without evaluations and checkpoints.
    """

    step: int
    held_out_nats: float | None
    loss_nats: float | None
    tokens_per_second: float | None
    seconds: float | None


def summaries(directory: Place) -> Iterator[StepSummary]:
    """Yields a run at each evaluation, or some lines of its log if it has none, and at its end."""
    evaluations = evaluated_steps(directory)
    log = read_metrics(directory / "metrics.jsonl")
    for step in _shown_steps(evaluations, log):
        yield _summary(step, evaluations, log)


def _shown_steps(evaluations: Mapping[int, Place], log: Sequence[Line]) -> list[int]:
    logged = [int(line["step"] or 0) for line in log]
    shown = evaluations or logged[:: max(1, len(logged) // LINES)]
    since = [step for step in logged[-1:] if step > max(shown, default=0)]
    return [*shown, *since]


def _summary(step: int, evaluations: Mapping[int, Place], log: Sequence[Line]) -> StepSummary:
    before = [line for line in log if int(line["step"] or 0) <= step]
    speeds = [speed for line in before if (speed := line.get("tokens_per_second")) is not None]
    times = [(line.get("seconds") or 0) * (line.get("steps") or 0) for line in before]
    return StepSummary(
        step=step,
        held_out_nats=_held_out(evaluations[step]) if step in evaluations else None,
        loss_nats=before[-1].get("loss_nats") if before else None,
        tokens_per_second=median(speeds) if speeds else None,
        seconds=math.fsum(times) if times else None,
    )


def summary_table(steps: list[StepSummary]) -> Table:
    """Returns the steps as a table."""
    names = ("step", "held-out nats", "training nats", "tokens/s", "time")
    table = Table(*(Column(name, justify="right") for name in names), box=None)
    for summary in steps:
        table.add_row(
            f"{summary.step:,}",
            *(_shown(value, "{:.4f}") for value in (summary.held_out_nats, summary.loss_nats)),
            _shown(summary.tokens_per_second, "{:,.0f}"),
            "-" if summary.seconds is None else duration(summary.seconds),
        )
    return table


def result_in_words(directory: Place) -> str:
    """Returns a run's result in words; of its evaluations the first and last are read."""
    evaluations = evaluated_steps(directory)
    log = read_metrics(directory / "metrics.jsonl")
    steps = _shown_steps(evaluations, log)
    ends = {*list(evaluations)[:1], *list(evaluations)[-1:], *steps[-1:]}
    shown = [_summary(step, evaluations, log) for step in sorted(ends)]
    scored = [summary for summary in shown if summary.held_out_nats is not None]
    parts = [f"{shown[-1].step:,} steps"] if shown else []
    if scored:
        first, last = scored[0], scored[-1]
        before = f" (at step {first.step:,}: {first.held_out_nats:.4f})" if first != last else ""
        parts.append(f"held-out loss {last.held_out_nats:.4f} nats, mean of languages{before}")
    if shown and shown[-1].tokens_per_second is not None:
        parts.append(f"{shown[-1].tokens_per_second:,.0f} tokens per second")
    return ", ".join([*parts, f"in {directory}"])


def _held_out(path: Place) -> float | None:
    columns = read_table(path, SCORES).to_pydict()
    losses = Evaluation(columns, None).losses
    return fmean(losses.values()) if losses else None


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


INDENT = "  "


class Trained(Struct, frozen=True):
    """The manifest of a run."""

    steps: Count


class PrunedManifest(Struct, frozen=True):
    """The manifest of a pruned run: the experts that were kept, by layer, and numbers of pieces."""

    kept: dict[str, list[Count]] = {}
    pieces: Count = 0
    pieces_before: Count = 0


def inspect_run(directory: Place, console: Console) -> None:
    """Checks a finished run, and prints how it went and what is its command's own."""
    check_run(directory, console)
    match read_head(directory).stage:
        case "prune":
            print_pruned(directory, console)
        case "finetune":
            print_finetuned(directory, console)


def check_run(directory: Place, console: Console) -> None:
    """Checks every array of every checkpoint against its fingerprint, and counts evaluations."""
    about = find_run(directory)
    evaluations = evaluated_steps(directory)
    if evaluations:
        pages = max(row_count(str(path)) for path in evaluations.values())
        console.print(f"{len(evaluations)} evaluations of {pages:,} held-out pages")
    steps = saved_steps(directory)
    trained_to = read_json(directory / MANIFEST, Trained).steps
    if trained_to not in steps:
        raise ArtifactError(
            f"{directory} was trained to step {trained_to} by its manifest, and its checkpoints "
            f"are {steps}; restore the files of the last, or train the run again."
        )
    for step in steps:
        verify_checkpoint(directory / "checkpoints", step, about.parameters)
    print_progress(directory, console)
    console.print(
        f"trained to step {trained_to}; checkpoints at steps {words_of(steps)}, every array "
        "matches its fingerprint"
    )


def print_unfinished(directory: Place, console: Console) -> None:
    """Prints how far a run has come that trains or was stopped; no array of it is verified."""
    find_run(directory)
    print_progress(directory, console)
    steps = saved_steps(directory)
    saved = f"checkpoints at steps {words_of(steps)}" if steps else "no checkpoint"
    console.print(f"unfinished, {saved}; nothing was verified")


def print_progress(directory: Place, console: Console) -> None:
    """Prints a table of steps, the gaps that were filled, and the settings that were changed."""
    console.print(summary_table(list(summaries(directory))))
    print_gaps(directory, console)
    for change in recorded_changes(directory):
        console.print(str(change), highlight=False)


def print_pruned(directory: Place, console: Console) -> None:
    """Prints the experts and pieces that were kept."""
    pruned = read_json(directory / MANIFEST, PrunedManifest)
    for layer, experts in pruned.kept.items():
        console.print(f"{layer}: experts {' '.join(map(str, experts))}")
    if pruned.pieces:
        console.print(f"{pruned.pieces:,} of {pruned.pieces_before:,} pieces of the vocabulary")


def print_finetuned(directory: Place, console: Console) -> None:
    """Prints the scores of a fine-tuned run, those of the best step from its predictions."""
    best = best_step(directory)
    for step, score in recorded_scores(directory).items():
        which = ", the best" if step == best else ""
        before = ", the weights before" if step == 0 else ""
        console.print(f"step {step:,}: {score:.1f} % on development data{before}{which}")
    for name, path in read_finetuned(directory).files.items():
        predictions = read_predictions(path)
        counted = f"{len(predictions.language):,} predictions in {path.name}"
        try:
            scores = scores_by_language(read_task_of(path), predictions)
            mean = f"{fmean(scores.values()):.1f} %, mean of {len(scores)} languages, of {counted}"
        except DataError:  # the metric's library is not installed
            mean = counted
        console.print(f"{name}: {mean}", highlight=False)


def print_gaps(directory: Place, console: Console) -> None:
    """Prints the held-out gaps that the last evaluation with any filled, one line each."""
    step, gaps = latest_gaps(directory)
    if gaps:
        console.print(f"held-out gaps as filled at step {step:,}")
    cells = console.width - len(INDENT) if console.is_terminal else None
    for gap in gaps:
        console.print(INDENT + gap_in_words(gap, cells))
