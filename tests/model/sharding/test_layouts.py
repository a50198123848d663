"""The table from dimension names to mesh axes, and where parameters are stored."""

import math

import pytest
from small_networks import mesh_of

from model.sharding.layouts import spec, storage
from model.sharding.mesh import MeshShape, abstract_mesh
from pipeline.recipe.mesh_choice import with_mesh
from pipeline.recipe.named import get

EIGHT = MeshShape(data=2, expert=2, model=2)


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


def test_dense_parameters_of_switch_c_are_split_on_any_number_of_chips():
    """2,080 is 32 x 65: over 2,048 devices of a slice, the vocabulary is split 64 ways too."""
    recipe = get("switch-c")
    mesh = abstract_mesh(MeshShape(expert=2048, model=2))
    embed, rows = recipe.model.embed, recipe.model.vocabulary_rows
    table = storage("vocabulary embed", (rows, embed), mesh)
    assert table.shard_shape((rows, embed)) == (rows // 2 // 64, 65)
    query = storage("blocks embed heads head", (15, embed, 30, 64), mesh)
    assert query.shard_shape((15, embed, 30, 64)) == (15, 65, 15, 64)


def test_a_dense_model_is_split_over_more_devices_than_its_width():
    recipe = with_mesh(get("mt5-base"), 1024)
    assert recipe.mesh == MeshShape(data=1024)
    up = storage("embed mlp", (768, 2048), abstract_mesh(recipe.mesh))
    assert math.prod(up.shard_shape((768, 2048))) * 1024 == 768 * 2048
