"""MinHash keys: a step that spills those of a shard's pages, and a round that pairs their pages.

A page has one number in the job: its shard and row, mixed so that numbers spread over partitions.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import UInt32, UInt64

from data.dedup import minhash
from data.dedup.minhash import Edges, edges
from data.files.paths import temporary_folder
from data.language_id.thresholds import MedianLessDeviation
from data.numbers import splitmix64
from data.reading.page import Page
from pipeline.beam.waves import Parts, Wave
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.exchange import between, by_partition, sub_ranges
from pipeline.cleaning.judgement import ApplyThresholds, Judgement
from pipeline.cleaning.near_duplicates.languages import DescribePages, thresholds_of
from pipeline.cleaning.sorted_keys import SortedKeys, parts_of
from pipeline.cleaning.spills import spill
from pipeline.cleaning.spills.page_spill import page_spill
from pipeline.cleaning.spills.spilled_pages import Rows, SpilledPages
from pipeline.cleaning.tally import Tally

KEY = np.dtype([("first", "<u8"), ("row", "<u4")])
KEYS = pa.schema([(name, pa.from_numpy_dtype(KEY[name])) for name in KEY.names or ()])
SENT = np.dtype([("first", "<u8"), ("page", "<u8")])
EDGES = pa.schema([("page", pa.uint64()), ("with", pa.uint64())])
KEYS_AT_ONCE = 1 << 22  # of a partition, compared in memory: 67 MB


def page_numbers(shard: int, rows: UInt32[np.ndarray, " pages"]) -> UInt64[np.ndarray, " pages"]:
    """Returns the number of each page of a shard: different for every page of the job."""
    return splitmix64((np.uint64(shard) << np.uint64(32)) | rows.astype(np.uint64))


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
        judgements = [ApplyThresholds(thresholds_of(self.workspace, number)), *self.requested]
        source = SpilledPages(DescribePages.step)
        with (
            temporary_folder() as scratch,
            page_spill(self.workspace, self.step, number) as files,
        ):
            keys = SortedKeys(KEY, scratch, self.partitions)
            for passed, dropped, rows in source.chunks(self.workspace, number, judgements):
                files.write(passed, dropped, rows)
                keys.add(keys_of(passed, rows))
            write_keys(self.workspace, number, keys)
        return files.tally


def write_keys(workspace: Workspace, shard: int, keys: SortedKeys) -> None:
    """Writes the keys of a shard in their order, one batch per range."""
    with spill.writer(workspace, keys_path(workspace, shard), KEYS) as file:
        for some in keys.ranges():
            file.write_batch(spill.batch(KEYS, [some[name] for name in KEYS.names]))


def keys_of(pages: Sequence[Page], rows: Rows) -> np.ndarray:
    """Returns the keys of pages, which have these rows."""
    keys = np.empty((len(pages), minhash.BANDS), KEY)
    keys["first"] = _band_keys(pages)
    keys["row"] = rows[:, None]
    return keys.ravel()


def _band_keys(pages: Sequence[Page]) -> UInt64[np.ndarray, "pages 14"]:
    """Returns each page's keys, in order; computed per language, as a key includes its language."""
    keys = np.empty((len(pages), minhash.BANDS), np.uint64)
    for code, rows in rows_by_language(pages).items():
        keys[rows] = minhash.band_keys([pages[row].text for row in rows], code)
    return keys


def rows_by_language(pages: Sequence[Page]) -> dict[str, list[int]]:
    """Returns the rows of each language's pages."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, page in enumerate(pages):
        rows[page.language].append(row)
    return rows


@dataclass(frozen=True)
class PairPages:
    """Pairs each page with the smallest of those that share a key with it.

    A shard collects the pairs of its pages. The smallest page of a key is paired with itself, so
    that its shard has it as a candidate, too.
    """

    workspace: Workspace
    partitions: int

    step = "alike"

    def parts(self, shard: int, wave: Wave) -> Iterator[tuple[int, bytes]]:
        """Yields the keys of a shard's pages, by partition."""
        path = keys_path(self.workspace, shard)
        for part in parts_of(path, self.partitions, wave):
            keys = np.empty(part.keys.num_rows, SENT)
            keys["first"] = part.keys["first"].to_numpy()
            keys["page"] = page_numbers(shard, part.keys["row"].to_numpy())
            yield from by_partition(keys, keys["first"], part, self.partitions)

    def compare(self, partition: int, parts: Parts) -> Iterator[tuple[int, bytes]]:
        """Yields the pairs of each shard's pages."""
        count = sum(len(part) // SENT.itemsize for _, part in parts)
        width, start = (1 << 64) // self.partitions, partition * (1 << 64) // self.partitions
        found: dict[int, list[np.ndarray]] = {shard: [] for shard, _ in parts}
        for first, end in sub_ranges(count, KEYS_AT_ONCE, width.bit_length() - 1):
            for shard, some in _pairs_in(parts, start + first, start + end):
                found[shard].append(some)
        for shard, some in found.items():
            yield shard, np.unique(np.concatenate(some), axis=0).tobytes()

    def collect(self, shard: int, wave: Wave, verdicts: dict[int, bytes]) -> None:
        """Writes the pairs of a shard's pages."""
        found = [np.frombuffer(one, "<u8").reshape(-1, 2) for one in verdicts.values()]
        pairs = np.unique(np.concatenate([np.empty((0, 2), np.uint64), *found]), axis=0)
        write_pairs(self.workspace, wave.verdict(self.workspace, self.step, shard), pairs)


def _pairs_in(
    parts: Iterable[tuple[int, bytes]], first: int, end: int
) -> Iterator[tuple[int, Edges]]:
    """Yields the pairs of each shard's pages by the keys of a range."""
    shards, some = [], [np.empty(0, SENT)]
    for shard, part in parts:
        keys = np.frombuffer(part, SENT)
        some.append(keys[slice(*between(keys["first"], first, end, 64))])
        shards.append(shard)
    every = np.concatenate(some)
    pairs = edges(every["first"], every["page"])
    smallest = np.unique(pairs[:, 1])
    pairs = np.concatenate([pairs, np.stack([smallest, smallest], axis=1)])
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    for shard, keys in zip(shards, some[1:], strict=True):
        yield shard, pairs[np.isin(pairs[:, 0], keys["page"])]


def write_pairs(workspace: Workspace, path: str, pairs: Edges) -> None:
    """Spills pairs of page numbers."""
    spill.write(workspace, path, EDGES, pairs.T)


def read_pairs(paths: Iterable[str]) -> Edges:
    """Returns the pairs that these files hold together."""
    found = [
        np.stack([column.to_numpy() for column in batch.columns], axis=1)
        for path in paths
        for batch in spill.batches(path)
    ]
    return np.concatenate([np.empty((0, 2), np.uint64), *found])


def keys_path(workspace: Workspace, shard: int) -> str:
    """Returns the path of a shard's keys."""
    return workspace.spill(SpillMinHashKeys.step, shard, ".keys")
