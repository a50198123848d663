""""""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.beam.workspace import Waves, Workspace
from pipeline.corpus import spills
from pipeline.corpus.keys import (
    PartitionKeys,
    SortedKeys,
    between,
    by_partition,
    ends_of,
    mask_over,
    numbers_from,
    packed_mask,
    parts_of,
    sub_ranges,
)

KEY = np.dtype([("first", "<u8"), ("line", "<u4")])
POWERS = st.integers(0, 6).map(lambda bits: 1 << bits)


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.booleans())), POWERS)
def test_a_mask_returns_to_the_keys_that_were_sent(keys, partitions):
    """Each partition answers with the bits of its keys alone."""
    ordered = sorted(keys)
    hashes = np.array([one for one, _ in ordered], np.uint64)
    mask = np.array([bit for _, bit in ordered], np.uint8)
    part = PartitionKeys(0, partitions, None)
    sent = dict(by_partition(mask, hashes, part, partitions))
    answers = {n: packed_mask(np.frombuffer(one, np.uint8).astype(bool)) for n, one in sent.items()}
    assert mask_over(hashes, part, partitions, answers).tolist() == mask.astype(bool).tolist()


@given(st.integers(0, 99), st.integers(1, 40), st.sampled_from([8, 32, 64]))
def test_sub_ranges_cover_every_number_once(keys, at_once, bits):
    ranges = [*sub_ranges(keys, at_once, bits)]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == 1 << bits
    assert all(one[1] == other[0] for one, other in itertools.pairwise(ranges))
    assert len(ranges) == max(1, -(-keys // at_once))


@given(st.lists(st.integers(0, 255), max_size=30), st.integers(1, 40))
def test_every_number_is_in_one_sub_range(numbers, at_once):
    ordered = np.sort(np.array(numbers, np.uint8))
    spans = [between(ordered, *one, 8) for one in sub_ranges(len(numbers), at_once, 8)]
    assert [n for begin, end in spans for n in ordered[begin:end]] == ordered.tolist()


@given(POWERS, st.integers(1, 70))
def test_waves_cover_every_partition_once(partitions, at_once):
    waves = [*Waves(partitions, at_once).all()]
    assert [one for wave in waves for one in range(*wave)] == [*range(partitions)]
    assert all(wave.end - wave.first <= at_once for wave in waves)


@pytest.mark.parametrize("at_once", [7, 64, 1000])
@pytest.mark.parametrize("partitions", [1, 4, 64])
@pytest.mark.parametrize("wave", [1, 3, 64])
def test_waves_read_every_key_once_in_its_partition(tmp_path, partitions, at_once, wave):
    workspace, draw = Workspace(str(tmp_path), "key"), np.random.default_rng(0)
    hashes = draw.integers(0, 2**64, 100, np.uint64)
    keys = SortedKeys(KEY, tmp_path, partitions, at_once)
    for number, some in enumerate(np.split(hashes, 5)):
        chunk = np.zeros(len(some), KEY)
        chunk["first"], chunk["line"] = some, np.arange(20) + 20 * number
        keys.add(chunk)
    path, schema = workspace.spill("claim", 0), spills.pa.schema([("first", "u8"), ("line", "u4")])
    with spills.writer(workspace, path, schema) as file:
        for some in keys.ranges():
            file.write_batch(spills.arrow_batch(schema, [some["first"], some["line"]]))
    found = [
        part for one in Waves(partitions, wave).all() for part in parts_of(path, partitions, one)
    ]
    lines = np.concatenate([part.keys["line"].to_numpy() for part in found])
    assert hashes[lines].tolist() == sorted(hashes.tolist())
    width = 2**64 // partitions
    for part in found:
        first = part.keys["first"].to_numpy()
        ends = ends_of(first, part.first, part.end, partitions)
        numbers = np.repeat(np.arange(part.first, part.end), np.diff(ends))
        assert numbers.tolist() == [int(one) // width for one in first]


def test_line_numbers_reach_32_bits():
    """NumPy's arange begins again at 0 within a chunk."""
    assert numbers_from(2**32 - 3, 3).tolist() == [2**32 - 3, 2**32 - 2, 2**32 - 1]
    assert numbers_from(2**32, 0).tolist() == []
