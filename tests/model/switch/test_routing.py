"""Gates, balance loss and z-loss of one group."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.switch import routing
from model.switch.routing import balance_loss, batch_balance_loss

route = functools.partial(jax.jit, static_argnums=2)(routing.route)


def logits_for(experts_of_tokens, experts=4):
    return 5.0 * jax.nn.one_hot(jnp.array(experts_of_tokens), experts)


def test_top_1_has_its_probability_as_gate_and_top_2_gates_sum_to_one():
    logits = jnp.log(jnp.array([[0.5, 0.2, 0.3]]))
    real = jnp.ones(1, bool)
    one, two = route(logits, real, 1), route(logits, real, 2)
    np.testing.assert_allclose(one.gate, [[0.5]], rtol=1e-6)
    np.testing.assert_allclose(two.gate, [[0.625, 0.375]], rtol=1e-6)
    assert two.expert_index.tolist() == [[0, 2]]


def test_gates_are_finite_where_biases_choose_experts_without_probability():
    logits = jnp.array([[0.0, -110.0, -112.0, -300.0]])
    bias = jnp.array([-150.0, 0.0, 0.0, 0.0])

    def gates(logits):
        found = routing.route(logits, jnp.ones(1, bool), 2, bias)
        return found.gate[0, 0], found

    (_, found), slope = jax.value_and_grad(gates, has_aux=True)(logits)
    assert found.expert_index.tolist() == [[1, 2]]
    np.testing.assert_allclose(found.gate, [[1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))]], rtol=1e-6)
    assert np.isfinite(slope).all()


def test_balance_loss_is_one_when_even_and_experts_when_collapsed():
    real = jnp.ones(8, bool)
    even = route(logits_for([0, 1, 2, 3] * 2), real, 1).balance_loss
    collapsed = route(100 * logits_for([1] * 8), real, 1).balance_loss
    assert even == pytest.approx(1.0, abs=1e-6)
    assert collapsed == pytest.approx(4.0, abs=1e-6)


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


def test_losses_ignore_padding():
    logits = jnp.concatenate([logits_for([0, 1, 2, 3]), 2 * logits_for([1] * 4)])
    padded, whole = route(logits, jnp.arange(8) < 4, 1), route(logits[:4], jnp.ones(4, bool), 1)
    nothing = route(logits, jnp.zeros(8, bool), 1)
    for name in ("balance_loss", "z_loss"):
        assert getattr(padded, name) == pytest.approx(float(getattr(whole, name)), abs=1e-6)
        assert getattr(nothing, name) == 0


def test_z_loss_of_one_large_logit_is_its_square():
    logits = jnp.array([[30.0, 0.0], [0.0, 40.0]])
    assert route(logits, jnp.ones(2, bool), 1).z_loss == pytest.approx(1250.0)


def test_balance_loss_pushes_away_from_a_crowded_expert():
    logits = logits_for([1, 1, 1, 0])

    @jax.jit
    @jax.grad
    def slope_of(logits):
        probabilities = jax.nn.softmax(logits)
        return balance_loss(probabilities, jnp.argmax(logits, -1)[:, None], jnp.ones(4, bool))

    slope = slope_of(logits).sum(axis=0)
    assert slope[1] > 0
    assert (slope[2:] <= 0).all()
