"""Experts without a gate, and their dropout, against loops over tokens.

Every list of six assignments to three experts or to padding.

Positions in experts' buffers; the worked example of `model/switch/__init__.py`.

Capacity shared by groups on several devices, against one group of all their tokens.
"""

import itertools
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import assert_close, mesh_of
from switch_case import (
    BATCH,
    EMBED,
    EXPERTS,
    GROUP,
    KEY,
    LENGTH,
    MLP,
    ROUTINGS,
    SWITCH,
    Loops,
    assert_equal,
    layer,
    tokens,
    with_gradients,
)

import model.switch
from model.config import MeshShape
from model.switch.capacity import assign_slots, gather_rows, sort_by_expert
from model.switch.routing import route
from model.switch.switch_layer import SwitchLayer


def test_relu_experts_equal_loops():
    relu = SwitchLayer(layer().router, None, layer().up, layer().down)
    result = jax.jit(with_gradients(mesh_of(), SWITCH))(relu, *tokens())
    assert_equal(Loops(relu, SWITCH), result)


@pytest.mark.parametrize("kind", ["top-2", "dropless top-2"])
def test_dropout_zeroes_hidden_units(kind):
    """Which units is read off experts that show them one at a time, then passed to the loops."""
    switch = replace(ROUTINGS[kind], expert_dropout=0.4)
    run = jax.jit(with_gradients(mesh_of(), switch))
    mask = np.ones((BATCH, LENGTH, switch.choices, MLP))
    routed = None
    for expert in range(EXPERTS):
        shows = jnp.zeros_like(layer().down).at[expert].set(jnp.eye(MLP, EMBED))
        (_, (y, routed)), _ = run(
            SwitchLayer(layer().router, layer().gate, layer().up, shows), *tokens()
        )
        here = np.asarray((routed.expert_index == expert) & routed.kept)
        units = np.broadcast_to(np.asarray(y)[:, :, None, :MLP] != 0, mask.shape)
        mask[here] = units[here] / 0.6
    assert routed is not None
    assert (mask[np.asarray(routed.kept)] == 0).mean() == pytest.approx(0.4, abs=0.03)
    assert_equal(Loops(layer(), switch, dropout_mask=mask), run(layer(), *tokens()))
    assert switch.routing(decoder=False, training=False).expert_dropout == 0


def test_it_is_a_stable_sort():
    lists = np.array(list(itertools.product(range(4), repeat=6)))
    found = jax.jit(jax.vmap(lambda experts: sort_by_expert(experts, 3)))(jnp.array(lists))
    np.testing.assert_array_equal(found.order, np.argsort(lists, axis=1, kind="stable"))
    np.testing.assert_array_equal(np.argsort(found.order, axis=1), found.rank)
    for expert in range(3):
        np.testing.assert_array_equal(found.group_sizes[:, expert], (lists == expert).sum(axis=1))
        np.testing.assert_array_equal(found.offsets[:, expert], (lists < expert).sum(axis=1))


def test_positions_follow_the_order_of_tokens():
    expert_index = jnp.array([[2], [0], [2], [2], [0]])
    slots = assign_slots(expert_index, experts=4, capacity=2)
    assert slots.position.T.tolist() == [[0, 0, 1, 2, 1]]
    assert slots.assignment.tolist() == [[1, 4], [5, 5], [0, 2], [5, 5]]
    assert slots.slot.tolist() == [[4, 0, 5, 8, 1]]


def test_all_top_1_assignments_go_before_top_2():
    expert_index = jnp.array([[0, 1], [1, 0], [0, 1]])
    slots = assign_slots(expert_index, experts=2, capacity=2)
    assert slots.position.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert (slots.assignment % 3).tolist() == [[0, 2], [1, 0]]
    assert slots.assignment.tolist() == [[0, 2], [1, 3]]


def test_padding_takes_no_position():
    padding = 4
    expert_index = jnp.array([[1], [padding], [1], [1]])
    assert assign_slots(expert_index, experts=4, capacity=2).assignment[1].tolist() == [0, 2]


