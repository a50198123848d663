import itertools

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.curation import robots as of_a_host
from data.curation.robots import Robots, rules_for
from pipeline.beam.workspace import Waves, Workspace
from pipeline.curation import robots
from pipeline.curation.robots import (
    HASHES,
    AskRobots,
    ShardPart,
    add_newest,
    answers_of,
    hosts_of,
)

HOSTS = ("a.example", "b.example")

OLD = Robots("2025-01-01T00:00:00Z", False, "User-agent: *\nAllow: /", "a.example")
NEW = Robots("2026-01-01T00:00:00Z", False, "User-agent: *\nDisallow: /", "a.example")
FAILED = Robots("2025-01-01T00:00:00Z", True, "", "a.example")
OTHER = Robots("2024-01-01T00:00:00Z", False, "", "b.example")


def compared(messages, agent="CCBot"):
    """Returns the rows of each shard that are disallowed, of messages to one partition."""
    asked = AskRobots(Workspace("", ""), Waves(1, 1), "", (), agent)
    parts = ((shard, msgspec.msgpack.encode(part)) for shard, part in messages)
    return {shard: np.frombuffer(rows, "<i8").tolist() for shard, rows in asked.compare(0, parts)}


def message(*files):
    newest = {}
    for file in files:
        add_newest(newest, file)
    return ShardPart({}, answers_of(newest))


PAGES = ShardPart({host: [(n, f"https://{host}/x")] for n, host in enumerate(HOSTS)}, [])


@pytest.mark.parametrize("files", [[OLD, NEW, FAILED, OTHER], [OLD, FAILED]])
def test_of_several_files_of_a_host_the_newest_or_a_failure_counts_in_any_order(files):
    for order in itertools.permutations(files):
        assert compared([(7, PAGES), (8, message(*order))]) == {7: [0]}
        apart = enumerate(map(message, order))  # shard by shard
        assert compared([*apart, (7, PAGES)]) == {7: [0]}
    assert compared([(0, message(OLD)), (7, PAGES)]) == {7: []}


def test_a_text_of_many_hosts_is_sent_once_and_parsed_once(monkeypatch):
    parsed = []
    monkeypatch.setattr(
        of_a_host, "rules_for", lambda text, agent: parsed.append(text) or rules_for(text, agent)
    )
    text, hosts = f"{NEW.content}\n# {'x' * 10_000}", [f"{n}.example" for n in range(300)]
    sent = message(*(Robots("", False, f"{text}", host) for host in hosts))
    assert len(msgspec.msgpack.encode(sent)) < len(text) + 300 * 20
    again = message(Robots("2026", False, text[:-1] + "x", hosts[0]))  # of another file
    pages = [
        (shard, ShardPart({host: [(n, f"//{host}/")] for n, host in enumerate(hosts)}, []))
        for shard in (8, 9)
    ]
    assert compared([(0, sent), (1, again), *pages]) == {shard: [*range(300)] for shard in (8, 9)}
    assert len(parsed) == 1


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
