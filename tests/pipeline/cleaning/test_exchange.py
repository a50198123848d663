import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from data.reading.page import Page
from data.rules.line_rules import unicode_line_hashes
from pipeline.beam.workspace import Workspace
from pipeline.cleaning import spill
from pipeline.cleaning.duplicate_lines import KEYS as LINE_KEYS
from pipeline.cleaning.duplicate_lines import SpillLineKeys
from pipeline.cleaning.exchange import (
    by_shard,
    keys_path,
    numbers_from,
    read_keys,
    write_keys,
)
from pipeline.cleaning.spilled_pages import SpilledPages

KEYS = pa.schema([("hash", pa.uint64())])
KEY = np.dtype([("hash", "u8"), ("shard", "u4")])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 99)), max_size=30))
def test_numbers_are_sorted_within_their_shard(pairs):
    shards, numbers = np.array(pairs, np.uint32).reshape(-1, 2).T
    lists = [found.tolist() for found in by_shard(shards, numbers, 5)]
    assert lists == [sorted(n for shard, n in pairs if shard == one) for one in range(5)]


@pytest.mark.parametrize("partitions", [1, 4, 64])
def test_a_partition_reads_its_keys_of_all_shards_and_chunks(tmp_path, partitions):
    workspace, draw = Workspace(str(tmp_path), "key"), np.random.default_rng(0)
    hashes = draw.integers(0, 2**64, (2, 3, 20), np.uint64)  # shards, chunks, keys
    for shard, chunks in enumerate(hashes):
        with spill.writer(workspace, keys_path(workspace, "read", shard), KEYS) as file:
            for chunk in chunks:
                write_keys(file, KEYS, chunk, partitions, [chunk])
    read = [
        read_keys(workspace, "read", 2, (number, partitions), KEY) for number in range(partitions)
    ]
    width = 2**64 // partitions
    for number, keys in enumerate(read):
        assert {int(one) // width for one in keys["hash"]} <= {number}
    found = {(int(one["hash"]), int(one["shard"])) for keys in read for one in keys}
    assert found == {(int(one), shard) for shard in range(2) for one in hashes[shard].ravel()}


def test_line_numbers_end_at_32_bits():
    """NumPy's arange begins again at 0 within a chunk."""
    assert numbers_from(2**32 - 3, 3, "lines").tolist() == [2**32 - 3, 2**32 - 2, 2**32 - 1]
    assert numbers_from(2**32, 0, "lines").tolist() == []
    with pytest.raises(DataError, match=r"more than 4,294,967,296 lines, .* divide its files"):
        numbers_from(2**32 - 3, 4, "lines")


@pytest.mark.parametrize("first", [2**32 - 1, 2**32])
def test_no_line_of_a_shard_has_the_number_of_another(tmp_path, first):
    step = SpillLineKeys(
        Workspace(str(tmp_path), "key"), SpilledPages("read"), (), unicode_line_hashes, 1
    )
    page = Page("https://a.example", "one\ntwo\nthree", "2020-01-01T00:00:00Z")
    with (
        spill.writer(step.workspace, keys_path(step.workspace, "claim", 0), LINE_KEYS) as file,
        pytest.raises(DataError, match="32 bits"),
    ):
        step._write_keys(file, [page], first)