@pytest.mark.parametrize("capacity", [1, 3, 10])
@pytest.mark.parametrize(("tokens", "top_k", "experts"), [(1, 1, 2), (40, 1, 5), (40, 2, 5)])
def test_every_kept_assignment_has_a_slot_for_itself(tokens, top_k, experts, capacity):
    generator = np.random.default_rng(0)
    draws = 50
    ranked = np.argsort(generator.random((draws, tokens, experts)), axis=2)[:, :, :top_k]
    real = generator.random((draws, tokens)) < 0.8
    expert_index = np.where(real[..., None], ranked, experts)

    assign = jax.jit(jax.vmap(lambda index: assign_slots(index, experts, capacity)))
    slots = jax.tree.map(np.asarray, assign(jnp.array(expert_index)))
    kept = (slots.position < capacity) & real[..., None]
    for draw, expert in np.ndindex(draws, experts):
        expected = np.flatnonzero((kept[draw] & (ranked[draw] == expert)).any(axis=1))
        assignment = slots.assignment[draw, expert]
        assignment = assignment[assignment < tokens * top_k]
        assert sorted((assignment % tokens).tolist()) == expected.tolist()
        own = slots.slot[draw].reshape(-1)[assignment]  # the inverse
        assert own.tolist() == list(range(expert * capacity, expert * capacity + len(own)))
        load = (expert_index[draw] == expert).sum()
        assert (kept[draw] & (ranked[draw] == expert)).sum() == min(load, capacity)


@pytest.mark.parametrize("top_k", [1, 2])
def test_gradients_of_moved_rows_are_read_by_index(top_k):
    """Against JAX's own transpose of the same gather, a scatter-add."""
    tokens, experts, capacity = 12, 4, 3
    expert_index = jnp.argsort(jax.random.uniform(jax.random.key(0), (tokens, experts)))[:, :top_k]
    slots = assign_slots(expert_index, experts, capacity)
    x = jax.random.normal(jax.random.key(1), (tokens, 5))
    weights = jax.random.normal(jax.random.key(2), (experts * capacity, 5))
    assignment = slots.assignment.reshape(-1)
    token = jnp.where(assignment < expert_index.size, assignment % tokens, tokens)

    def ours(x):
        return jnp.sum(weights * jnp.sin(gather_rows(x, token, slots.slot.T)))

    def plain(x):
        return jnp.sum(weights * jnp.sin(x.at[token].get(mode="fill", fill_value=0)))

    np.testing.assert_allclose(jax.grad(ours)(x), jax.grad(plain)(x), rtol=1e-6, atol=1e-6)
    assert "scatter" not in str(jax.make_jaxpr(jax.grad(ours))(x))
    assert "scatter-add" in str(jax.make_jaxpr(jax.grad(plain))(x))


def test_the_worked_example_is_true():
    text = model.switch.__doc__ or ""

    def row(name):
        found = re.search(rf"^    {re.escape(name)}  +(.*)$", text, re.MULTILINE)
        assert found is not None
        return re.findall(r"(?:(?<=\s)|^)[\d.]+(?=\s|$)", found.group(1))[:6]

    experts, capacity = 3, 2
    probabilities = np.array([row(f"p(expert {expert})") for expert in range(experts)], float).T
    logits = jnp.log(jnp.array(probabilities, jnp.float32))
    routed = jax.jit(route, static_argnums=2)(logits, jnp.ones(6, bool), 1)
    assert routed.expert_index[:, 0].tolist() == [int(number) for number in row("expert_index")]
    np.testing.assert_allclose(routed.gate[:, 0], np.array(row("gate"), float), rtol=1e-5)
    slots = assign_slots(routed.expert_index, experts, capacity)
    position = slots.position
    assert position[:, 0].tolist() == [int(number) for number in row("position_in_expert")]
    kept = [int(number) for number in row("kept")]
    assert (position[:, 0] < capacity).astype(int).tolist() == kept
    for expert, assigned in enumerate(slots.assignment.tolist()):
        assert [str(token) for token in assigned if token < 6] == row(f"expert {expert}")
    assert f"= {float(routed.balance_loss):.3f}:" in text


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
    assert routed.expert_slots.sum() == BATCH * LENGTH // (GROUP * POOLED) * EXPERTS * capacity


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
