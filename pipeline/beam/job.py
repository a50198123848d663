"""A Beam job: steps of numbered work items, exchanges between them, and counters.

**Work.** Only the numbers of items travel; what an item makes lies in files. A finished work item
is skipped, so a killed job resumes; an item given to two workers is done twice with the same bytes.
Counters are added once per item, under the same names on every runner.

**Exchanges** go through the engine's own shuffle:

    shard -> send -> GroupByKey(partition) -> compare -> GroupByKey(shard) -> collect -> shard

A shard sends at most one packed element to each hash partition, and gets at most one verdict back
from each. Pages never travel, and no process opens what another shard wrote. One Beam element per
line would cost as much as the rest of the job (525 core-hours for one encoding at 9 TB).

Nothing of cleaning is imported here: it loads CLD3, which crashes beside TensorFlow.
"""

import contextlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import apache_beam as beam
from apache_beam.metrics.metric import Metrics, MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult, PipelineState

from data.files.stores import StoreOptions, set_options
from pipeline.beam.failures import hide_reported_errors, user_error
from pipeline.beam.options import pipeline_for, store_options
from pipeline.beam.workspace import Exchange, Wave, Workspace

NAMESPACE = "mswitch"
CANCEL_SECONDS = 20


def add(name: str, value: int) -> None:
    """Adds to one of the job's counters."""
    Metrics.counter(NAMESPACE, name).inc(value)


@contextlib.contextmanager
def running(options: PipelineOptions) -> Iterator[beam.Pipeline]:
    """Yields a pipeline that runs when the block ends, on the runner that the options name.

    Beam sets its `result` as soon as the job is submitted. With the local runner the job has ended
    by then; other runners have begun.

    A job that another runner has begun would go on without its command, which a signal ended: it is
    cancelled.

    Raises:
        DataError: if a worker met something that its user can repair, such as a full disk, or if
            the engine ended the job.
    """
    hide_reported_errors()
    graph = pipeline_for(options)
    try:
        with graph as pipeline:
            yield pipeline
    except Exception as error:  # Beam wraps a worker's exception in a RuntimeError
        raise user_error(error) from error
    except KeyboardInterrupt:
        cancel(getattr(graph, "result", None))
        raise


def cancel(result: PipelineResult | None) -> None:
    """Cancels a submitted job, unless it has ended; waits for no answer that does not come."""

    def ask() -> None:
        with contextlib.suppress(Exception):  # each runner raises its own errors
            if result is not None and not PipelineState.is_terminal(result.state):
                result.cancel()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(CANCEL_SECONDS)


def counters(result: PipelineResult) -> dict[str, int]:
    """Returns the job's own counters as they are now, by name, over all its steps.

    Committed values where the runner reports any; Flink and Spark report attempted ones. On Prism
    (2.77.0) two bundles that end together and are each the first with a name count once
    (`metricsStore.unprocessedPayloads` keeps one payload per name); the manifest counts both.
    """
    if "_metrics" in vars(result):
        # A portable runner's result queries once and caches the answer.
        vars(result)["_metrics"] = None
    answers = result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["counters"]
    committed = any(answer.committed for answer in answers)
    values: dict[str, int] = defaultdict(int)
    for answer in answers:
        values[answer.key.metric.name] += (answer.committed if committed else answer.attempted) or 0
    return dict(values)


class Record(Protocol):
    """What a finished work item reports."""

    def as_json(self) -> Any:
        """Returns the record as a JSON value, for the workspace."""
        ...

    def counters(self) -> Mapping[str, int]:
        """Returns the item's additions to the job's counters, by name."""
        ...


class Step(Protocol):
    """Work on one shard, called with its number; a frozen dataclass, as it is pickled."""

    @property
    def workspace(self) -> Workspace:
        """Workspace of the job."""
        ...

    @property
    def name(self) -> str:
        """Name of the step in the workspace."""
        ...

    def __call__(self, number: int) -> Record: ...


Stage = Step | tuple[Exchange, ...]
"""A step, or exchanges that are made together, wave by wave."""


class DoWork(beam.PTransform):
    """Does the work items with these numbers; returns each number when its item is finished."""

    def __init__(self, step: Step):
        super().__init__()
        self._step = step

    def expand(self, input_or_inputs):
        work = in_workers(_DoItem(self._step), input_or_inputs)
        return input_or_inputs | "Work" >> beam.Map(work).with_output_types(int)


