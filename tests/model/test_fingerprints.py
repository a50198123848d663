"""A fingerprint changes with every kind of damage, and is the same on any mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from model.fingerprints import fingerprints
from model.mixing import AT_ONCE, host_fingerprint

ONE = NamedSharding(Mesh(jax.devices()[:1], ("data",)), P())
KINDS = [((5,), "float32"), ((4, 6), "bfloat16"), ((3, 3), "int32"), ((2, 3, 2), "float32")]
MESH = Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "model"))


def of(array: np.ndarray) -> list[int]:
    return np.asarray(fingerprints([jnp.asarray(array)], ONE)).ravel().tolist()


def rows_reversed(array, draw):
    return array[::-1].copy()


def two_rows_swapped(array, draw):
    one, two = (draw(st.integers(0, len(array) - 1)) for _ in range(2))
    array[[one, two]] = array[[two, one]]
    return array


def signs_flipped_in_pairs(array, draw):
    bits = array.view(f"u{array.itemsize}").reshape(-1)
    pair = draw(st.sets(st.integers(0, bits.size - 1), min_size=2, max_size=2))
    bits[list(pair)] ^= bits.dtype.type(1 << (8 * bits.itemsize - 1))
    return array


def two_elements_exchanged(array, draw):
    flat = array.reshape(-1)
    one, two = (draw(st.integers(0, flat.size - 1)) for _ in range(2))
    flat[[one, two]] = flat[[two, one]]
    return array


def a_byte_changed(array, draw):
    content = array.view(np.uint8).reshape(-1)
    content[draw(st.integers(0, content.size - 1))] ^= np.uint8(draw(st.integers(1, 255)))
    return array


def transposed(array, draw):
    return np.swapaxes(array, 0, -1).copy()


DAMAGES = [
    rows_reversed,
    two_rows_swapped,
    signs_flipped_in_pairs,
    two_elements_exchanged,
    a_byte_changed,
    transposed,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@given(data=st.data())
def test_every_damage_changes_a_fingerprint(damage, data):
    shape, dtype = data.draw(st.sampled_from(KINDS))
    size = int(np.prod(shape)) * jnp.dtype(dtype).itemsize
    content = data.draw(st.binary(min_size=size, max_size=size))
    array = np.frombuffer(content, jnp.dtype(dtype)).reshape(shape)
    damaged = damage(array.copy(), data.draw)
    assume(damaged.shape != array.shape or damaged.tobytes() != content)
    assert of(damaged) != of(array)


def test_arrays_of_one_shape_have_their_own_fingerprints_in_their_order():
    """Small ones are computed together, whatever their sharding."""
    draws = np.random.default_rng(1)
    shapes = [(8, 2), (), (8, 2), (64, 128), (8,), (8, 2), (64, 128), (1, 3), (8,), ()]
    arrays = [draws.normal(size=shape).astype(np.float32) for shape in shapes]
    arrays.append(arrays[0].astype(np.float16))
    specs = [P("data") if array.shape[:1] == (8,) else P() for array in arrays]
    specs[2] = P(None, "model")
    sharded = [
        jax.device_put(array, NamedSharding(MESH, spec))
        for array, spec in zip(arrays, specs, strict=True)
    ]
    together = np.asarray(fingerprints(sharded, NamedSharding(MESH, P()))).tolist()
    assert together == [of(array) for array in arrays]
    assert len(set(map(tuple, together))) == len(arrays)


def test_what_keeps_the_sum_of_all_bits_is_found():
    """A sum of the bits alone would miss both, which is why fingerprints have positions."""
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    flipped = array.copy()
    flipped[1, :2] *= -1
    for damaged in (array[::-1], flipped):
        assert damaged.view(np.uint32).sum() % 2**32 == array.view(np.uint32).sum() % 2**32
        assert of(damaged) != of(array)


@pytest.mark.parametrize(
    "spec", [P("data", "model"), P("model"), P(None, ("data", "model")), P()], ids=str
)
def test_sharded_equals_unsharded_without_a_gather(spec):
    array = np.random.default_rng(0).normal(size=(16, 24, 3)).astype(np.float32)
    sharded = jax.device_put(array, NamedSharding(MESH, spec))
    everywhere = NamedSharding(MESH, P())
    assert np.asarray(fingerprints([sharded], everywhere)).ravel().tolist() == of(array)
    program = fingerprints.lower([sharded], everywhere).compile().as_text()
    assert program is not None
    assert "all-gather" not in program
    assert "all-to-all" not in program


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((), "int32"), ((0,), "float32"), ((7,), "uint8"), *KINDS, ((AT_ONCE // 64 + 3, 65), "int32")],
)
def test_numpy_and_jax_give_one_fingerprint(shape, kind):
    """A checkpoint is saved by one and verified by the other; the last array takes two parts."""
    bits = np.random.default_rng(3).integers(0, 256, (*shape, jnp.dtype(kind).itemsize), np.uint8)
    array = bits.view(jnp.dtype(kind)).reshape(shape)
    assert host_fingerprint(array).tolist() == of(array)
