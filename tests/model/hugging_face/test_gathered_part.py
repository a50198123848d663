import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from model.hugging_face.gathered_part import gathered_part
from model.hugging_face.weight_files import INDEX, WEIGHTS, index_of, weight_files
from model.sharding.mesh import MeshShape, make_mesh

SPEC = PartitionSpec(None, "expert", "data", "model")


@pytest.mark.parametrize("at", [(), (1,), (1, 3)])
def test_a_part_of_a_split_stack_has_the_bits_of_the_whole(at):
    whole = np.random.default_rng(0).standard_normal((2, 4, 4, 6)).astype(np.float32)
    whole[1, 3, 0] = [-0.0, 0.0, np.nan, np.inf, -np.inf, 1e-45]
    mesh = make_mesh(MeshShape(data=2, expert=2, model=2))
    split = jax.device_put(whole, NamedSharding(mesh, SPEC))
    for array in (split, whole):
        np.testing.assert_array_equal(
            gathered_part(array, at).view(np.uint32), whole[at].view(np.uint32)
        )


def test_one_file_where_all_arrays_fit_and_several_with_an_index_otherwise():
    shapes = {"a": (4, 4), "b": (8,), "c": (40, 2), "d": (1,)}
    assert weight_files(shapes, most_bytes=1000) == {WEIGHTS: ["a", "b", "c", "d"]}
    files = weight_files(shapes, most_bytes=100)
    assert list(files.values()) == [["a", "b"], ["c"], ["d"]]  # c alone is larger than a file
    assert next(iter(files)) == "model-00001-of-00003.safetensors"
    index = index_of(files, shapes)
    assert index["metadata"] == {"total_size": 4 * (16 + 8 + 80 + 1)}
    assert index["weight_map"] == {name: file for file in files for name in files[file]}
    assert INDEX.startswith(WEIGHTS)
