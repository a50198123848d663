"""Gates and balance loss; counted margins and their quantiles against loops and sorted numbers.

`test_switch_layer.py` compares gates and losses with loops over tokens.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.switch.routing import (
    BINS,
    SIDE,
    WIDTH,
    batch_balance_loss,
    margin_counts,
    margin_quantile,
    route,
)

GROUPS, TOKENS, EXPERTS, TOP_K = 3, 50, 6, 2
REACH = SIDE * WIDTH


@pytest.fixture
def drawn():
    """Scores, chosen experts, and which tokens are real; some margins are beyond the reach."""
    draw = np.random.default_rng(0)
    scores = draw.normal(scale=3, size=(GROUPS, TOKENS, EXPERTS)).astype(np.float32)
    index = np.argsort(-scores, axis=-1)[..., :TOP_K]
    return tuple(jnp.asarray(one) for one in (scores, index, draw.random((GROUPS, TOKENS)) < 0.8))


def margins_of(scores, is_token):
    """The margins of real tokens, per expert, one at a time."""
    found = [[] for _ in range(EXPERTS)]
    tokens = np.asarray(scores).reshape(-1, EXPERTS).tolist()
    for token, real in zip(tokens, np.ravel(is_token), strict=True):
        if real:
            next_best = sorted(token, reverse=True)[TOP_K]
            for expert, score in enumerate(token):
                found[expert].append(score - next_best)
    return found


def test_margins_are_counted_as_by_loops(drawn):
    scores, _, is_token = drawn
    expected = np.zeros((EXPERTS, BINS), int)
    for expert, margins in enumerate(margins_of(scores, is_token)):
        for margin in margins:
            at = math.floor(margin / WIDTH)
            at = SIDE if margin == 0 else SIDE + 1 + at if margin > 0 else SIDE + at
            expected[expert, min(max(at, 0), BINS - 1)] += 1
    np.testing.assert_array_equal(jax.jit(margin_counts)(*drawn), expected)


@pytest.mark.parametrize("share", [1 / 3, 0.1, 0.9])
def test_a_share_exceeds_its_margin_to_the_width_of_a_bin(drawn, share):
    scores, index, is_token = drawn
    found = margin_quantile(share, margin_counts(scores, index, is_token))
    for expert, margins in enumerate(margins_of(scores, is_token)):
        inside = np.clip(np.sort(margins), -REACH, REACH)
        count = math.ceil((1 - share) * len(inside))
        between = inside[count - 1], inside[min(count, len(inside) - 1)]
        assert between[0] - WIDTH <= found[expert] <= between[1] + WIDTH


def test_without_tokens_all_experts_are_alike():
    nothing = margin_quantile(0.25, jnp.zeros((4, BINS), jnp.int32))
    np.testing.assert_array_equal(nothing, np.full(4, -REACH))


def test_gates_are_finite_where_biases_choose_experts_without_probability():
    logits = jnp.array([[0.0, -110.0, -112.0, -300.0]])
    bias = jnp.array([-150.0, 0.0, 0.0, 0.0])

    def gates(logits):
        found = route(logits, jnp.ones(1, bool), 2, bias)
        return found.gate[0, 0], found

    (_, found), slope = jax.value_and_grad(gates, has_aux=True)(logits)
    assert found.expert_index.tolist() == [[1, 2]]
    np.testing.assert_allclose(found.gate, [[1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))]], rtol=1e-6)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize(("experts", "loss"), [([0, 1, 2, 3] * 2, 1.0), ([1] * 8, 4.0)])
def test_balance_loss_is_one_when_even_and_experts_when_collapsed(experts, loss):
    logits = 500.0 * jax.nn.one_hot(jnp.array(experts), 4)
    assert route(logits, jnp.ones(8, bool), 1).balance_loss == pytest.approx(loss, abs=1e-6)


def test_the_batchs_balance_loss_is_a_loop_over_experts():
    """Two layers; assignments of 40 tokens with two experts each, and their probabilities."""
    draw = np.random.default_rng(0)
    load, probability = draw.multinomial(80, [0.4, 0.3, 0.2, 0.1], 2), draw.random((2, 4))
    expected = [
        4 * sum(count / 80 * mean for count, mean in zip(*layer, strict=True))
        for layer in zip(load, probability, strict=True)
    ]
    found = batch_balance_loss(jnp.asarray(load), jnp.asarray(probability))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert batch_balance_loss(jnp.zeros(4, int), jnp.zeros(4)) == 0
