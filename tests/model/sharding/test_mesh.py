"""Meshes: what fits, and how several slices are laid out."""

from dataclasses import dataclass, replace

import pytest

from model.config import ModelConfig, SwitchConfig
from model.configuration_checks import ConfigurationError
from model.sharding.mesh import MeshShape, arranged, check_fit, make_mesh


@dataclass(frozen=True)
class Device:
    """The attributes of a device that the layout reads."""

    id: int
    slice_index: int
    platform: str = "simulated"
    device_kind: str = "simulated"
    process_index: int = 0


@dataclass(frozen=True)
class Card:
    """A GPU has its host only."""

    id: int
    process_index: int
    platform: str = "gpu"
    device_kind: str = "simulated"


@dataclass(frozen=True)
class DescribedCard(Card):
    """A GPU as the compiler describes it: all are of slice 0."""

    slice_index: int = 0


def two_of_four(kind):
    return [kind(number, number // 4) for number in range(8)]


@pytest.mark.parametrize("kind", [Device, Card, DescribedCard])
def test_experts_and_widths_never_cross_slices(kind):
    mesh = arranged(MeshShape(data=4, expert=2, slices=2), two_of_four(kind))
    assert mesh.shape == (2, 2, 1, 2, 1)
    assert sorted(device.id for device in mesh.flat) == list(range(8))
    halves = [{device.id // 4 for device in half.flat} for half in mesh]
    assert halves == [{0}, {1}]


def test_experts_may_be_split_over_slices():
    mesh = arranged(MeshShape(expert=4, model=2, slices=2, expert_slices=2), two_of_four(Device))
    assert mesh.shape == (1, 1, 2, 2, 2)
    assert [[device.id for device in half.flat] for half in mesh[0, 0]] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
    ]


def test_of_four_slices_two_may_be_along_each_axis():
    devices = [Device(number, number // 2) for number in range(8)]
    shape = MeshShape(data=2, expert=4, slices=4, expert_slices=2)
    mesh = arranged(shape, devices)[:, 0, :, :, 0]
    found = [[[device.slice_index for device in row] for row in half] for half in mesh]
    assert found == [[[0, 0], [1, 1]], [[2, 2], [3, 3]]]
    assert shape.within_slice == {"replica": 1, "data": 1, "slice": 1, "expert": 2, "model": 1}


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (MeshShape(expert=8, slices=2, expert_slices=3), "must divide both"),
        (MeshShape(data=4, expert=2, slices=4, expert_slices=4), "must divide both"),
        (MeshShape(data=8, slices=4), r"found 2 hosts of \[4, 4\]"),
        (
            MeshShape(data=1, expert=8, slices=2),
            "mesh.data to a multiple of 2, or mesh.expert_slices",
        ),
    ],
)
def test_slices_that_do_not_exist(shape, message):
    with pytest.raises(ConfigurationError, match=message):
        arranged(shape, two_of_four(Card))


def test_a_mesh_must_use_the_devices():
    with pytest.raises(ConfigurationError, match=r"needs 6 devices; found 8 \(cpu\).*jax\[tpu\]"):
        make_mesh(MeshShape(data=6))


SWITCH = SwitchConfig(experts=8, every=1, encoder_group_tokens=64, decoder_group_tokens=8)
CONFIG = ModelConfig(
    vocabulary_rows=128, embed=32, heads=2, head=8, mlp=64, layers=1, switch=SWITCH
)


def test_everything_that_does_not_fit_is_reported_at_once():
    mesh = make_mesh(MeshShape(data=2, expert=2, model=2))
    with pytest.raises(ConfigurationError) as error:
        check_fit(CONFIG, mesh, rows=6, inputs=10, targets=5)
    for part in (
        "rows of a batch (6)",
        "encoder tokens of a device, 10 per row (15)",
        "decoder tokens",
    ):
        assert part in str(error.value)


def test_a_device_without_a_group_is_refused():
    mesh = make_mesh(MeshShape(data=8))
    check_fit(CONFIG, mesh, rows=8, inputs=64, targets=8)
    with pytest.raises(ConfigurationError, match="encoder tokens of a device"):
        check_fit(CONFIG, mesh, rows=8, inputs=32, targets=8)


POOLED = replace(CONFIG, switch=replace(SWITCH, encoder_pooled_groups=4, decoder_pooled_groups=4))


@pytest.mark.parametrize(
    ("shape", "rows"),
    [
        (MeshShape(expert=8), 8),  # a pool on four devices
        (MeshShape(data=2, expert=4), 8),  # one pool per data shard
        (MeshShape(expert=8), 64),  # two pools on each device
    ],
)
def test_pools_lie_on_one_device_or_on_whole_devices(shape, rows):
    check_fit(POOLED, make_mesh(shape), rows=rows, inputs=64, targets=8)


@pytest.mark.parametrize(
    ("shape", "rows", "message"),
    [
        (MeshShape(data=8), 8, r"groups along the expert axis \(1\) must be a multiple of 4"),
        (MeshShape(data=4, expert=2), 8, r"along the expert axis \(2\)"),
        (MeshShape(expert=8), 24, r"encoder groups of a pool \(4\) must be a multiple of 3"),
        (MeshShape(expert=8), 48, r"decoder groups of a device \(6\) must be a multiple of 4"),
    ],
)
def test_a_pool_on_part_of_a_device_or_across_the_data_axis_is_refused(shape, rows, message):
    with pytest.raises(ConfigurationError, match=message):
        check_fit(POOLED, make_mesh(shape), rows=rows, inputs=64, targets=8)
