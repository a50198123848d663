"""Slices between devices, against loops that follow the definition of `lax.ragged_all_to_all`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from small_networks import mesh_of

from model.config import MeshShape
from model.sharding.exchanges import Ends, Slices, exchange_slices
from model.sharding.layouts import EXPERT_AXES

DEVICES, EACH, EMBED, ROWS, PLACES = 4, 3, 5, 24, 30


def loops(rows, starts, sizes, at_other):
    """One slice at a time; all arrays have a leading dimension of devices."""
    result = np.zeros((DEVICES, PLACES, EMBED))
    for sender, number in np.ndindex(DEVICES, DEVICES * EACH):
        at = sender, number
        part = rows[sender, starts[at] : starts[at] + sizes[at]]
        result[number // EACH, at_other[at] : at_other[at] + sizes[at]] = part
    return result


def drawn(seed):
    """Random sizes, some of them 0; slices lie without gaps on both sides, places with a rest."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(0, 3, (DEVICES, DEVICES, EACH))
    by_receiver = np.moveaxis(sizes, 1, 0)
    starts = (np.cumsum(sizes.reshape(DEVICES, -1), axis=1)).reshape(sizes.shape) - sizes
    place = np.cumsum(by_receiver.reshape(DEVICES, -1), axis=1).reshape(sizes.shape) - by_receiver
    sent = Ends(starts, np.moveaxis(place, 1, 0), sizes)
    received = Ends(place, np.moveaxis(starts, 1, 0), by_receiver)
    flat = [Ends(*(part.reshape(DEVICES, -1) for part in ends)) for ends in (sent, received)]
    return generator.normal(size=(DEVICES, ROWS, EMBED)).astype(np.float32), Slices(*flat)


@functools.cache
def exchanged(places=PLACES, turned=False):
    """Returns the exchange of all devices' rows as one function of whole arrays."""

    def on_device(rows, slices):
        slices = jax.tree.map(lambda part: part[0], slices)
        return exchange_slices(rows[0], slices.turned if turned else slices, places)[None]

    over = PartitionSpec(EXPERT_AXES)
    mesh = mesh_of(MeshShape(expert=DEVICES))
    return jax.jit(jax.shard_map(on_device, mesh=mesh, in_specs=over, out_specs=over))


@pytest.mark.parametrize("seed", range(5))
def test_every_slice_arrives_at_its_place_and_the_way_back_undoes_the_way_there(seed):
    rows, slices = drawn(seed)
    there = exchanged()(rows, slices)
    expected = loops(rows, slices.sent.start, slices.sent.size, slices.sent.at_other)
    np.testing.assert_array_equal(there, expected)
    back = exchanged(ROWS, turned=True)(there, slices)
    sent = np.arange(ROWS) < slices.sent.size.sum(axis=1)[:, None]
    np.testing.assert_array_equal(back, np.where(sent[..., None], rows, 0))


def test_the_gradient_is_the_transpose():
    """<exchanged(x), y> is linear in x, and its slope is y sent back."""
    rows, slices = drawn(0)
    y = np.random.default_rng(1).normal(size=(DEVICES, PLACES, EMBED)).astype(np.float32)
    slope = jax.grad(lambda x: jnp.sum(exchanged()(x, slices) * y))(jnp.asarray(rows))
    np.testing.assert_array_equal(slope, exchanged(ROWS, turned=True)(y, slices))


@pytest.mark.parametrize(("platform", "uses"), [("tpu", True), ("cuda", True), ("cpu", False)])
def test_devices_with_the_operation_use_it(platform, uses):
    program = exchanged().trace(*drawn(0)).lower(lowering_platforms=(platform,))
    assert ("ragged_all_to_all" in program.as_text()) == uses
