"""One page per cluster of near-duplicates: four steps of `mswitch-web`, before those on lines.

1. `DescribePages` identifies each page's language, and counts the probabilities.
2. `SpillMinHashKeys` accepts or rejects the languages, by thresholds that follow from the
   probabilities of all pages, and spills each page's MinHash keys.
3. `FindNearDuplicates` finds the pages of one hash partition that share a key.
4. `ChooseRepresentatives` unites the pairs of all partitions into clusters. It is one work item,
   and its memory grows with the pages that have a near-duplicate (some 60 bytes each), not with
   the corpus.
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
from pipeline.cleaning import spill
from pipeline.cleaning.exchange import by_shard, numbers_from, read_keys, write_keys
from pipeline.cleaning.judgement import ApplyThresholds, Judgement
from pipeline.cleaning.page_spill import page_spill
from pipeline.cleaning.spilled_pages import SIZES, SpilledPages
from pipeline.cleaning.tally import Tally, tallies

KEYS = pa.schema([("key", pa.uint64()), ("page", pa.uint64()), ("row", pa.uint32())])
KEY = np.dtype([("key", "u8"), ("page", "u8"), ("row", "u4"), ("shard", "u4")])
EDGES = pa.schema([("page", pa.uint64()), ("with", pa.uint64())])
ROWS = pa.schema([("page", pa.uint64()), ("shard", pa.uint32()), ("row", pa.uint32())])


@dataclass(frozen=True)
class DescribePages:
    """Spills a shard's pages that pass the judgements; counts the probabilities of languages."""

    workspace: Workspace
    source: SpilledPages
    judgements: tuple[Judgement, ...]

    step = "describe"

    def __call__(self, number: int) -> Tally:
        """Processes one shard."""
        with page_spill(self.workspace, self.step, number, KEYS) as files:
            for passed, dropped in self.source.chunks(self.workspace, number, self.judgements):
                files.write(passed, dropped)
                for page in passed:
                    step = round(min(page.language_probability, 1.0) * STEPS)
                    files.tally.counts["certainty", page.identified_language, str(step)] += 1
        return files.tally


@dataclass(frozen=True)
class SpillMinHashKeys:
    """Spills a shard's pages with their languages, and their MinHash keys.

    Attributes:
        requested: judgement of the requested languages; empty if all are.
    """

    workspace: Workspace
    certainty: MedianLessDeviation
    requested: tuple[Judgement, ...]
    partitions: int

    step = "resemble"

    def __call__(self, number: int) -> Tally:
        """Processes one shard."""
        decide = ApplyThresholds(thresholds(self.workspace, self.certainty))
        first = 0
        with page_spill(self.workspace, self.step, number, KEYS) as files:
            source = SpilledPages(DescribePages.step)
            for passed, dropped in source.chunks(self.workspace, number, [decide, *self.requested]):
                files.write(passed, dropped)
                self._write_keys(files.keys, passed, first)
                first += len(passed)
        return files.tally

    def _write_keys(
        self, file: pa.RecordBatchFileWriter, pages: Sequence[Page], first_row: int
    ) -> None:
        """Writes the keys of a chunk."""
        keys = _band_keys(pages).ravel()
        numbers = np.array([rank_of(page.url) for page in pages], np.uint64)
        rows = numbers_from(first_row, len(pages), "pages")
        columns = (keys, np.repeat(numbers, minhash.BANDS), np.repeat(rows, minhash.BANDS))
        write_keys(file, KEYS, keys, self.partitions, columns)


@dataclass(frozen=True)
class FindNearDuplicates:
    """Spills the pairs of pages that share a key, and the shard and row of these pages."""

    workspace: Workspace
    shards: int
    partitions: int

    step = "alike"

    def __call__(self, number: int) -> Tally:
        """Processes one partition."""
        space, batches = self.workspace, (number, self.partitions)
        keys = read_keys(space, SpillMinHashKeys.step, self.shards, batches, KEY)
        found = edges(keys["key"], keys["page"])
        keys = keys[np.isin(keys["page"], found)]
        rows = keys[np.unique(keys["page"], return_index=True)[1]]
        with spill.writer(space, space.spill(self.step, number, ".places"), ROWS) as file:
            file.write_batch(spill.batch(ROWS, [rows[name] for name in ROWS.names]))
        with spill.writer(space, space.spill(self.step, number), EDGES) as file:
            file.write_batch(spill.batch(EDGES, found.T))
        return Tally()


