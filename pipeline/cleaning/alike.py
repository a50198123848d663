"""One page per cluster of near-duplicates: three steps of `mswitch-web`, before those on lines.

The first gives each shard's pages their language, by thresholds that follow from the probabilities
of all pages, and spills each page's MinHash keys. The second finds the pages of a partition of keys
that share one. The third unites the pairs of all partitions into clusters. It is one work item, and
its memory grows with the pages that have a near-duplicate (some 60 bytes each), not with the
corpus.
"""

import functools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import UInt32, UInt64

from data.dedup import minhash
from data.dedup.clusters import Edges, as_edges, clusters, edges
from data.language_id.thresholds import STEPS, MedianLessDeviation
from data.reading.page import Page
from data.rules.line_rules import rank_of
from pipeline.beam.workspace import Workspace
from pipeline.cleaning import passes, spill
from pipeline.cleaning.judgement import DecideLanguage, Judgement
from pipeline.cleaning.newest import lost_by_shard
from pipeline.cleaning.passes import claims_to
from pipeline.cleaning.source import SIZES, Source
from pipeline.cleaning.tally import Tally, tallies

CLAIMS = pa.schema([("key", pa.uint64()), ("page", pa.uint64()), ("row", pa.uint32())])
EDGES = pa.schema([("page", pa.uint64()), ("with", pa.uint64())])
CLAIM = np.dtype([("key", "u8"), ("page", "u8"), ("row", "u4"), ("shard", "u4")])
PLACES = pa.schema([("page", pa.uint64()), ("shard", pa.uint32()), ("row", pa.uint32())])


@dataclass(frozen=True)
class DescribePages:
    """Spills a shard's pages after the judgements; counts the probabilities of languages."""

    workspace: Workspace
    source: Source
    judgements: tuple[Judgement, ...]

    step = "describe"

    def __call__(self, number: int) -> Tally:
        """Processes one shard."""
        with passes.begun(self.workspace, self.step, number, CLAIMS) as files:
            for stay, go in self.source.chunks(self.workspace, number, self.judgements):
                files.write(stay, go)
                for page in stay:
                    step = round(min(page.language_probability, 1.0) * STEPS)
                    files.tally.counts["certainty", page.identified_language, str(step)] += 1
        return files.tally


@dataclass(frozen=True)
class ClaimKeys:
    """Spills a shard's pages with their languages, and their MinHash keys."""

    workspace: Workspace
    certainty: MedianLessDeviation
    asked: tuple[Judgement, ...]
    partitions: int

    step = "resemble"

    def __call__(self, number: int) -> Tally:
        """Processes one shard."""
        decide = DecideLanguage(thresholds(self.workspace, self.certainty))
        first = 0
        with passes.begun(self.workspace, self.step, number, CLAIMS) as files:
            source = Source(DescribePages.step)
            for stay, go in source.chunks(self.workspace, number, [decide, *self.asked]):
                files.write(stay, go)
                for batch in self._claims(stay, first):
                    files.claims.write_batch(batch)
                first += len(stay)
        return files.tally

    def _claims(self, pages: Sequence[Page], first: int) -> list[pa.RecordBatch]:
        """Returns a chunk's claims, one batch per partition."""
        keys = _band_keys(pages).ravel()
        numbers = np.array([rank_of(page.url) for page in pages], np.uint64)
        rows = np.arange(first, first + len(pages), dtype=np.uint32)
        part = (keys >> np.uint64(32)) * np.uint64(self.partitions) >> np.uint64(32)
        order = np.argsort(part, kind="stable")
        ends = np.searchsorted(part[order], np.arange(1, self.partitions))
        bands = minhash.BANDS
        columns = (keys, np.repeat(numbers, bands), np.repeat(rows, bands))
        split = [np.split(column[order], ends) for column in columns]
        return [_batch(CLAIMS, *part) for part in zip(*split, strict=True)]