def do_items(step: Step, count: int, options: PipelineOptions) -> None:
    """Runs a job that does every work item of a step that is not finished.

    Raises:
        DataError: as `running`.
    """
    with running(options) as pipeline:
        name = f"{type(step).__name__}-{step.name}"
        _ = pipeline | WorkNumbers(count) | name >> DoWork(step)


class WorkNumbers(beam.PTransform):
    """The numbers of `count` work items, spread over the workers."""

    def __init__(self, count: int):
        super().__init__()
        self._count = count

    def expand(self, input_or_inputs):
        count = self._count
        return (
            input_or_inputs
            | beam.Impulse()
            | "Number" >> beam.FlatMap(lambda _: range(count)).with_output_types(int)
            | "Spread" >> beam.Reshuffle()
        )


@dataclass(frozen=True)
class _DoItem:
    """Does one work item, unless it is finished."""

    step: Any

    def __call__(self, number: int) -> int:
        workspace, name = self.step.workspace, self.step.name
        if not workspace.is_done(name, number):
            record = self.step(number)
            workspace.finish(name, number, record.as_json())
            add(f"pieces/{name}", 1)
            for counter, value in record.counters().items():
                add(counter, value)
        return number


@dataclass(frozen=True)
class _InWorkers:
    """A function with the job's store options, in any process."""

    options: StoreOptions
    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        set_options(self.options)
        return self.function(*arguments)


def in_workers(function: Callable[..., Any], within: Any) -> Callable[..., Any]:
    """Returns the function with the store options of the job.

    Args:
        function: called by workers.
        within: what the transform is applied to: a pipeline or a collection.
    """
    return _InWorkers(store_options(within.pipeline.options), function)


NOTHING = -1  # partition of the element that every shard sends itself, so that each is collected

KEYED = tuple[int, tuple[int, bytes]]


class DoExchange(beam.PTransform):
    """Makes one wave of an exchange; returns the shards, each when it has its verdicts."""

    def __init__(self, exchange: Exchange, wave: Wave):
        super().__init__()
        self._exchange, self._wave = exchange, wave

    def expand(self, input_or_inputs):
        def here(function):
            return in_workers(function, input_or_inputs)

        exchange, wave = self._exchange, self._wave
        verdicts = (
            input_or_inputs
            | "Send" >> beam.FlatMap(here(_Send(exchange, wave))).with_output_types(KEYED)
            | "ByPartition" >> beam.GroupByKey()
            | "Compare" >> beam.FlatMap(here(_Compare(exchange))).with_output_types(KEYED)
        )
        every = input_or_inputs | "Every" >> beam.Map(_present).with_output_types(KEYED)
        return (
            (every, verdicts)
            | beam.Flatten()
            | "ByShard" >> beam.GroupByKey()
            | "Collect" >> beam.Map(here(_Collect(exchange, wave))).with_output_types(int)
        )


def _present(shard: int) -> tuple[int, tuple[int, bytes]]:
    return shard, (NOTHING, b"")


@dataclass(frozen=True)
class _Send:
    exchange: Any
    wave: Wave

    def __call__(self, shard: int) -> Iterator[tuple[int, tuple[int, bytes]]]:
        sizes = Metrics.distribution(NAMESPACE, f"sent_bytes/{self.exchange.name}")
        for partition, part in self.exchange.send(shard, self.wave):
            sizes.update(len(part))
            yield partition, (shard, part)


@dataclass(frozen=True)
class _Compare:
    exchange: Any

    def __call__(
        self, group: tuple[int, Iterable[tuple[int, bytes]]]
    ) -> Iterator[tuple[int, tuple[int, bytes]]]:
        partition, parts = group
        sizes = Metrics.distribution(NAMESPACE, f"answered_bytes/{self.exchange.name}")
        for shard, verdict in self.exchange.compare(partition, parts):
            sizes.update(len(verdict))
            yield shard, (partition, verdict)


@dataclass(frozen=True)
class _Collect:
    exchange: Any
    wave: Wave

    def __call__(self, group: tuple[int, Iterable[tuple[int, bytes]]]) -> int:
        shard, verdicts = group
        by_partition = {
            partition: verdict for partition, verdict in verdicts if partition != NOTHING
        }
        self.exchange.collect(shard, self.wave, by_partition)
        return shard
