"""One key per line of a shard, however often the line is there."""

import numpy as np
import pytest

from data.dedup import line_dedup
from pipeline.beam.workspace import Workspace
from pipeline.cleaning import sorted_keys
from pipeline.cleaning.line_keys import KEY, KEYS, keys_path, line_keys, repeats_path
from pipeline.cleaning.sorted_keys import spilled_keys

CHUNKS, LINES = 20, 50


def chunks(equal: float):
    """Chunks of keys, a share of them equal; there are few ranks, so some are equal too."""
    draw = np.random.default_rng(0)
    for number in range(CHUNKS):
        keys = np.zeros(LINES, KEY)
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
    monkeypatch.setattr(sorted_keys.SortedKeys.__init__, "__defaults__", (at_once,))
    space, every = Workspace(str(tmp_path), "key"), np.concatenate([*chunks(equal)])
    with line_keys(space, 0, 64) as keys:
        for some in chunks(equal):
            keys.add(some)
    hashes = np.stack((every["first"], every["second"]), axis=1)
    stays = line_dedup.surviving_lines(hashes, every["rank"], every["line"].astype(np.uint64))
    for path, expected in ((keys_path, every[stays]), (repeats_path, every[~stays])):
        found = np.concatenate([*spilled_keys(path(space, 0), KEY)])
        assert sorted(found.tolist()) == sorted(expected.tolist())
    assert KEYS.names == [*(KEY.names or ())]


def test_equal_lines_of_a_shard_are_never_in_memory_together(tmp_path, monkeypatch):
    seen = []
    whole = sorted_keys._sorted
    monkeypatch.setattr(sorted_keys, "_sorted", lambda parts: seen.append(parts) or whole(parts))
    with line_keys(Workspace(str(tmp_path), "key"), 0, 64) as keys:
        for some in chunks(1.0):
            keys.add(some)
    assert max(sum(map(len, parts)) for parts in seen) == CHUNKS
