"""Adafactor and AdamW against slow ones, matrix by matrix; learning-rate schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_networks import drawn, sized

from model.config import OptimizerConfig, RateFrom, SwitchConfig
from model.optimizer import (
    MatrixStack,
    adafactor,
    adamw,
    learning_rate,
    make_optimizer,
    matrix_stacks,
    per_matrix,
)
from model.sharding.layouts import dimension_names, is_names
from model.transformer import transformer_shapes


def slow_adafactor(gradients, parameter, rate):
    """Adafactor of one matrix (Shazeer and Stern 2018, algorithm 4; no momentum), in float64."""
    parameter = parameter.astype(np.float64).copy()
    factored = parameter.ndim >= 2 and sorted(parameter.shape)[-2] >= 128
    row = np.zeros(parameter.shape[:-1])
    column = np.zeros(parameter.shape[:-2] + parameter.shape[-1:]) if parameter.ndim > 1 else 0
    second = np.zeros(parameter.shape)
    for step, gradient in enumerate(gradients, 1):
        decay = 1 - step**-0.8
        squared = gradient.astype(np.float64) ** 2 + 1e-30
        if factored:
            row = decay * row + (1 - decay) * squared.mean(-1)
            column = decay * column + (1 - decay) * squared.mean(-2)
            second = row[..., None] * column[..., None, :] / row.mean(-1, keepdims=True)[..., None]
        else:
            second = decay * second + (1 - decay) * squared
        update = gradient / np.sqrt(second)
        update /= max(1.0, np.sqrt(np.mean(update**2)))
        parameter -= rate * max(1e-3, np.sqrt(np.mean(parameter**2))) * update
    return parameter


def slow_adamw(gradients, parameter, rate, weight_decay=0.1):
    """AdamW of one array (Loshchilov and Hutter 2019, algorithm 2), in float64."""
    parameter = parameter.astype(np.float64).copy()
    first, second = np.zeros_like(parameter), np.zeros_like(parameter)
    for step, gradient in enumerate(gradients, 1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient.astype(np.float64) ** 2
        update = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        decay = weight_decay if parameter.ndim > 1 else 0.0
        parameter -= rate * (update + decay * parameter)
    return parameter


@pytest.mark.parametrize(
    ("rule", "slow", "shape"),
    [
        (adafactor(), slow_adafactor, (2, 3, 4, 5)),
        (adafactor(), slow_adafactor, (2, 3, 128, 130)),
        (adamw(0.1), slow_adamw, (2, 3, 4, 5)),
        (adamw(0.1), slow_adamw, (2, 3, 5)),  # vectors do not decay
    ],
)
def test_four_steps_equal_a_slow_rule_of_every_matrix(rule, slow, shape):
    """Matrices whose sizes and gradients differ by orders of magnitude."""
    generator = np.random.default_rng(0)
    scales = np.array([[1.0, 1e-2, 1e-4], [10.0, 0.1, 1e-3]])
    scales = scales.reshape(2, 3, *(1 for _ in shape[2:]))
    parameter = (generator.normal(size=shape) * scales).astype(np.float32)
    gradients = [(generator.normal(size=shape) / scales).astype(np.float32) for _ in range(4)]
    inner = optax.chain(rule, optax.scale_by_learning_rate(0.01))
    optimizer = per_matrix(inner, MatrixStack(2, shape))

    @jax.jit
    def step(moved, state, gradient):
        updates, state = optimizer.update(gradient, state, moved)
        return optax.apply_updates(moved, updates), state

    moved, state = jnp.array(parameter), jax.jit(optimizer.init)(parameter)
    for gradient in gradients:
        moved, state = step(moved, state, jnp.array(gradient))
    for place in np.ndindex(2, 3):
        expected = slow([gradient[place] for gradient in gradients], parameter[place], 0.01)
        smallest = 1e-6 * np.abs(expected).max()  # float32 of a difference of near numbers
        np.testing.assert_allclose(moved[place], expected, rtol=2e-5, atol=smallest)


def first_updates(optimizer, gradients, arrays):
    run = jax.jit(lambda *given: optimizer.update(given[0], optimizer.init(given[1]), given[1])[0])
    return run(gradients, arrays)


def test_the_whole_chain_knows_which_dimensions_are_stacks():
    """Of a real model: every leaf moves as the slow Adafactor of its matrices does."""
    switch = SwitchConfig(experts=3, every=2, encoder_group_tokens=8, decoder_group_tokens=8)
    arrays = drawn(sized(embed=8, head=4, mlp=12, layers=4, switch=switch))
    gradients = jax.tree.map(
        lambda leaf: np.cos(np.arange(leaf.size, dtype=np.float32)).reshape(leaf.shape), arrays
    )
    updates = first_updates(make_optimizer(OptimizerConfig(), arrays), gradients, arrays)
    names = jax.tree.leaves(dimension_names(arrays), is_leaf=is_names)
    trees = (jax.tree.leaves(tree) for tree in (arrays, gradients, updates))
    for *leaves, dimensions in zip(*trees, names, strict=True):
        experts = dimensions[:2] == ("blocks", "experts")  # a router's last one is not a stack
        stacks = 2 if experts else int(dimensions[0] == "blocks")
        matrices = (np.asarray(leaf).reshape(-1, *leaf.shape[stacks:]) for leaf in leaves)
        for matrix, slope, moved in zip(*matrices, strict=True):
            expected = slow_adafactor([slope], matrix, 0.1) - matrix
            np.testing.assert_allclose(-0.1 * moved, expected, rtol=1e-3, atol=1e-7)


def test_the_recipes_weight_decay_shrinks_matrices_and_spares_norms():
    """With gradients of zero AdamW only decays."""
    arrays = drawn(sized(layers=1))
    optimizer = make_optimizer(OptimizerConfig(rule="adamw", weight_decay=0.1), arrays)
    updates = first_updates(optimizer, jax.tree.map(jnp.zeros_like, arrays), arrays).encoder
    up = arrays.encoder.blocks[0].feed_forward.up
    np.testing.assert_allclose(updates.blocks[0].feed_forward.up, 0.1 * up, rtol=1e-6)
    np.testing.assert_array_equal(updates.final_norm.scale, 0)


def test_attention_and_a_router_are_one_matrix_each_to_the_optimizer():
    """Heads and their width are one dimension, as in T5: 64 alone would be too short to factor."""
    switch = SwitchConfig(experts=8, every=1, encoder_group_tokens=8, decoder_group_tokens=8)
    config = sized(embed=128, head=64, mlp=32, layers=1, switch=switch)
    block = matrix_stacks(transformer_shapes(config)).encoder.blocks[0]
    assert block.self_attention.query == MatrixStack(1, (1, 128, 128))
    assert block.self_attention.output == MatrixStack(1, (1, 128, 128))
    assert block.feed_forward.router == MatrixStack(1, (1, 128, 8))  # each expert is a column
    assert block.feed_forward.up == MatrixStack(2, (1, 8, 128, 32))
    optimizer = per_matrix(adafactor(), block.self_attention.query)
    parameter, gradient = (
        np.random.default_rng(0).normal(size=(2, 1, 128, 2, 64)).astype(np.float32)
    )
    moved = first_updates(optimizer, jnp.array(gradient), jnp.array(parameter))
    matrix, slope = parameter.reshape(128, 128), gradient.reshape(128, 128)
    expected = slow_adafactor([slope], matrix, 0.1) - matrix
    np.testing.assert_allclose(-0.1 * moved.reshape(128, 128), expected, rtol=1e-3, atol=1e-7)


LATER = RateFrom(step=7, scale=0.5, hold_steps=9), RateFrom(step=18, decay_from=0.5)


@pytest.mark.parametrize(
    ("settings", "steps", "expected"),
    [
        ({}, 1_000_000, {0: 0.01, 10_000: 0.01, 999_999: 1e-3}),  # T5's
        ({"hold_steps": 100, "warm_up_steps": 10}, 1000, {0: 0.01, 4: 0.05, 9: 0.1, 50: 0.1}),
        (
            {"rate_from": LATER},
            20,
            {0: 0.01, 6: 0.01, 7: 0.5 / 3, 9: 0.5 / 3, 16: 0.5 / 4, 17: 0.5 / 17**0.5}
            | {18: 0.01 * 2 / 10, 19: 0.01 * 1 / 10},
        ),
    ],
)
def test_rates_at_single_steps(settings, steps, expected):
    rate = learning_rate(OptimizerConfig(**settings), steps)
    assert {step: float(rate(step)) for step in expected} == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("steps", [1000, 2**31 - 1])
def test_a_rate_that_decays_is_exact_to_float32_and_ends_at_zero(steps):
    """Also at the last steps of the longest run, whose numbers float32 rounds."""
    rate = learning_rate(OptimizerConfig(hold_steps=100, decay_from=0.5), steps)
    for step in (0, steps // 128 + 1, steps // 2, 3 * steps // 4, steps - 1, steps):
        expected = min(2 * (steps - step) / steps, 1) / max(step, 100) ** 0.5
        assert float(rate(jnp.uint32(step))) == pytest.approx(expected, rel=1e-5, abs=1e-9)
