"""Slots against loops over every assignment; the worked example of `model/switch/__init__.py`.

Capacity shared by groups on several devices, against one group of all their tokens.
"""

import itertools
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import EIGHT, assert_close, mesh_of
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
    for expert in range(EXPERTS):
        shows = jnp.zeros_like(layer().down).at[expert].set(jnp.eye(MLP, EMBED))
        showing = SwitchLayer(layer().router, layer().gate, layer().up, shows)
        (_, (y, routed)), _ = run(showing, *tokens())
        here = np.asarray((routed.expert_index == expert) & routed.kept)
        units = np.broadcast_to(np.asarray(y)[:, :, None, :MLP] != 0, mask.shape)
        mask[here] = units[here] / 0.6
    assert (mask[np.asarray(routed.kept)] == 0).mean() == pytest.approx(0.4, abs=0.03)
    assert_equal(Loops(layer(), switch, dropout_mask=mask), run(layer(), *tokens()))


def test_it_is_a_stable_sort():
    """Every list of six assignments to three experts or to padding."""
    lists = np.array(list(itertools.product(range(4), repeat=6)))
    found = jax.jit(jax.vmap(lambda experts: sort_by_expert(experts, 3)))(jnp.array(lists))
    np.testing.assert_array_equal(found.order, np.argsort(lists, axis=1, kind="stable"))
    np.testing.assert_array_equal(np.argsort(found.order, axis=1), found.rank)
    for expert in range(3):
        np.testing.assert_array_equal(found.group_sizes[:, expert], (lists == expert).sum(axis=1))
        np.testing.assert_array_equal(found.offsets[:, expert], (lists < expert).sum(axis=1))


def slowly_assigned(expert_index, experts, capacity):
    """Positions, slots and assignments: one token after the other, all top-1 before any top-2."""
    tokens, top_k = expert_index.shape
    position, slot = np.zeros((tokens, top_k), int), np.full((top_k, tokens), experts * capacity)
    assignment, used = np.full((experts, capacity), tokens * top_k), [0] * experts
    for choice, token in itertools.product(range(top_k), range(tokens)):
        if (expert := expert_index[token, choice]) < experts:
            at = position[token, choice] = used[expert]
            used[expert] += 1
            if at < capacity:
                slot[choice, token] = expert * capacity + at
                assignment[expert, at] = choice * tokens + token
    return position, slot, assignment


@pytest.mark.parametrize("capacity", [1, 3, 10])
@pytest.mark.parametrize(("tokens", "top_k", "experts"), [(1, 1, 2), (20, 1, 5), (20, 2, 5)])
def test_slots_are_assigned_as_by_a_loop(tokens, top_k, experts, capacity):
    """A fifth of the tokens are padding."""
    generator = np.random.default_rng(0)
    ranked = np.argsort(generator.random((20, tokens, experts)), axis=2)[:, :, :top_k]
    index = np.where((generator.random((20, tokens)) < 0.8)[..., None], ranked, experts)
    found = jax.jit(jax.vmap(lambda one: assign_slots(one, experts, capacity)))(jnp.array(index))
    expected = [slowly_assigned(one, experts, capacity) for one in index]
    position, slot, assignment = map(np.array, zip(*expected, strict=True))
    np.testing.assert_array_equal(np.where(index < experts, found.position, 0), position)
    np.testing.assert_array_equal(found.slot, slot)
    np.testing.assert_array_equal(found.assignment, assignment)


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
        (values,) = re.findall(rf"^    {re.escape(name)}  +(.*)$", text, re.MULTILINE)
        return re.findall(r"(?:(?<=\s)|^)[\d.]+(?=\s|$)", values)[:6]

    def numbers(name):
        return list(map(int, row(name)))

    probabilities = np.array([row(f"p(expert {expert})") for expert in range(3)], float).T
    logits = jnp.log(jnp.array(probabilities, jnp.float32))
    routed = jax.jit(route, static_argnums=2)(logits, jnp.ones(6, bool), 1)
    assert routed.expert_index[:, 0].tolist() == numbers("expert_index")
    np.testing.assert_allclose(routed.gate[:, 0], np.array(row("gate"), float), rtol=1e-5)
    slots = assign_slots(routed.expert_index, 3, 2)
    position = slots.position[:, 0]
    assert position.tolist() == numbers("position_in_expert")
    assert (position < 2).astype(int).tolist() == numbers("kept")
    for expert, assigned in enumerate(slots.assignment.tolist()):
        assert [token for token in assigned if token < 6] == numbers(f"expert {expert}")
    assert f"= {float(routed.balance_loss):.3f}:" in text


