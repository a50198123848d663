"""Capacity shared by groups on several devices, against one group of all their tokens."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import assert_close, mesh_of
from switch_case import (
    BATCH,
    EXPERTS,
    GROUP,
    KEY,
    LENGTH,
    ROUTINGS,
    SWITCH,
    layer,
    tokens,
    with_gradients,
)

from model.sharding.mesh import MeshShape

POOLED = 4  # groups of 16 tokens, one on each device where the expert axis has 8
POOLS = {
    "top-1": replace(SWITCH, capacity_factor_training=0.75),
    "top-2": replace(ROUTINGS["top-2"], capacity_factor_training=0.75),
}
MESHES = [
    MeshShape(expert=8),
    MeshShape(expert=4),
    MeshShape(data=2, expert=4),
    MeshShape(data=2, expert=2, model=2),
    MeshShape(data=8),
    MeshShape(data=2, expert=4, slices=4, expert_slices=2),
]


def pooled(switch, groups=POOLED):
    return replace(switch, encoder_pooled_groups=groups)


def run(switch, mesh=None):
    mesh = mesh or mesh_of()
    return jax.device_get(jax.jit(with_gradients(mesh, switch))(layer(), *tokens()))


@pytest.mark.parametrize("kind", POOLS)
def test_a_pool_drops_what_one_group_of_its_tokens_would(kind):
    """One group equals loops in `test_switch_layer.py`. Losses are still those of small groups."""
    (_, (y, routed)), _ = run(pooled(POOLS[kind]))
    (_, (whole_y, whole)), _ = run(replace(POOLS[kind], encoder_group_tokens=GROUP * POOLED))
    (_, (_, small)), _ = run(POOLS[kind])
    np.testing.assert_array_equal(routed.kept, whole.kept)
    np.testing.assert_allclose(y, whole_y, atol=1e-6)
    assert not np.array_equal(routed.kept, small.kept)
    assert 0.1 < 1 - routed.kept[tokens()[1]].mean() < 0.5
    for loss in ("balance_loss", "z_loss"):
        np.testing.assert_allclose(getattr(routed, loss), getattr(small, loss), rtol=1e-6)
    capacity = pooled(POOLS[kind]).routing(decoder=False, training=True).capacity
    assert routed.expert_slots == BATCH * LENGTH // (GROUP * POOLED) * EXPERTS * capacity


@pytest.mark.parametrize(
    "shape",
    [*(pytest.param(shape, marks=pytest.mark.slow) for shape in MESHES[:3]), MESHES[3], MESHES[5]],
    ids=str,
)
@pytest.mark.parametrize("kind", POOLS)
def test_devices_do_not_matter(kind, shape):
    """With noise: assignments, values, gradients."""
    switch = pooled(replace(POOLS[kind], jitter=0.1, expert_dropout=0.3))
    (_, (y, routed)), slopes = run(switch, mesh_of(shape))
    (_, (single_y, single)), single_slopes = run(switch)
    for name in ("expert_index", "kept", "expert_slots"):
        np.testing.assert_array_equal(getattr(routed, name), getattr(single, name))
    np.testing.assert_allclose(y, single_y, atol=1e-5)
    assert_close(routed, single, atol=1e-5)
    assert_close(slopes, single_slopes, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", POOLS)
def test_equals_dropless_where_nothing_drops(kind):
    ample = replace(POOLS[kind], capacity_factor_training=float(EXPERTS))
    (value, (y, routed)), slopes = run(pooled(ample), mesh_of(MeshShape(expert=8)))
    dropless = replace(ample, dispatch="dropless")
    (free_value, (free_y, free)), free_slopes = run(dropless)
    np.testing.assert_array_equal(routed.kept, free.kept)
    np.testing.assert_allclose(y, free_y, atol=1e-5)
    assert value == pytest.approx(free_value, abs=1e-3)
    assert_close(slopes, free_slopes, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("gradient", "exchanges", "of_counts"), [(False, 2, 2), (True, 4, 2)], ids=str
)
def test_two_exchanges_each_way_and_two_of_counts(gradient, exchanges, of_counts):
    """Read off the program for TPUs; XLA:CPU lacks the operation."""
    routing = pooled(POOLS["top-1"]).routing(decoder=False, training=True)
    mesh = mesh_of(MeshShape(expert=8))
    x, real = tokens()

    def loss(layer, x):
        return jnp.sum(layer(x, real, routing, key=KEY, mesh=mesh)[0] ** 2)

    function = jax.grad(loss, argnums=(0, 1)) if gradient else loss
    traced = jax.jit(function).trace(layer(), x)
    program = traced.lower(lowering_platforms=("tpu",)).as_text()
    assert program.count("@ragged_all_to_all(") == exchanges
    assert program.count('"stablehlo.all_to_all"') == of_counts
