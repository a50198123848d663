"""Names of slices, and distances between their devices."""

from dataclasses import dataclass

import jax
import pytest

from pipeline.errors import ArtifactError
from pipeline.hardware import libtpu
from pipeline.planning.remedies import larger
from pipeline.planning.topology import Topology, topology


@dataclass(frozen=True)
class Chip:
    """A device with coordinates."""

    coords: tuple[int, ...]
    device_kind: str


def slice_of(name: str, *shape: int, kind: str = "TPU v5") -> Topology:
    chips = [
        Chip((x, y, z), kind)
        for x in range(shape[0])
        for y in range(shape[1])
        for z in range(shape[2])
    ]
    return Topology(name, tuple(chips), len(chips), None, shape)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v9:2x2", "unknown"),
        ("v5p:banana", "unknown"),
        ("cpu:0", "unknown"),
        ("v5p:4x4", "3 dimensions"),
        ("v5e:32x32", "at most 256 chips"),
        ("cpu:4096", "already has"),
    ],
)
def test_unknown_topologies_are_an_error_of_one_sentence(name, message):
    jax.devices()  # a process chooses its devices once
    with pytest.raises(ArtifactError, match=message) as error:
        topology(name)
    assert name in str(error.value)


def test_without_the_compiler_the_message_names_the_package(monkeypatch):
    monkeypatch.setattr(libtpu.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ArtifactError, match="make install EXTRAS=demo,dev,plan"):
        topology("v5p:2x2x1")


def test_simulated_devices_have_no_limit_and_no_torus():
    devices = topology("cpu:4")
    assert len(devices.devices) == devices.chips == 4
    assert devices.memory is None
    assert devices.hops((0, 1, 2, 3)) == 0.75  # one link, or none to itself


def test_distances_go_round_rings_only_where_a_dimension_is_one():
    ring = slice_of("v5p:4x1x1", 4, 1, 1)
    assert ring.hops((0, 1, 2, 3)) == 1.0  # 0, 1, 2, 1 from anywhere
    line = slice_of("v5p:3x1x1", 3, 1, 1)
    assert line.hops((0, 1, 2)) == pytest.approx(8 / 9)
    assert slice_of("v5p:4x4x4", 4, 4, 4).hops(tuple(range(64))) == 3.0
    # Three apart, of a line; the devices of this machine have no other name than their kind.
    for name in ("v5e:4x4", "TPU v5 lite"):
        assert slice_of(name, 4, 4, 1, kind="TPU v5 lite").hops((0, 12)) == 1.5
    assert ring.reach((0, 1, 2, 3)) == line.reach((0, 1, 2)) == 2
    assert slice_of("v5p:4x4x4", 4, 4, 4).reach(tuple(range(64))) == 6


def test_larger_slices_double_their_shortest_side():
    assert list(larger("v5e:8x8")) == ["v5e:8x16", "v5e:16x16"]
    assert next(larger("v5p:4x8x8")) == "v5p:8x8x8"


def test_chips_are_found_by_their_vendor(tmp_path):
    assert not libtpu.has_chips(tmp_path)
    for number, vendor in enumerate(("0x10de", "0x1ae0")):
        device = tmp_path / str(number)
        device.mkdir()
        (device / "vendor").write_text(vendor + "\n")
        assert libtpu.has_chips(tmp_path) == (vendor == "0x1ae0")
