from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from pipeline.beam.packing import packed


class File(NamedTuple):
    number: int
    size: int


@given(st.lists(st.integers(0, 50)), st.integers(1, 60))
def test_packing_keeps_order_fills_shards_and_lets_only_large_files_exceed_them(sizes, limit):
    files = [File(number, size) for number, size in enumerate(sizes)]
    shards = packed(files, limit)
    assert [file for shard in shards for file in shard] == files
    assert all(shards)
    full = [sum(file.size for file in shard) for shard in shards]
    assert all(size <= limit or len(shard) == 1 for size, shard in zip(full, shards, strict=True))
    assert all(size + shard[0].size > limit for size, shard in zip(full, shards[1:], strict=False))
