"""What a run achieved, step by step: losses, speed and time, from its evaluations and its log.

Only files are read, and no JAX is loaded, so it serves `mswitch inspect` and the end of training.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import pyarrow as pa
from rich.table import Column, Table

from data.files.parquet_files import read_table
from data.files.paths import Place
from eval import losses
from pipeline.runs.finished import evaluated_steps, read_metrics
from pipeline.training.evaluation.evaluation_file import Evaluation
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
    some = evaluations or logged[:: max(1, len(logged) // LINES)]
    since = [step for step in logged[-1:] if step > max(some, default=0)]
    return [*some, *since]


def _summary(step: int, evaluations: Mapping[int, Place], log: Sequence[Line]) -> StepSummary:
    before = [line for line in log if int(line["step"] or 0) <= step]
    speeds = [one for line in before if (one := line.get("tokens_per_second")) is not None]
    times = [(line.get("seconds") or 0) * (line.get("steps") or 0) for line in before]
    return StepSummary(
        step=step,
        held_out_nats=_held_out(evaluations[step]) if step in evaluations else None,
        loss_nats=before[-1].get("loss_nats") if before else None,
        tokens_per_second=median(speeds) if speeds else None,
        seconds=math.fsum(times) if times else None,
    )


def table_of(found: list[StepSummary]) -> Table:
    """Returns the steps as a table."""
    names = ("step", "held-out nats", "training nats", "tokens/s", "time")
    table = Table(*(Column(name, justify="right") for name in names), box=None)
    for one in found:
        table.add_row(
            f"{one.step:,}",
            *(_shown(value, "{:.4f}") for value in (one.held_out_nats, one.loss_nats)),
            _shown(one.tokens_per_second, "{:,.0f}"),
            "-" if one.seconds is None else duration(one.seconds),
        )
    return table


def result(directory: Place) -> str:
    """Returns what a run achieved, in words; of its evaluations the first and last are read."""
    evaluations = evaluated_steps(directory)
    log = read_metrics(directory / "metrics.jsonl")
    steps = _shown_steps(evaluations, log)
    ends = {*list(evaluations)[:1], *list(evaluations)[-1:], *steps[-1:]}
    found = [_summary(step, evaluations, log) for step in sorted(ends)]
    scored = [one for one in found if one.held_out_nats is not None]
    parts = [f"{found[-1].step:,} steps"] if found else []
    if scored:
        first, last = scored[0], scored[-1]
        before = f" (at step {first.step:,}: {first.held_out_nats:.4f})" if first != last else ""
        parts.append(f"held-out loss {last.held_out_nats:.4f} nats, mean of languages{before}")
    if found and found[-1].tokens_per_second is not None:
        parts.append(f"{found[-1].tokens_per_second:,.0f} tokens per second")
    return ", ".join([*parts, f"in {directory}"])


def _held_out(path: Place) -> float | None:
    columns = read_table(path, SCORES).to_pydict()
    losses = Evaluation(columns, None).losses
    return fmean(losses.values()) if losses else None


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
