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


def of(array):
    return np.asarray(fingerprints([jnp.asarray(array)], ONE)).ravel().tolist()


def on_host(array):
    return host_fingerprint(array).tolist()


@given(st.sampled_from(KINDS), st.data())
def test_every_damage_changes_a_fingerprint(kind, data):
    """Elements in another order, or a bit flipped in some of them: signs in pairs, for example."""
    shape, dtype = kind
    size, each = int(np.prod(shape)), jnp.dtype(dtype).itemsize
    content = data.draw(st.binary(min_size=size * each, max_size=size * each))
    array = np.frombuffer(content, f"u{each}")
    if data.draw(st.booleans()):
        damaged = array[data.draw(st.permutations(range(size)))]
    else:
        flipped = data.draw(st.sets(st.integers(0, size - 1), min_size=1))
        damaged = array.copy()
        damaged[list(flipped)] ^= array.dtype.type(1 << data.draw(st.integers(0, 8 * each - 1)))
    assume(damaged.tobytes() != content)
    before, after = (bits.view(jnp.dtype(dtype)).reshape(shape) for bits in (array, damaged))
    assert on_host(after) != on_host(before)


def test_what_keeps_the_sum_of_all_bits_is_found():
    """A sum of the bits alone would miss these, which is why fingerprints have positions."""
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    flipped = array.copy()
    flipped[1, :2] *= -1
    for damaged in (array[::-1], flipped, array.T):
        assert damaged.view(np.uint32).sum() % 2**32 == array.view(np.uint32).sum() % 2**32
        assert on_host(damaged) != on_host(array)


def test_arrays_of_one_shape_have_their_own_fingerprints_in_their_order():
    """Small ones are computed together, whatever their sharding."""
    draws = np.random.default_rng(1)
    shapes = [(8, 2), (), (8, 2), (64, 128), (8,), (8, 2), (64, 128), (1, 3), (8,), ()]
    arrays = [draws.normal(size=shape).astype(np.float32) for shape in shapes]
    arrays.append(arrays[0].astype(np.float16))
    specs = [P("data") if array.shape[:1] == (8,) else P() for array in arrays]
    specs[2] = P(None, "model")
    layouts = [NamedSharding(MESH, spec) for spec in specs]
    sharded = list(map(jax.device_put, arrays, layouts))
    together = np.asarray(fingerprints(sharded, NamedSharding(MESH, P()))).tolist()
    assert together == [on_host(array) for array in arrays]
    assert len(set(map(tuple, together))) == len(arrays)


@pytest.mark.parametrize("spec", [P("data", "model"), P(None, ("data", "model"))], ids=str)
def test_sharded_equals_unsharded_without_a_gather(spec):
    array = np.random.default_rng(0).normal(size=(16, 24, 3)).astype(np.float32)
    sharded = jax.device_put(array, NamedSharding(MESH, spec))
    compiled = fingerprints.lower([sharded], NamedSharding(MESH, P())).compile()
    assert np.asarray(compiled([sharded])).ravel().tolist() == on_host(array)
    assert "all-gather" not in compiled.as_text()
    assert "all-to-all" not in compiled.as_text()


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((), "int32"), ((0,), "float32"), ((7,), "uint8"), *KINDS, ((AT_ONCE // 64 + 3, 65), "int32")],
)
def test_numpy_and_jax_give_one_fingerprint(shape, kind):
    """A checkpoint is saved by one and verified by the other; the last array takes two parts."""
    bits = np.random.default_rng(3).integers(0, 256, (*shape, jnp.dtype(kind).itemsize), np.uint8)
    array = bits.view(jnp.dtype(kind)).reshape(shape)
    assert on_host(array) == of(array)
