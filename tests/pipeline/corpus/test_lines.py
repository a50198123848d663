"""One key per line of a shard, however often the line is there.

The two rounds of lines, called as an engine may: against one comparison of all lines.
"""

import itertools

import numpy as np
import pytest
from exchanges import exchanged
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dedup import line_dedup
from data.reading.page import Page
from pipeline.beam.workspace import Waves, Workspace
from pipeline.corpus import keys, lines
from pipeline.corpus.judgements import SpilledPages
from pipeline.corpus.keys import spilled_keys
from pipeline.corpus.lines import (
    LINE_KEY,
    LINE_KEYS,
    FindDuplicateLines,
    FindRepeatedHashes,
    SpillLineKeys,
    duplicate_lines,
    line_keys,
    line_keys_path,
    repeats_path,
)
from pipeline.corpus.read import ReadShard
from pipeline.corpus.spills import page_spill

CHUNKS, LINES = 20, 50


def chunks(equal: float):
    """Chunks of keys, a share of them equal; there are few ranks, so some are equal too."""
    draw = np.random.default_rng(0)
    for number in range(CHUNKS):
        keys = np.zeros(LINES, LINE_KEY)
        for name in ("first", "second"):
            keys[name] = np.where(draw.random(LINES) < equal, 7, draw.integers(0, 9, LINES) << 60)
        keys["rank"] = draw.integers(0, 5, LINES)
        keys["line"] = np.arange(LINES) + LINES * number
        yield keys


@pytest.mark.parametrize("equal", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("at_once", [10, 10_000])
def test_each_line_has_the_key_of_smallest_rank_and_the_rest_are_repeats(
    tmp_path, monkeypatch, equal, at_once
):
    """Equal lines of a shard are never in memory together."""
    sorted_together, sort = [], keys._sort
    monkeypatch.setattr(keys, "_sort", lambda parts: sorted_together.append(parts) or sort(parts))
    monkeypatch.setattr(keys.SortedKeys.__init__, "__defaults__", (at_once,))
    space, every = Workspace(str(tmp_path), "key"), np.concatenate([*chunks(equal)])
    with line_keys(space, 0, 64) as of_shard:
        for some in chunks(equal):
            of_shard.add(some)
    hashes = np.stack((every["first"], every["second"]), axis=1)
    stays = line_dedup.surviving_lines(hashes, every["rank"], every["line"].astype(np.uint64))
    for path, expected in ((line_keys_path, every[stays]), (repeats_path, every[~stays])):
        found = np.concatenate([*spilled_keys(path(space, 0), LINE_KEY)])
        assert sorted(found.tolist()) == sorted(expected.tolist())
    if equal == 1.0:
        assert max(sum(map(len, parts)) for parts in sorted_together) == CHUNKS
    assert LINE_KEYS.names == [*(LINE_KEY.names or ())]


LINES_DUPLICATE_LINES = st.lists(st.sampled_from([*"abcdefghij"]), min_size=1, max_size=6).map(
    "\n".join
)
SHARDS = st.lists(
    st.lists(st.lists(LINES_DUPLICATE_LINES, max_size=3), max_size=3), min_size=1, max_size=4
)


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
    places, best = [], {}
    for shard, chunks in enumerate(shards):
        line = itertools.count()
        for page in itertools.chain(*chunks):
            for digest in line_dedup.line_hashes(page.text):
                claim = (line_dedup.rank_of(page.url), (shard, next(line)))
                places.append(claim[1])
                best[digest] = min(best.get(digest, claim), claim)
    lost = {*places} - {place for _, place in best.values()}
    return [sorted(line for one, line in lost if one == shard) for shard in range(len(shards))]


@settings(deadline=None, max_examples=40)
@given(shards=SHARDS, bits=st.integers(0, 3), at_once=st.integers(1, 8), order=st.integers(0, 99))
@pytest.mark.parametrize("small", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_each_line_stays_on_one_page(tmp_path_factory, shards, bits, at_once, order, small):
    """With one short hash for many lines, and groups larger than what is compared at one time."""
    with pytest.MonkeyPatch.context() as patched:
        if small:
            patched.setattr(keys.SortedKeys.__init__, "__defaults__", (3,))
            patched.setattr(lines, "HASHES_AT_ONCE", 2)
            patched.setattr(lines, "CLAIMS_AT_ONCE", 2)
        check_lost_lines(tmp_path_factory.mktemp("lines"), shards, Waves(1 << bits, at_once), order)


def check_lost_lines(folder, shards: list[list[list[str]]], waves: Waves, order: int) -> None:
    """Checks the lines that pages lose against one comparison of all."""
    space, pages, rows = Workspace(str(folder), "key"), pages_of(shards), itertools.count()
    for shard, chunks in enumerate(pages):
        with page_spill(space, ReadShard.name, shard) as file:
            for chunk in chunks:
                file.write(chunk, [], np.array([next(rows) for _ in chunk], np.uint32))
        source = SpilledPages(ReadShard.name)
        SpillLineKeys(space, source, (), line_dedup.line_hashes, waves.partitions)(shard)
    draw, exchange = np.random.default_rng(order), FindDuplicateLines(space, waves)
    exchanged(FindRepeatedHashes(space, waves), len(pages), draw)
    exchanged(exchange, len(pages), draw)
    lost = [duplicate_lines(exchange, shard).tolist() for shard in range(len(pages))]
    assert lost == lost_lines(pages)


def test_lines_whose_short_hashes_are_equal_are_told_apart(tmp_path, monkeypatch):
    none = lambda _, hashes: np.zeros(len(hashes), "<u4")  # noqa: E731
    monkeypatch.setattr(FindRepeatedHashes, "_short", none)
    check_lost_lines(tmp_path, [[["a\nb\nc"]], [["b\nd"]]], Waves(1, 1), 0)
