import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.routing import balance_loss, expert_capacity, route, token_of_slot


def logits_for(experts_of_tokens, experts=4):
    return 5.0 * jax.nn.one_hot(jnp.array(experts_of_tokens), experts)


def test_slots_are_taken_in_order_of_position():
    routed = route(logits_for([2, 0, 2, 2, 0]), jnp.ones(5, bool), capacity=2)
    assert routed.expert.tolist() == [2, 0, 2, 2, 0]
    assert routed.slot.tolist() == [0, 0, 1, 2, 1]
    assert routed.kept.tolist() == [True, True, True, False, True]
    assert routed.gate[3] == 0
    assert token_of_slot(routed, experts=4, capacity=2).tolist() == [[1, 4], [5, 5], [0, 2], [5, 5]]


def test_padding_takes_no_slot():
    is_token = jnp.array([True, False, True, True])
    routed = route(logits_for([1, 1, 1, 1]), is_token, capacity=2)
    assert routed.kept.tolist() == [True, False, True, False]
    assert token_of_slot(routed, experts=4, capacity=2)[1].tolist() == [0, 2]


# Few shapes, many seeds: each new shape is compiled.
@given(st.sampled_from([1, 40]), st.sampled_from([1, 5]), st.integers(1, 10), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_every_kept_token_has_a_slot_of_its_own(tokens, experts, capacity, seed):
    generator = np.random.default_rng(seed)
    logits = jnp.array(generator.normal(size=(tokens, experts)), jnp.float32)
    is_token = jnp.array(generator.random(tokens) < 0.8)
    routed = route(logits, is_token, capacity)
    table = np.array(token_of_slot(routed, experts, capacity))
    filled = sorted(table[table < tokens].tolist())
    assert filled == np.flatnonzero(np.array(routed.kept)).tolist()
    wanted = np.bincount(np.array(routed.expert)[np.array(is_token)], minlength=experts)
    assert len(filled) == np.minimum(wanted, capacity).sum()


def test_balance_loss_is_one_when_even_and_experts_when_collapsed():
    real = jnp.ones(8, bool)
    even = route(logits_for([0, 1, 2, 3] * 2), real, 8).balance_loss
    collapsed = route(100 * logits_for([1] * 8), real, 8).balance_loss
    assert even == pytest.approx(1.0, abs=1e-6)
    assert collapsed == pytest.approx(4.0, abs=1e-6)


def test_balance_loss_ignores_padding():
    logits = jnp.concatenate([logits_for([0, 1, 2, 3]), logits_for([1] * 4)])
    half = jnp.arange(8) < 4
    whole = route(logits[:4], jnp.ones(4, bool), 4).balance_loss
    assert route(logits, half, 4).balance_loss == pytest.approx(float(whole), abs=1e-6)
    assert route(logits, jnp.zeros(8, bool), 4).balance_loss == 0


def test_balance_loss_pushes_away_from_a_crowded_expert():
    logits = logits_for([1, 1, 1, 0])

    def loss(logits):
        probabilities = jax.nn.softmax(logits)
        chosen = jax.nn.one_hot(jnp.argmax(logits, -1), 4, dtype=jnp.int32)
        return balance_loss(probabilities, chosen, jnp.ones(4, bool))

    slope = jax.grad(loss)(logits).sum(axis=0)
    assert slope[1] > 0
    assert (slope[2:] <= 0).all()


@pytest.mark.parametrize(
    ("tokens", "experts", "factor", "minimum", "capacity"),
    [
        (8192, 128, 1.25, 4, 80),  # released Switch-Base, a training group
        (8192, 128, 2.0, 4, 128),
        (2048, 2048, 1.0, 2, 2),  # released Switch-C: its minimum counts
        (16, 8, 1.25, 4, 4),
        (2, 8, 1.25, 4, 2),  # never more than there are tokens
    ],
)
def test_capacity(tokens, experts, factor, minimum, capacity):
    assert expert_capacity(tokens, experts, factor, minimum) == capacity
