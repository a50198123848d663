"""Resumable steps of a Beam job, cut into numbered work items that leave results in a workspace.

Only numbers travel between workers; pages and keys lie in files, so no runner has to hold them and
no grouping outgrows a worker. A finished work item is skipped, so a killed job resumes; an item
given to two workers is done twice with the same bytes. Counters are added once per item, under the
same names on every runner. Workers hold the locks of the process that launched the job.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import apache_beam as beam
from apache_beam.pvalue import AsIter, PCollection

from data.stores.fences import Fence, held_fences, raise_fences
from pipeline.beam.counters import add
from pipeline.beam.store_options import with_store_options
from pipeline.beam.workspace import Workspace


class Record(Protocol):
    """What a finished work item reports."""

    def as_json(self) -> Any:
        """Returns the record as a JSON value, for the workspace."""
        ...

    def counters(self) -> Mapping[str, int]:
        """Returns what the item adds to the job's counters, by name."""
        ...


class WorkStep(Protocol):
    """One step of a job, called with the number of a work item."""

    @property
    def workspace(self) -> Workspace:
        """Workspace of the job."""
        ...

    @property
    def step(self) -> str:
        """Name of the step in the workspace."""
        ...

    def __call__(self, number: int) -> Record: ...


class DoWork(beam.PTransform):
    """Does all work items of a step after earlier steps; returns their numbers when finished."""

    def __init__(self, step: WorkStep, items: int, after: tuple[PCollection, ...] = ()):
        super().__init__()
        self._step, self._items, self._after = step, items, after

    def expand(self, input_or_inputs):
        items = range(self._items)
        return (
            input_or_inputs
            | beam.Create([None])
            | "Number" >> beam.FlatMap(lambda _, *after: items, *map(AsIter, self._after))
            | "Spread" >> beam.Reshuffle()
            | "Work" >> beam.FlatMap(_in_workers(_DoItem(self._step), input_or_inputs))
        )


@dataclass(frozen=True)
class _DoItem:
    """Does one work item, unless it is finished."""

    step: Any

    def __call__(self, number: int) -> list[int]:
        workspace, name = self.step.workspace, self.step.step
        if not workspace.is_done(name, number):
            record = self.step(number)
            workspace.finish(name, number, record.as_json())
            add(f"pieces/{name}", 1)
            for counter, value in record.counters().items():
                add(counter, value)
        return [number]


class WriteAll(beam.PTransform):
    """Plans files after earlier steps, and writes each; returns their names."""

    def __init__(
        self,
        plan: Callable[[], Iterator[Any]],
        write: Callable[[Any], str],
        after: tuple[PCollection, ...],
    ):
        super().__init__()
        self._plan, self._write, self._after = plan, write, after

    def expand(self, input_or_inputs):
        plan = _in_workers(self._plan, input_or_inputs)
        return (
            input_or_inputs
            | beam.Create([None])
            | "Plan" >> beam.FlatMap(lambda _, *after: plan(), *map(AsIter, self._after))
            | "Spread" >> beam.Reshuffle()
            | "Write" >> beam.Map(_in_workers(self._write, input_or_inputs))
        )


@dataclass(frozen=True)
class _Fenced:
    """A function that holds the launcher's locks in whatever process it is called."""

    fences: tuple[Fence, ...]
    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        raise_fences(self.fences)
        return self.function(*arguments)


def _in_workers(function: Callable[..., Any], within: Any) -> Callable[..., Any]:
    """Returns the function with the store options of the job and the locks of this process."""
    return with_store_options(_Fenced(held_fences(), function), within)