@dataclass(frozen=True)
class FindAlike:
    """Spills the pages that share a key, and their places."""

    workspace: Workspace
    shards: int
    partitions: int

    step = "alike"

    def __call__(self, number: int) -> Tally:
        """Processes one partition."""
        batches = (number, self.partitions)
        claims = claims_to(self.workspace, ClaimKeys.step, self.shards, batches, CLAIM)
        found = edges(claims["key"], claims["page"])
        claims = claims[np.isin(claims["page"], found)]
        places = claims[np.unique(claims["page"], return_index=True)[1]]
        space = self.workspace
        with spill.writer(space, space.spill(self.step, number, ".places"), PLACES) as file:
            file.write_batch(_batch(PLACES, *(places[name] for name in PLACES.names)))
        with spill.writer(space, space.spill(self.step, number), EDGES) as file:
            file.write_batch(_batch(EDGES, *found.T))
        return Tally()


@dataclass(frozen=True)
class ChooseOne:
    """Spills the rows of pages that lose to a near-duplicate, and the sizes of clusters."""

    workspace: Workspace
    shards: int
    partitions: int

    step = "choose"

    def __call__(self, number: int) -> Tally:
        """Unites all partitions."""
        space = self.workspace
        together: Edges = np.empty((0, 2), np.uint64)
        places = _Places(*(np.empty(0, np.uint64) for _ in range(3)))
        some: list[list[np.ndarray]] = []
        waiting, count = [together], 0
        for partition in range(self.partitions):
            (found,) = spill.batches(space.spill(FindAlike.step, partition))
            waiting.append(np.stack([found["page"].to_numpy(), found["with"].to_numpy()], axis=1))
            count += found.num_rows
            (batch,) = spill.batches(space.spill(FindAlike.step, partition, ".places"))
            some.append([column.to_numpy() for column in batch.columns])
            if count > len(
                together
            ):  # united each time the number of pairs has doubled, not per partition
                together, count = as_edges(clusters(np.concatenate(waiting))), 0
                waiting = [together]
                places, some = places.with_more(some), []
        places = places.with_more(some)
        found = clusters(np.concatenate(waiting))
        at = np.searchsorted(places.page, found.page)
        shards, rows = places.shard[at], places.row[at]
        lost = found.page != found.representative
        by_shard = lost_by_shard(shards[lost], rows[lost], self.shards)
        spill.write_numbers(space, space.spill(self.step, number), by_shard)
        with spill.writer(space, space.spill(self.step, number, ".sizes"), SIZES) as file:
            for shard in range(self.shards):
                chosen = ~lost & (shards == shard)
                file.write_batch(_batch(SIZES, rows[chosen], found.size[chosen]))
        return Tally()


class _Places(NamedTuple):
    page: UInt64[np.ndarray, " pages"]
    shard: UInt32[np.ndarray, " pages"]
    row: UInt32[np.ndarray, " pages"]

    def with_more(self, some: Sequence[Sequence[np.ndarray]]) -> "_Places":
        pages, shards, rows = map(np.concatenate, zip(self, *some, strict=True))
        pages, once = np.unique(pages, return_index=True)
        return _Places(pages, shards[once], rows[once])


@functools.lru_cache(maxsize=1)  # the key includes the workspace, so no other run's are used
def thresholds(workspace: Workspace, certainty: MedianLessDeviation) -> Mapping[str, float]:
    """Returns each language's threshold, from the probabilities of all pages."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for tally in tallies(workspace, DescribePages.step):
        counted.update(tally.counts)
    steps: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(STEPS + 1, np.int64))
    for (kind, code, step), count in counted.items():
        if kind == "certainty":
            steps[code][int(step)] += count
    return {code: certainty.threshold(counts) for code, counts in steps.items()}


def _band_keys(pages: Sequence[Page]) -> UInt64[np.ndarray, "pages 14"]:
    """Returns each page's keys, in order; computed per language, which keys include."""
    keys = np.empty((len(pages), minhash.BANDS), np.uint64)
    rows: dict[str, list[int]] = defaultdict(list)
    for row, page in enumerate(pages):
        rows[page.language].append(row)
    for code, some in rows.items():
        keys[some] = minhash.band_keys([pages[row].text for row in some], code)
    return keys


def _batch(schema: pa.Schema, *columns: np.ndarray) -> pa.RecordBatch:
    arrays = [pa.array(c, field.type) for c, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
