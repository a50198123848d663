"""Positions in experts' buffers; the worked example of `model/switch/__init__.py`."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import model.switch
from model.switch.capacity_dispatch import assign_slots, gather_rows
from model.switch.routing import route


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
    for expert, tokens in enumerate(slots.assignment.tolist()):
        assert [str(token) for token in tokens if token < 6] == row(f"expert {expert}")
    assert f"= {float(routed.balance_loss):.3f}:" in text
