"""The table from dimension names to mesh axes, where parameters are stored, and what meshes fit."""

import math
from dataclasses import dataclass, replace

import pytest
from small_networks import EIGHT, mesh_of, sized

from model.config import ConfigurationError, MeshShape, SwitchConfig
from model.sharding.layouts import spec, storage
from model.sharding.mesh import abstract_mesh, arrange_devices, check_fit, make_mesh
from pipeline.recipe.fits import with_mesh
from pipeline.recipe.named import get


def test_an_unknown_dimension_never_replicates_silently():
    with pytest.raises(KeyError):
        spec("embed surprise")
    with pytest.raises(KeyError):
        storage("embed surprise", (8, 8), mesh_of())


@pytest.mark.parametrize(
    ("names", "shape", "part"),
    [
        ("embed mlp", (16, 4), (4, 2)),
        ("heads head embed", (2, 4, 6), (1, 4, 3)),  # 6 / 4: not whole; heads stay joined to head
        ("mlp embed", (8, 6), (2, 3)),  # the other two devices split the other dimension
        ("vocabulary embed", (6, 6), (3, 3)),  # 6 / 2 / 2: not whole
        ("embed mlp", (15, 8), (15, 1)),
        ("blocks experts embed mlp", (2, 2, 16, 4), (2, 1, 8, 2)),
        ("blocks embed", (2, 16), (2, 16)),
        ("buckets heads", (32, 2), (32, 1)),
    ],
)
def test_the_part_of_a_parameter_that_a_device_stores(names, shape, part):
    for mesh in (mesh_of(EIGHT), abstract_mesh(EIGHT)):
        assert storage(names, shape, mesh).shard_shape(shape) == part


@pytest.mark.parametrize(
    "slices",
    [MeshShape(data=4, expert=2, slices=2), MeshShape(data=1, expert=8, slices=2, expert_slices=2)],
)
def test_a_slice_stores_all_parameters_but_experts(slices):
    mesh = mesh_of(slices)
    assert storage("embed mlp", (16, 4), mesh).shard_shape((16, 4)) == (4, 4)
    experts = storage("experts embed mlp", (8, 16, 4), mesh).shard_shape((8, 16, 4))
    assert math.prod(experts) * 8 // slices.data_slices == 8 * 16 * 4


@pytest.mark.parametrize(
    ("mesh", "names", "shape", "part"),
    [
        # 2,080 is 32 x 65: over 2,048 devices of a slice, the vocabulary is split 64 ways too.
        (MeshShape(expert=2048, model=2), "vocabulary embed", (32128, 2080), (251, 65)),
        (
            MeshShape(expert=2048, model=2),
            "blocks embed heads head",
            (15, 2080, 30, 64),
            (15, 65, 15, 64),
        ),
        (with_mesh(get("mt5-base"), 1024).mesh, "embed mlp", (768, 2048), (3, 512)),
    ],
)
def test_dense_parameters_are_split_over_more_devices_than_their_width(mesh, names, shape, part):
    """Of Switch-C and mt5-base."""
    assert storage(names, shape, abstract_mesh(mesh)).shard_shape(shape) == part


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


def devices(kind, each=4):
    return [kind(number, number // each) for number in range(8)]


@pytest.mark.parametrize("kind", [Device, Card, DescribedCard])
def test_experts_and_widths_never_cross_slices(kind):
    mesh = arrange_devices(MeshShape(data=4, expert=2, slices=2), devices(kind))
    assert mesh.shape == (2, 2, 1, 2, 1)
    assert sorted(device.id for device in mesh.flat) == list(range(8))
    assert [{device.id // 4 for device in half.flat} for half in mesh] == [{0}, {1}]


def test_experts_may_be_split_over_slices():
    shape = MeshShape(expert=4, model=2, slices=2, expert_slices=2)
    mesh = arrange_devices(shape, devices(Device))
    assert mesh.shape == (1, 1, 2, 2, 2)
    assert [[device.id for device in half.flat] for half in mesh[0, 0]] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
    ]


def test_of_four_slices_two_may_be_along_each_axis():
    shape = MeshShape(data=2, expert=4, slices=4, expert_slices=2)
    mesh = arrange_devices(shape, devices(Device, 2))[:, 0, :, :, 0]
    found = [[[device.slice_index for device in row] for row in half] for half in mesh]
    assert found == [[[0, 0], [1, 1]], [[2, 2], [3, 3]]]
    assert shape.within_slice == {"replica": 1, "data": 1, "slice": 1, "expert": 2, "model": 1}


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (MeshShape(expert=8, slices=2, expert_slices=3), "must divide both"),
        (MeshShape(data=4, expert=2, slices=4, expert_slices=4), "must divide both"),
        (MeshShape(data=8, slices=4), r"found 2 hosts of \[4, 4\]"),
        (MeshShape(data=1, expert=8, slices=2), "mesh.data to a multiple of 2, or"),
    ],
)
def test_slices_that_do_not_exist(shape, message):
    with pytest.raises(ConfigurationError, match=message):
        arrange_devices(shape, devices(Card))


def test_a_mesh_must_use_the_devices():
    with pytest.raises(ConfigurationError, match=r"needs 6 devices; found 8 \(cpu\).*jax\[tpu\]"):
        make_mesh(MeshShape(data=6))


SWITCH = SwitchConfig(experts=8, every=1, encoder_group_tokens=64, decoder_group_tokens=8)
CONFIG = sized(embed=32, mlp=64, layers=1, switch=SWITCH)
POOLS = replace(SWITCH, encoder_pooled_groups=4, decoder_pooled_groups=4)
POOLED = replace(CONFIG, switch=POOLS)


@pytest.mark.parametrize(
    ("config", "shape", "rows"),
    [
        (CONFIG, MeshShape(data=8), 8),
        (POOLED, MeshShape(expert=8), 8),  # a pool on four devices
        (POOLED, MeshShape(data=2, expert=4), 8),  # one pool per data shard
        (POOLED, MeshShape(expert=8), 64),  # two pools on each device
    ],
)
def test_groups_lie_on_one_device_and_pools_on_one_or_on_whole_devices(config, shape, rows):
    check_fit(config, make_mesh(shape), rows=rows, inputs=64, targets=8)


@pytest.mark.parametrize(
    ("config", "shape", "rows", "inputs", "parts"),
    [
        (
            CONFIG,
            EIGHT,
            6,
            10,
            ("batch (6)", "encoder tokens of a device, 10 per row (15)", "decoder tokens"),
        ),
        (CONFIG, MeshShape(data=8), 8, 32, ("encoder tokens of a device",)),  # without a group
        (POOLED, MeshShape(data=8), 8, 64, ("expert axis (1) must be a multiple of 4",)),
        (POOLED, MeshShape(data=4, expert=2), 8, 64, ("along the expert axis (2)",)),
        (POOLED, MeshShape(expert=8), 24, 64, ("of a pool (4) must be a multiple of 3",)),
        (POOLED, MeshShape(expert=8), 48, 64, ("of a device (6) must be a multiple of 4",)),
    ],
)
def test_everything_that_does_not_fit_is_reported_at_once(config, shape, rows, inputs, parts):
    with pytest.raises(ConfigurationError) as error:
        check_fit(config, make_mesh(shape), rows=rows, inputs=inputs, targets=8 - 3 * (rows == 6))
    assert all(part in str(error.value) for part in parts)
