import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.beam.workspace import Workspace
from pipeline.cleaning import spill
from pipeline.cleaning.exchange import by_shard, keys_path, partition_of, partitions_of, read_keys

HASHES = st.lists(st.integers(0, 2**64 - 1), max_size=20)
KEY = np.dtype([("number", "u4"), ("shard", "u4")])


@given(HASHES, st.integers(0, 13).map(lambda power: 1 << power))
def test_numbers_and_digests_have_the_same_partition(hashes, partitions):
    found = partitions_of(np.array(hashes, np.uint64), partitions).tolist()
    assert found == [partition_of(one.to_bytes(8, "big"), partitions) for one in hashes]
    assert all(0 <= one < partitions for one in found)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 99)), max_size=30))
def test_numbers_are_sorted_within_their_shard(pairs):
    shards, numbers = np.array(pairs, np.uint32).reshape(-1, 2).T
    lists = [found.tolist() for found in by_shard(shards, numbers, 5)]
    assert lists == [sorted(n for shard, n in pairs if shard == one) for one in range(5)]


def test_a_partition_reads_its_batches_of_all_shards_and_chunks(tmp_path):
    workspace = Workspace(str(tmp_path), "key")
    for shard in range(2):  # two chunks of three partitions each
        lists = [np.array([100 * shard + batch]) for batch in range(6)]
        spill.write_numbers(workspace, keys_path(workspace, "read", shard), lists)
    found = read_keys(workspace, "read", 2, (1, 3), KEY)
    assert found.tolist() == [(1, 0), (4, 0), (101, 1), (104, 1)]
