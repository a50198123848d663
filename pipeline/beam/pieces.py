"""Beam wiring for steps that leave their results in a workspace; their pieces are numbers.

What moves between workers are numbers; pages and keys lie in files, so no runner has to hold them,
and no grouping can outgrow a worker. A piece that has its tally is passed over, so a run that was
killed goes on; a piece that two workers are given is done twice with the same bytes. Counters are
added up once a piece, under the same names on every runner.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import apache_beam as beam
from apache_beam.pvalue import AsIter, PCollection

from pipeline.beam.counters import add
from pipeline.cleaning.judgement import identification_seconds
from pipeline.cleaning.tally import Tally
from pipeline.cleaning.workspace import Workspace
from pipeline.store_access import Reaching, words_of

COUNTED = {
    "read": "pages_read",
    "kept": "pages_kept",
    "not_asked": "pages_not_asked",
    "bytes": "bytes_read",
}


class Step(Protocol):
    """A step of a run, called with the number of a piece of its work."""

    @property
    def workspace(self) -> Workspace:
        """Where the run leaves its results."""
        ...

    @property
    def step(self) -> str:
        """Its name there."""
        ...

    def __call__(self, number: int) -> Tally: ...


class Perform(beam.PTransform):
    """Performs a step after others; gives the numbers of the pieces when they are done."""

    def __init__(self, step: Step, pieces: int, after: tuple[PCollection, ...] = ()):
        super().__init__()
        self._step, self._pieces, self._after = step, pieces, after

    def expand(self, input_or_inputs):
        pieces = range(self._pieces)
        return (
            input_or_inputs
            | beam.Create([None])
            | "Number" >> beam.FlatMap(lambda _, *after: pieces, *map(AsIter, self._after))
            | "Spread" >> beam.Reshuffle()
            | "Perform" >> beam.FlatMap(reaching(_Perform(self._step), input_or_inputs))
        )


def reaching(function: Callable[..., Any], within: Any) -> Reaching:
    """Returns the function with the way to the stores that the job's options describe.

    Args:
        function: called by workers.
        within: what the transform is applied to.
    """
    return Reaching(words_of(within.pipeline.options), function)


@dataclass(frozen=True)
class _Perform:
    """Performs a step for one piece, unless that is done."""

    step: Any

    def __call__(self, number: int) -> list[int]:
        step = self.step
        if not step.workspace.is_done(step.step, number):
            before = identification_seconds()
            tally = step(number)
            spent = identification_seconds() - before
            step.workspace.finish(step.step, number, tally)
            count(tally, step.step, spent)
        return [number]


def counter_values(tally: Tally, step: str) -> Counter[str]:
    """Returns what a piece of work adds to the job's counters, the same on every runner.

    pages_read, pages_kept, pages_not_asked, bytes_read, rejected/REASON, broken/REASON and
    pieces/STEP.
    """
    values = Counter({f"pieces/{step}": 1})
    for (kind, _, detail), value in tally.counts.items():
        if kind in ("rejected", "broken"):
            values[f"{kind}/{detail}"] += value
        elif kind in COUNTED:
            values[COUNTED[kind]] += value
    return values


def count(tally: Tally, step: str, identification_seconds: float) -> None:
    """Adds a piece of work, and the time in which languages were identified, to the counters."""
    add("language_milliseconds", round(1000 * identification_seconds))
    for name, value in counter_values(tally, step).items():
        add(name, value)


class WriteAll(beam.PTransform):
    """Plans files when the steps before are done, and writes each; gives their names."""

    def __init__(
        self,
        plan: Callable[[], Iterator[Any]],
        write: Callable[[Any], str],
        after: tuple[PCollection, ...],
    ):
        super().__init__()
        self._plan, self._write, self._after = plan, write, after

    def expand(self, input_or_inputs):
        plan = reaching(self._plan, input_or_inputs)
        return (
            input_or_inputs
            | beam.Create([None])
            | "Plan" >> beam.FlatMap(lambda _, *after: plan(), *map(AsIter, self._after))
            | "Spread" >> beam.Reshuffle()
            | "Write" >> beam.Map(reaching(self._write, input_or_inputs))
        )
