"""Outputs are read one behind the calls, in order, and each once."""

from typing import NamedTuple

import numpy as np
import pytest

from model.config import ConfigurationError, MeshShape
from model.sharding.mesh import make_mesh
from pipeline.hardware import batches
from pipeline.hardware.batches import Share, Stop, one_ahead, share_of, sum_over_hosts, to_devices

ROWS = 32
# (process, number of the batch's part) of eight devices.
FOUR_HOSTS = [(number // 2, number) for number in range(8)]
SPLIT_MODEL = [(number // 2, number // 4) for number in range(8)]  # two hosts hold one model
IN_TURNS = [(number % 2, number) for number in range(8)]
EVEN, ODD = (0, 2, 4, 6), (1, 3, 5, 7)
EXPERTS_OVER_SLICES = [(number // 2 % 2, number) for number in range(8)]  # data=2, expert=4
OVERLAPPING = [(number // 3, number // 2) for number in range(8)]


class Device(NamedTuple):
    process_index: int
    number: int


class Sharding:
    """Replaces JAX's sharding over devices of several hosts."""

    def __init__(self, layout):
        self.layout = layout
        self.parts = len({part for _, part in layout})

    def devices_indices_map(self, shape):
        size = shape[0] // self.parts
        return {
            Device(process, number): (slice(part * size, (part + 1) * size),)
            for number, (process, part) in enumerate(self.layout)
        }


@pytest.fixture
def shares(monkeypatch):
    def of(layout):
        monkeypatch.setattr(batches, "batch_sharding", lambda _: Sharding(layout))
        mesh = make_mesh(MeshShape(data=8))
        return [share_of(mesh, ROWS, process) for process in sorted({p for p, _ in layout})]

    return of


@pytest.mark.parametrize("shape", [MeshShape(data=8), MeshShape(data=2, expert=2, model=2)])
def test_a_batch_reaches_the_devices_in_its_order(shape):
    rows = np.arange(16, dtype=np.int32)
    arrays = {"inputs": rows[:, None], "targets": rows[:, None], "language": rows}
    batch = to_devices(arrays, make_mesh(shape), 16)
    assert np.asarray(batch.language).tolist() == rows.tolist()


def test_shares_are_disjoint_and_complete(shares):
    found = shares(FOUR_HOSTS)
    assert [row for one in found for row in one.here] == list(range(ROWS))
    assert found == [Share((host,), 4, ROWS) for host in range(4)]


def test_hosts_that_split_a_model_read_the_same_rows(shares):
    half, other = (Share((number,), 2, ROWS) for number in range(2))
    assert shares(SPLIT_MODEL) == [half, half, other, other]


@pytest.mark.parametrize(
    ("layout", "numbers"), [(EXPERTS_OVER_SLICES, [(0, 2), (1, 3)]), (IN_TURNS, [EVEN, ODD])]
)
def test_a_host_may_read_several_stretches(shares, layout, numbers):
    found = shares(layout)
    assert [one.numbers for one in found] == numbers
    assert sorted(row for one in found for row in one.here) == list(range(ROWS))


def test_rows_of_several_stretches_reach_their_devices():
    rows = np.arange(16, dtype=np.int32)
    share = Share((0, 1, 2, 3), 4, 16)
    arrays = {"inputs": rows[:, None], "targets": rows[:, None], "language": rows}
    batch = to_devices(arrays, make_mesh(MeshShape(data=8)), 16, share)
    assert np.asarray(batch.language).tolist() == rows.tolist()


def test_overlapping_shares_are_refused(shares):
    with pytest.raises(ConfigurationError, match="overlapping or uneven parts of 32 rows"):
        shares(OVERLAPPING)


def test_one_host_adds_nothing():
    numbers = np.array([3, 0, 2**40])
    assert sum_over_hosts(numbers) is numbers


def calls(count, events):
    """Notes each call of a device."""
    for number in range(count):
        events.append(("called", number))
        yield number


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_every_output_is_read_once_and_in_order(count):
    assert list(one_ahead(calls(count, []))) == list(range(count))


def test_an_output_is_read_once_the_next_is_called_for():
    events = []
    for output in one_ahead(calls(3, events)):
        events.append(("read", output))
    assert events == [
        *(("called", 0), ("called", 1), ("read", 0)),
        *(("called", 2), ("read", 1), ("read", 2)),
    ]


def test_no_output_is_read_after_a_stop():
    def stopped():
        yield 0
        yield 1
        raise Stop

    read = []
    with pytest.raises(Stop):
        read.extend(one_ahead(stopped()))
    assert read == [0]
