"""An exchange: what crosses between shards goes through the engine's own shuffle.

    shard -> parts -> GroupByKey(partition) -> compare -> GroupByKey(shard) -> collect -> shard

A shard sends at most one packed element to each hash partition, and gets at most one verdict back
from each. Pages never travel, and no process opens what another shard wrote. One Beam element per
line would cost as much as the rest of the job (525 core-hours for one encoding at 9 TB).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import Metrics

from pipeline.beam.counters import NAMESPACE
from pipeline.beam.waves import Round, Wave
from pipeline.beam.work_items import in_workers

NOTHING = -1  # partition of the element that every shard sends itself, so that each is collected

KEYED = tuple[int, tuple[int, bytes]]


class ExchangeRound(beam.PTransform):
    """Exchanges one round of one wave; returns the shards, each when it has its verdicts."""

    def __init__(self, turn: Round, wave: Wave):
        super().__init__()
        self._turn, self._wave = turn, wave

    def expand(self, input_or_inputs):
        def here(function):
            return in_workers(function, input_or_inputs)

        turn, wave = self._turn, self._wave
        verdicts = (
            input_or_inputs
            | "Send" >> beam.FlatMap(here(_Send(turn, wave))).with_output_types(KEYED)
            | "ByPartition" >> beam.GroupByKey()
            | "Compare" >> beam.FlatMap(here(_Compare(turn))).with_output_types(KEYED)
        )
        every = input_or_inputs | "Every" >> beam.Map(_present).with_output_types(KEYED)
        return (
            (every, verdicts)
            | beam.Flatten()
            | "ByShard" >> beam.GroupByKey()
            | "Collect" >> beam.Map(here(_Collect(turn, wave))).with_output_types(int)
        )


def _present(shard: int) -> tuple[int, tuple[int, bytes]]:
    return shard, (NOTHING, b"")


@dataclass(frozen=True)
class _Send:
    turn: Any
    wave: Wave

    def __call__(self, shard: int) -> Iterator[tuple[int, tuple[int, bytes]]]:
        sizes = Metrics.distribution(NAMESPACE, f"sent_bytes/{self.turn.step}")
        for partition, part in self.turn.parts(shard, self.wave):
            sizes.update(len(part))
            yield partition, (shard, part)


@dataclass(frozen=True)
class _Compare:
    turn: Any

    def __call__(
        self, group: tuple[int, Iterable[tuple[int, bytes]]]
    ) -> Iterator[tuple[int, tuple[int, bytes]]]:
        partition, parts = group
        sizes = Metrics.distribution(NAMESPACE, f"answered_bytes/{self.turn.step}")
        for shard, verdict in self.turn.compare(partition, parts):
            sizes.update(len(verdict))
            yield shard, (partition, verdict)


@dataclass(frozen=True)
class _Collect:
    turn: Any
    wave: Wave

    def __call__(self, group: tuple[int, Iterable[tuple[int, bytes]]]) -> int:
        shard, verdicts = group
        found = {partition: one for partition, one in verdicts if partition != NOTHING}
        self.turn.collect(shard, self.wave, found)
        return shard
