"""The two rounds of lines, called as an engine may: against one comparison of all lines."""

import itertools

import numpy as np
import pytest
from exchanges import exchanged
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dedup import line_dedup
from data.reading.page import Page
from pipeline.beam.waves import Waves
from pipeline.beam.workspace import Workspace
from pipeline.cleaning import duplicate_lines, sorted_keys
from pipeline.cleaning.duplicate_lines import (
    FindDuplicateLines,
    FindRepeatedHashes,
    duplicate_lines_of,
)
from pipeline.cleaning.line_keys import SpillLineKeys
from pipeline.cleaning.read import ReadShard
from pipeline.cleaning.spills.page_spill import page_spill
from pipeline.cleaning.spills.spilled_pages import SpilledPages

LINES = st.lists(st.sampled_from([*"abcdefghij"]), min_size=1, max_size=6).map("\n".join)
SHARDS = st.lists(st.lists(st.lists(LINES, max_size=3), max_size=3), min_size=1, max_size=4)


def pages_of(shards: list[list[list[str]]]) -> list[list[list[Page]]]:
    """Returns the pages of each chunk of each shard, each with an address of its own."""
    return [
        [
            [Page(f"https://{s}.example/{c}/{p}", text, "") for p, text in enumerate(chunk)]
            for c, chunk in enumerate(chunks)
        ]
        for s, chunks in enumerate(shards)
    ]


def lost_lines(shards: list[list[list[Page]]]) -> list[list[int]]:
    """Returns the lines that each shard's pages lose, by one comparison of all."""
    hashes, ranks, places = [], [], []
    for shard, chunks in enumerate(shards):
        line = 0
        for page in (page for chunk in chunks for page in chunk):
            for digest in line_dedup.line_hashes(page.text):
                hashes.append(digest)
                ranks.append(line_dedup.rank_of(page.url))
                places.append((shard, line))
                line += 1
    best: dict[bytes, tuple] = {}
    for digest, rank, place in zip(hashes, ranks, places, strict=True):
        best[digest] = min(best.get(digest, (rank, place)), (rank, place))
    kept = {place for _, place in best.values()}
    return [
        [line for one, line in places if one == shard and (one, line) not in kept]
        for shard in range(len(shards))
    ]


@settings(deadline=None, max_examples=40)
@given(shards=SHARDS, bits=st.integers(0, 3), at_once=st.integers(1, 8), order=st.integers(0, 99))
@pytest.mark.parametrize("small", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_each_line_stays_on_one_page(tmp_path_factory, shards, bits, at_once, order, small):
    """With one short hash for many lines, and groups larger than what is compared at one time."""
    space = Workspace(str(tmp_path_factory.mktemp("lines")), "key")
    waves, pages = Waves(1 << bits, at_once), pages_of(shards)
    with pytest.MonkeyPatch.context() as patched:
        if small:
            patched.setattr(sorted_keys.SortedKeys.__init__, "__defaults__", (3,))
            patched.setattr(duplicate_lines, "HASHES_AT_ONCE", 2)
            patched.setattr(duplicate_lines, "CLAIMS_AT_ONCE", 2)
        for shard, chunks in enumerate(pages):
            spilled(space, shard, chunks)
            source = SpilledPages(ReadShard.step)
            SpillLineKeys(space, source, (), line_dedup.line_hashes, waves.partitions)(shard)
        draw = np.random.default_rng(order)
        for turn in (FindRepeatedHashes, FindDuplicateLines):
            exchanged(turn(space, waves.partitions), waves, len(pages), draw)
        found = [duplicate_lines_of(space, shard, waves).tolist() for shard in range(len(pages))]
    assert found == lost_lines(pages)


def spilled(space: Workspace, shard: int, chunks: list[list[Page]]) -> None:
    rows = itertools.count()
    with page_spill(space, ReadShard.step, shard) as file:
        for chunk in chunks:
            file.write(chunk, [], np.array([next(rows) for _ in chunk], np.uint32))


def test_lines_whose_short_hashes_are_equal_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(
        FindRepeatedHashes, "_short", lambda _, hashes: np.zeros(len(hashes), "<u4")
    )
    pages = pages_of([[["a\nb\nc"]], [["b\nd"]]])
    space, waves = Workspace(str(tmp_path), "key"), Waves(1, 1)
    for shard, chunks in enumerate(pages):
        spilled(space, shard, chunks)
        SpillLineKeys(space, SpilledPages("read"), (), line_dedup.line_hashes, 1)(shard)
    for turn in (FindRepeatedHashes, FindDuplicateLines):
        exchanged(turn(space, 1), waves, 2, np.random.default_rng(0))
    assert [duplicate_lines_of(space, shard, waves).tolist() for shard in range(2)] == lost_lines(
        pages
    )
