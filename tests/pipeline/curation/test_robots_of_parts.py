import itertools

import pytest

from data.curation.robots import Robots
from pipeline.curation.robots import ShardPart

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
