import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.curation.robots import Robots
from pipeline.beam.workspace import Workspace
from pipeline.curation import robots
from pipeline.curation.robots import HASHES, ShardPart, hosts_of

OLD = Robots("2025-01-01T00:00:00Z", False, "User-agent: *\nAllow: /", "a.example")
NEW = Robots("2026-01-01T00:00:00Z", False, "User-agent: *\nDisallow: /", "a.example")
FAILED = Robots("2025-01-01T00:00:00Z", True, "", "a.example")
OTHER = Robots("2024-01-01T00:00:00Z", False, "", "b.example")


@pytest.mark.parametrize("given", itertools.permutations([OLD, NEW, FAILED, OTHER]))
def test_of_several_files_of_a_host_the_newest_stays_in_any_order(given):
    part = ShardPart({}, {})
    part.add_robots(given)
    assert part.robots == {"a.example": NEW, "b.example": OTHER}


@pytest.mark.parametrize("given", itertools.permutations([OLD, FAILED]))
def test_of_equally_old_ones_a_failure_stays(given):
    part = ShardPart({}, {})
    for one in given:  # shard by shard
        part.add_robots([one])
    assert part.robots == {"a.example": FAILED}


def test_hosts_that_are_in_many_files_are_held_once(tmp_path, monkeypatch):
    monkeypatch.setattr(robots, "FILES_AT_ONCE", 3)
    joined, unique = [], np.unique
    monkeypatch.setattr(robots.np, "unique", lambda some: joined.append(len(some)) or unique(some))
    workspace = Workspace(str(tmp_path / "work"), str(tmp_path))
    for number in range(40):
        with workspace.publish(workspace.spill("hosts", number)) as path:
            hosts = sorted({0, 2**64 - 1, number, number // 2})
            pq.write_table(pa.table([pa.array(hosts, pa.uint64())], HASHES), path)
    assert hosts_of(workspace, 40).tolist() == [*range(40), 2**64 - 1]
    assert max(joined) < 140  # and not all of the 156
