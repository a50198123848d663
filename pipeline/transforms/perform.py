"""Beam wiring for steps that leave their results in a workspace; their pieces are numbers.

What moves between workers are numbers; pages and keys lie in files, so no runner has to hold them,
and no grouping can outgrow a worker. A piece that has its tally is passed over, so a run that was
killed goes on; a piece that two workers are given is done twice with the same bytes. Counters are
added up once a piece, under the same names on every runner.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import AsIter, PCollection

from pipeline.cleaning.tally import Tally
from pipeline.cleaning.workspace import Workspace


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
            | "Perform" >> beam.ParDo(_Perform(self._step))
        )


class _Perform(beam.DoFn):
    def __init__(self, step: Any):
        self._step = step

    def process(self, element: Any, *args, **kwargs) -> Iterator[int]:
        step = self._step
        if not step.workspace.is_done(step.step, element):
            tally = step(element)
            step.workspace.finish(step.step, element, tally)
            count(tally)
        yield element


def count(tally: Tally) -> None:
    """Adds to the job's counters: pages_read, pages_kept, rejected/REASON, broken/REASON."""
    for (kind, _, detail), value in tally.counts.items():
        if kind in ("rejected", "broken"):
            Metrics.counter("mswitch", f"{kind}/{detail}").inc(value)
        elif kind in ("read", "kept"):
            Metrics.counter("mswitch", f"pages_{kind}").inc(value)


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
        plan = self._plan
        return (
            input_or_inputs
            | beam.Create([None])
            | "Plan" >> beam.FlatMap(lambda _, *after: plan(), *map(AsIter, self._after))
            | "Spread" >> beam.Reshuffle()
            | "Write" >> beam.Map(self._write)
        )
