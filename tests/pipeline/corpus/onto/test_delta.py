"""The difference of two corpora lies in files of some shards each, which are written one by one."""

import random

import pyarrow.parquet as pq
import pytest

from pipeline.beam.workspace import Workspace
from pipeline.corpus import spills
from pipeline.corpus.onto import delta
from pipeline.corpus.onto.delta import ADDED, NEW, Change, WriteDelta


@pytest.mark.parametrize("shards", [1, 16, 17, 40])
def test_files_hold_each_shard_once_and_in_order(tmp_path, shards):
    space = Workspace(str(tmp_path), "key")
    changes = [Change(f"https://a.example/{n}", f"{n:032x}", "sw", ADDED, NEW) for n in range(100)]
    by_shard = [changes[n::shards][:n] for n in range(shards)]  # none of the first shard
    for shard, some in enumerate(by_shard):
        with spills.writer(space, delta.changes_path(space, shard), delta.SCHEMA) as file:
            file.write_batch(delta.batch(some))
    names = delta.names(shards)
    numbers = random.Random(0).sample(range(len(names)), len(names))
    for number in numbers:
        assert not (tmp_path / names[number]).exists()
        WriteDelta(space, shards)(number)
    tables = [pq.read_table(tmp_path / name) for name in sorted(names)]
    rows = [row for table in tables for row in table.to_pylist()]
    assert rows == [one._asdict() for some in by_shard for one in some]
    assert rows == pq.read_table(tmp_path / delta.FOLDER).to_pylist()
    each = delta.SHARDS_PER_FILE
    parts = [by_shard[first : first + each] for first in range(0, shards, each)]
    assert [len(table) for table in tables] == [sum(map(len, part)) for part in parts]