POOLED = 4  # groups of 16 tokens, one on each device where the expert axis has 8
FEW = {"top-1": replace(SWITCH, capacity_factor_training=0.75)}
FEW["top-2"] = replace(ROUTINGS["top-2"], capacity_factor_training=0.75)
POOLS = {kind: replace(switch, encoder_pooled_groups=POOLED) for kind, switch in FEW.items()}


@pytest.mark.parametrize("kind", POOLS)
def test_a_pool_drops_what_one_group_of_its_tokens_would(kind):
    """One group equals loops in `test_switch_layer.py`. Losses are still those of small groups."""
    switches = POOLS[kind], replace(FEW[kind], encoder_group_tokens=GROUP * POOLED), FEW[kind]
    routings = [switch.routing(decoder=False, training=True) for switch in switches]

    @jax.jit
    def run(layer, x, real):
        return [layer(x, real, routing, key=KEY, mesh=mesh_of()) for routing in routings]

    (y, routed), (whole_y, whole), (_, small) = run(layer(), *tokens())
    np.testing.assert_array_equal(routed.kept, whole.kept)
    np.testing.assert_allclose(y, whole_y, atol=1e-6)
    assert not np.array_equal(routed.kept, small.kept)
    assert 0.1 < 1 - routed.kept[tokens()[1]].mean() < 0.5
    for loss in ("balance_loss", "z_loss"):
        np.testing.assert_allclose(getattr(routed, loss), getattr(small, loss), rtol=1e-6)
    slots = BATCH * LENGTH // (GROUP * POOLED) * EXPERTS * routings[0].capacity
    assert routed.expert_slots.sum() == slots


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        pytest.param("top-1", MeshShape(expert=8), marks=pytest.mark.slow),
        pytest.param("top-2", MeshShape(expert=4), marks=pytest.mark.slow),
        pytest.param("top-1", MeshShape(data=2, expert=4), marks=pytest.mark.slow),
        ("top-1", EIGHT),
        ("top-2", MeshShape(data=2, expert=4, slices=4, expert_slices=2)),
    ],
    ids=str,
)
def test_devices_do_not_matter(kind, shape):
    """With noise: assignments, values, gradients."""
    switch = replace(POOLS[kind], jitter=0.1, expert_dropout=0.3)
    (_, (y, routed)), slopes = jax.jit(with_gradients(mesh_of(shape), switch))(layer(), *tokens())
    single = jax.jit(with_gradients(mesh_of(), switch))(layer(), *tokens())
    (_, (single_y, single_routed)), single_slopes = single
    for name in ("expert_index", "kept", "expert_slots"):
        np.testing.assert_array_equal(getattr(routed, name), getattr(single_routed, name))
    np.testing.assert_allclose(y, single_y, atol=1e-5)
    assert_close(routed, single_routed, atol=1e-5)
    assert_close(slopes, single_slopes, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(("gradient", "exchanges"), [(False, 2), (True, 4)])
def test_two_exchanges_each_way_and_two_of_counts(gradient, exchanges):
    """Read off the program for TPUs; XLA:CPU lacks the operation."""
    routing = POOLS["top-1"].routing(decoder=False, training=True)
    mesh = mesh_of(MeshShape(expert=8))
    x, real = tokens()

    def loss(layer, x):
        return jnp.sum(layer(x, real, routing, key=KEY, mesh=mesh)[0] ** 2)

    function = jax.grad(loss, argnums=(0, 1)) if gradient else loss
    traced = jax.jit(function).trace(layer(), x)
    program = traced.lower(lowering_platforms=("tpu",)).as_text()
    assert program.count("@ragged_all_to_all(") == exchanges
    assert program.count('"stablehlo.all_to_all"') == 2
