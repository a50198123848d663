"""Resumable steps of a Beam job, cut into numbered work items that leave results in a workspace.

Only their numbers travel; what an item makes lies in files. A finished work item is skipped, so a
killed job resumes; an item given to two workers is done twice with the same bytes. Counters are
added once per item, under the same names on every runner.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import apache_beam as beam

from data.files.stores import StoreOptions, set_options
from pipeline.beam.counters import add
from pipeline.beam.store_options import store_options
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
    """Does the work items with these numbers; returns each number when its item is finished."""

    def __init__(self, step: WorkStep):
        super().__init__()
        self._step = step

    def expand(self, input_or_inputs):
        work = in_workers(_DoItem(self._step), input_or_inputs)
        return input_or_inputs | "Work" >> beam.Map(work).with_output_types(int)


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
        workspace, name = self.step.workspace, self.step.step
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
