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


def shares(monkeypatch, layout) -> list[Share]:
    monkeypatch.setattr(batches, "batch_sharding", lambda _: Sharding(layout))
    mesh = make_mesh(MeshShape(data=8))
    return [share_of(mesh, ROWS, process) for process in sorted({p for p, _ in layout})]


@pytest.mark.parametrize(
    ("layout", "numbers"),
    [
        (FOUR_HOSTS, [(0,), (1,), (2,), (3,)]),
        (EXPERTS_OVER_SLICES, [(0, 2), (1, 3)]),
        (IN_TURNS, [EVEN, ODD]),
    ],
)
def test_shares_are_disjoint_and_complete(monkeypatch, layout, numbers):
    found = shares(monkeypatch, layout)
    assert [one.numbers for one in found] == numbers
    assert sorted(row for one in found for row in one.here) == list(range(ROWS))


def test_hosts_that_split_a_model_read_the_same_rows_and_others_do_not_overlap(monkeypatch):
    half, other = (Share((number,), 2, ROWS) for number in range(2))
    assert shares(monkeypatch, SPLIT_MODEL) == [half, half, other, other]
    with pytest.raises(ConfigurationError, match="overlapping or uneven parts of 32 rows"):
        shares(monkeypatch, OVERLAPPING)
    numbers = np.array([3, 0, 2**40])
    assert sum_over_hosts(numbers) is numbers  # of one host


@pytest.mark.parametrize(
    ("shape", "share"),
    [
        (MeshShape(data=8), ()),
        (MeshShape(data=2, expert=2, model=2), ()),
        (MeshShape(data=8), (Share((0, 1, 2, 3), 4, 16),)),  # of several stretches
    ],
)
def test_a_batch_reaches_the_devices_in_its_order(shape, share):
    rows = np.arange(16, dtype=np.int32)
    arrays = {"inputs": rows[:, None], "targets": rows[:, None], "language": rows}
    batch = to_devices(arrays, make_mesh(shape), 16, *share)
    assert np.asarray(batch.language).tolist() == rows.tolist()


def test_an_output_is_read_once_and_when_the_next_is_called_for_and_none_after_a_stop():
    events = []

    def calls(count, end):
        for number in range(count):
            events.append(f"called {number}")
            yield number
        if end:
            raise end

    for output in one_ahead(calls(3, None)):
        events.append(f"read {output}")
    assert events == ["called 0", "called 1", "read 0", "called 2", "read 1", "read 2"]
    assert [list(one_ahead(calls(count, None))) for count in range(2)] == [[], [0]]
    read = []
    with pytest.raises(Stop):
        read.extend(one_ahead(calls(2, Stop())))
    assert read == [0]
