import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.beam.workspace import Workspace
from pipeline.cleaning import spill
from pipeline.cleaning.exchange import by_shard, keys_path, read_keys, write_keys

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