@dataclass(frozen=True)
class ChooseRepresentatives:
    """Spills the rows of all pages but their cluster's representative, and the cluster sizes."""

    workspace: Workspace
    shards: int
    partitions: int

    step = "choose"

    def __call__(self, number: int) -> Tally:
        """Unites all partitions."""
        space = self.workspace
        pairs, pages = self._united()
        found = clusters(pairs)
        at = np.searchsorted(pages.page, found.page)
        shards, rows = pages.shard[at], pages.row[at]
        duplicate = found.page != found.representative
        lists = by_shard(shards[duplicate], rows[duplicate], self.shards)
        spill.write_numbers(space, space.spill(self.step, number), lists)
        with spill.writer(space, space.spill(self.step, number, ".sizes"), SIZES) as file:
            for shard in range(self.shards):
                chosen = ~duplicate & (shards == shard)
                file.write_batch(spill.batch(SIZES, [rows[chosen], found.size[chosen]]))
        return Tally()

    def _united(self) -> tuple[Edges, "_Rows"]:
        """Returns pairs that have the clusters of all partitions, and the rows of their pages."""
        united: Edges = np.empty((0, 2), np.uint64)
        pages = _Rows(*(np.empty(0, np.uint64) for _ in range(3)))
        columns: list[list[np.ndarray]] = []
        waiting, count = [united], 0
        for partition in range(self.partitions):
            path = self.workspace.spill(FindNearDuplicates.step, partition)
            (found,) = spill.batches(path)
            waiting.append(np.stack([found["page"].to_numpy(), found["with"].to_numpy()], axis=1))
            count += found.num_rows
            path = self.workspace.spill(FindNearDuplicates.step, partition, ".places")
            (batch,) = spill.batches(path)
            columns.append([column.to_numpy() for column in batch.columns])
            # United each time that the number of pairs has doubled, not per partition.
            if count > len(united):
                united, count = as_edges(clusters(np.concatenate(waiting))), 0
                waiting = [united]
                pages, columns = pages.with_more(columns), []
        return np.concatenate(waiting), pages.with_more(columns)


REPRESENTATIVES = SpilledPages(
    step=SpillMinHashKeys.step,
    duplicates_in=ChooseRepresentatives.step,
    partitions=1,
    reason="near_duplicate",
    sizes_in=ChooseRepresentatives.step,
)


class _Rows(NamedTuple):
    """The shard and row of each page that has a near-duplicate, once per page."""

    page: UInt64[np.ndarray, " pages"]
    shard: UInt32[np.ndarray, " pages"]
    row: UInt32[np.ndarray, " pages"]

    def with_more(self, columns: Sequence[Sequence[np.ndarray]]) -> "_Rows":
        pages, shards, rows = map(np.concatenate, zip(self, *columns, strict=True))
        pages, once = np.unique(pages, return_index=True)
        return _Rows(pages, shards[once], rows[once])


@functools.lru_cache(maxsize=1)  # the key includes the workspace, so no other job's are used
def thresholds(workspace: Workspace, certainty: MedianLessDeviation) -> Mapping[str, float]:
    """Returns each language's threshold, from the probabilities of all pages."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for tally in tallies(workspace, DescribePages.step, len(workspace.shards(list[list[str]]))):
        counted.update(tally.counts)
    histograms: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(STEPS + 1, np.int64))
    for (kind, code, step), count in counted.items():
        if kind == "certainty":
            histograms[code][int(step)] += count
    return {code: certainty.threshold(histogram) for code, histogram in histograms.items()}


def _band_keys(pages: Sequence[Page]) -> UInt64[np.ndarray, "pages 14"]:
    """Returns each page's keys, in order; computed per language, as a key includes its language."""
    keys = np.empty((len(pages), minhash.BANDS), np.uint64)
    rows: dict[str, list[int]] = defaultdict(list)
    for row, page in enumerate(pages):
        rows[page.language].append(row)
    for code, of_language in rows.items():
        texts = [pages[row].text for row in of_language]
        keys[of_language] = minhash.band_keys(texts, code)
    return keys
