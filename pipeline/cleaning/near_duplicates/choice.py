"""The pages that stay: a step that spills the shingles of candidates, and a round that compares.

A candidate is a page of a group. It stays unless it is similar to a page of its group that stays
(`data.dedup.near_duplicates`).
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data.dedup.line_dedup import rank_of
from data.dedup.near_duplicates import (
    Candidates,
    candidates_of,
    chosen,
    headers_of,
    joined,
    packed,
    representatives,
    unpacked,
)
from data.numbers import is_among
from data.reading import page
from data.reading.page import Page
from pipeline.beam.waves import Parts, Wave, Waves
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.exchange import ends_of
from pipeline.cleaning.near_duplicates.groups import groups_of
from pipeline.cleaning.near_duplicates.keys import (
    SpillMinHashKeys,
    page_numbers,
    rows_by_language,
)
from pipeline.cleaning.spills import spill
from pipeline.cleaning.spills.page_spill import ROW
from pipeline.cleaning.spills.spilled_pages import SIZES, Rows, SpilledPages
from pipeline.cleaning.tally import Tally

PACKED = pa.schema([("candidates", pa.large_binary())])
ANSWER = np.dtype([("row", "<u4"), ("size", "<i4")])  # size 0: represented by another page
NEAR_DUPLICATE = "near_duplicate"
SLICES = 16  # of a chunk's candidates, so that a wave reads only its own
ROW_BITS = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class SpillCandidates:
    """Spills the candidates among a shard's pages, with their shingles.

    Each chunk has one batch per slice of the partitions of groups.
    """

    workspace: Workspace
    partitions: int

    step = "candidates"

    def __call__(self, number: int) -> Tally:
        """Processes one shard."""
        space = self.workspace
        pages, groups = groups_of(space, number)
        with spill.writer(space, space.spill(self.step, number), PACKED) as file:
            for batch in spill.batches(space.spill(SpillMinHashKeys.step, number)):
                rows = batch[ROW].to_numpy()
                mine = np.flatnonzero(is_among(page_numbers(number, rows), pages))
                some = [*page.pages(batch.take(pa.array(mine, pa.int64())))]
                at = np.searchsorted(pages, page_numbers(number, rows[mine]))
                write_candidates(file, some, rows[mine], groups[at], (number, self.partitions))
        return Tally()


def write_candidates(
    file: pa.RecordBatchFileWriter,
    pages: Sequence[Page],
    rows: Rows,
    groups: np.ndarray,
    place: tuple[int, int],
) -> None:
    """Writes the candidates among a chunk's pages, one batch per slice of the partitions.

    Args:
        file: spilled file of candidates.
        pages: the candidates.
        rows: their rows.
        groups: their groups.
        place: number of their shard, and number of partitions of groups.
    """
    shard, partitions = place
    names = (np.uint64(shard) << np.uint64(32)) | rows.astype(np.uint64)
    found = _candidates(pages, groups, names)
    for part in _slices(found, min(SLICES, partitions)):
        file.write_batch(spill.batch(PACKED, [[packed(part)]]))


def _candidates(pages: Sequence[Page], groups: np.ndarray, names: np.ndarray) -> Candidates:
    ranks = np.array([rank_of(page.url) for page in pages], np.uint64)
    parts = (
        candidates_of(
            [pages[row].text for row in rows], code, groups[rows], names[rows], ranks[rows]
        )
        for code, rows in rows_by_language(pages).items()
    )
    return joined(parts)


def _slices(found: Candidates, count: int) -> Iterator[Candidates]:
    """Yields the candidates of each range of groups, by group."""
    order = np.argsort(found.headers["group"], kind="stable")
    ends = ends_of(found.headers["group"][order], 0, count, count)
    for begin, end in itertools.pairwise(ends):
        yield chosen(found, order[begin:end])


@dataclass(frozen=True)
class ChoosePages:
    """Collects which candidates stay, and for how many pages each stands."""

    workspace: Workspace
    partitions: int

    step = "choose"

    def parts(self, shard: int, wave: Wave) -> Iterator[tuple[int, bytes]]:
        """Yields a shard's candidates, by partition of their groups."""
        slices = min(SLICES, self.partitions)
        each = self.partitions // slices
        with spill.reader(self.workspace.spill(SpillCandidates.step, shard)) as file:
            for number in range(wave.first // each, -(-wave.end // each)):
                some = joined(
                    unpacked(file.get_batch(at)["candidates"][0].as_py())
                    for at in range(number, file.num_record_batches, slices)
                )
                yield from _by_partition(some, number * each, each, self.partitions, wave)

    def compare(self, partition: int, parts: Parts) -> Iterator[tuple[int, bytes]]:
        """Yields for each shard's candidates the size of what they stand for, or 0."""
        found = representatives(_Elements(parts))
        sizes = np.where(found.representative == found.page, found.size, 0)
        for shard, part in parts:
            pages = headers_of(part)["page"]
            answer = np.empty(len(pages), ANSWER)
            answer["row"] = pages & ROW_BITS
            answer["size"] = sizes[np.searchsorted(found.page, pages)]
            yield shard, answer.tobytes()

    def collect(self, shard: int, wave: Wave, verdicts: dict[int, bytes]) -> None:
        """Writes the rows of the pages that do not stay, and the sizes of the others."""
        found = [np.frombuffer(one, ANSWER) for one in verdicts.values()]
        answers = np.sort(np.concatenate([np.empty(0, ANSWER), *found]), order="row")
        leaves = answers["size"] == 0
        space = self.workspace
        sizes = [answers[name][~leaves] for name in SIZES.names]
        spill.write(space, sizes_path(space, shard, wave), SIZES, sizes)
        path = wave.verdict(space, self.step, shard)
        spill.write_numbers(space, path, answers["row"][leaves])


@dataclass(frozen=True)
class _Elements:
    """The packed candidates of a group of elements, which are read more than once."""

    parts: Iterable[tuple[int, bytes]]

    def __iter__(self) -> Iterator[bytes]:
        return (part for _, part in self.parts)


def _by_partition(
    some: Candidates, first: int, count: int, partitions: int, wave: Wave
) -> Iterator[tuple[int, bytes]]:
    order = np.argsort(some.headers["group"], kind="stable")
    ends = ends_of(some.headers["group"][order], first, first + count, partitions)
    for partition, (begin, end) in enumerate(itertools.pairwise(ends), first):
        if begin < end and wave.first <= partition < wave.end:
            yield partition, packed(chosen(some, order[begin:end]))


def sizes_path(workspace: Workspace, shard: int, wave: Wave) -> str:
    """Returns the path of the sizes of what a shard's candidates stand for."""
    return wave.verdict(workspace, f"{ChoosePages.step}.sizes", shard)


def kept_pages(waves: Waves) -> SpilledPages:
    """Returns the pages without those that another represents."""
    return SpilledPages(
        SpillMinHashKeys.step,
        duplicates_in=ChoosePages.step,
        waves=waves,
        reason=NEAR_DUPLICATE,
        sizes_in=f"{ChoosePages.step}.sizes",
    )
