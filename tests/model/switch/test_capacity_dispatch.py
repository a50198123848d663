"""Positions in experts' buffers; the worked example of `model/switch/__init__.py`."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import model.switch
from model.switch.capacity_dispatch import buffer_tokens, position_in_expert
from model.switch.routing import route


def test_positions_follow_the_order_of_tokens():
    expert_index = jnp.array([[2], [0], [2], [2], [0]])
    position = position_in_expert(expert_index, experts=4)
    assert position.T.tolist() == [[0, 0, 1, 2, 1]]
    table = buffer_tokens(expert_index, position, experts=4, capacity=2)
    assert table.tolist() == [[1, 4], [5, 5], [0, 2], [5, 5]]


def test_all_top_1_assignments_go_before_top_2():
    expert_index = jnp.array([[0, 1], [1, 0], [0, 1]])
    position = position_in_expert(expert_index, experts=2)
    assert position.tolist() == [[0, 1], [0, 2], [1, 2]]
    table = buffer_tokens(expert_index, position, experts=2, capacity=2)
    assert table.tolist() == [[0, 2], [1, 0]]


def test_padding_takes_no_position():
    padding = 4
    expert_index = jnp.array([[1], [padding], [1], [1]])
    position = position_in_expert(expert_index, experts=4)
    table = buffer_tokens(expert_index, position, experts=4, capacity=2)
    assert table[1].tolist() == [0, 2]


@pytest.mark.parametrize("capacity", [1, 3, 10])
@pytest.mark.parametrize(("tokens", "top_k", "experts"), [(1, 1, 2), (40, 1, 5), (40, 2, 5)])
def test_every_kept_assignment_has_a_slot_for_itself(tokens, top_k, experts, capacity):
    generator = np.random.default_rng(0)
    draws = 50
    ranked = np.argsort(generator.random((draws, tokens, experts)), axis=2)[:, :, :top_k]
    real = generator.random((draws, tokens)) < 0.8
    expert_index = np.where(real[..., None], ranked, experts)

    @jax.jit
    @jax.vmap
    def positions_and_buffers(expert_index):
        position = position_in_expert(expert_index, experts)
        return position, buffer_tokens(expert_index, position, experts, capacity)

    positions, tables = map(np.asarray, positions_and_buffers(jnp.array(expert_index)))
    kept = (positions < capacity) & real[..., None]
    for draw, expert in np.ndindex(draws, experts):
        expected = np.flatnonzero((kept[draw] & (ranked[draw] == expert)).any(axis=1))
        table = tables[draw, expert]
        assert sorted(table[table < tokens].tolist()) == expected.tolist()
        load = (expert_index[draw] == expert).sum()
        assert (kept[draw] & (ranked[draw] == expert)).sum() == min(load, capacity)


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
    position = position_in_expert(routed.expert_index, experts)
    assert position[:, 0].tolist() == [int(number) for number in row("position_in_expert")]
    kept = [int(number) for number in row("kept")]
    assert (position[:, 0] < capacity).astype(int).tolist() == kept
    table = np.asarray(buffer_tokens(routed.expert_index, position, experts, capacity)).tolist()
    for expert, tokens in enumerate(table):
        assert [str(token) for token in tokens if token < 6] == row(f"expert {expert}")
    assert f"= {float(routed.balance_loss):.3f}:" in text
