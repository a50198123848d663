"""Adafactor and AdamW against slow ones, matrix by matrix; learning-rate schedules."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_networks import drawn

from model.config import ModelConfig, SwitchConfig
from model.configuration_checks import ConfigurationError
from model.dimensions import dimension_names, is_names
from model.optimizer import OptimizerConfig, adafactor, adamw, learning_rate, make_optimizer
from model.per_matrix import MatrixStack, matrix_stacks, per_matrix
from model.rate import RateFrom
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
        scale = max(1e-3, np.sqrt(np.mean(parameter**2)))
        parameter -= rate * scale * update
    return parameter


def moved_by(optimizer, parameter, gradients):
    """The parameter after one step per gradient."""

    @jax.jit
    def step(moved, state, gradient):
        updates, state = optimizer.update(gradient, state, moved)
        return optax.apply_updates(moved, updates), state

    moved, state = jnp.array(parameter), jax.jit(optimizer.init)(parameter)
    for gradient in gradients:
        moved, state = step(moved, state, jnp.array(gradient))
    return moved


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 128, 130)])
def test_equals_a_slow_adafactor_of_every_matrix(shape):
    generator = np.random.default_rng(0)
    scales = np.array([[1.0, 1e-2, 1e-4], [10.0, 0.1, 1e-3]])[:, :, None, None]
    parameter = (generator.normal(size=shape) * scales).astype(np.float32)
    gradients = [(generator.normal(size=shape) / scales).astype(np.float32) for _ in range(4)]
    inner = optax.chain(adafactor(), optax.scale_by_learning_rate(0.01))
    optimizer = per_matrix(inner, MatrixStack(2, shape))
    moved = moved_by(optimizer, parameter, gradients)
    for block in range(2):
        for expert in range(3):
            expected = slow_adafactor(
                [gradient[block, expert] for gradient in gradients], parameter[block, expert], 0.01
            )
            smallest = 1e-6 * np.abs(expected).max()  # float32 of a difference of near numbers
            np.testing.assert_allclose(moved[block, expert], expected, rtol=2e-5, atol=smallest)


def test_the_whole_chain_knows_which_dimensions_are_stacks():
    """Of a real model: every leaf moves as the slow Adafactor of its matrices does."""
    switch = SwitchConfig(experts=3, every=2, encoder_group_tokens=8, decoder_group_tokens=8)
    config = ModelConfig(
        vocabulary_rows=128, embed=8, heads=2, head=4, mlp=12, layers=4, switch=switch
    )
    arrays, _ = eqx.partition(drawn(config), eqx.is_array)
    optimizer = make_optimizer(OptimizerConfig(), arrays)
    gradients = jax.tree.map(
        lambda leaf: np.cos(np.arange(leaf.size, dtype=np.float32)).reshape(leaf.shape), arrays
    )
    updates, _ = jax.jit(
        lambda gradients, arrays: optimizer.update(gradients, optimizer.init(arrays), arrays)
    )(gradients, arrays)
    names = jax.tree.leaves(dimension_names(arrays), is_leaf=is_names)
    for leaf, gradient, update, dimensions in zip(
        *(jax.tree.leaves(tree) for tree in (arrays, gradients, updates)), names, strict=True
    ):
        experts = dimensions[:2] == (
            "blocks",
            "experts",
        )  # a router's last dimension is not a stack
        stacks = 2 if experts else int(dimensions[0] == "blocks")
        flat = (-1, *leaf.shape[stacks:])
        for matrix, slope, moved in zip(
            *(np.asarray(tree).reshape(flat) for tree in (leaf, gradient, update)), strict=True
        ):
            expected = slow_adafactor([slope], matrix, 0.1) - matrix
            np.testing.assert_allclose(-0.1 * moved, expected, rtol=1e-3, atol=1e-7)


def test_the_recipes_weight_decay_shrinks_matrices_and_spares_norms():
    """With gradients of zero AdamW only decays."""
    config = ModelConfig(vocabulary_rows=128, embed=8, heads=2, head=4, mlp=12, layers=1)
    arrays, _ = eqx.partition(drawn(config), eqx.is_array)
    optimizer = make_optimizer(OptimizerConfig(rule="adamw", weight_decay=0.1), arrays)
    zeros = jax.tree.map(jnp.zeros_like, arrays)
    updates, _ = jax.jit(lambda: optimizer.update(zeros, optimizer.init(arrays), arrays))()
    decayed = updates.encoder.blocks[0].feed_forward.up, arrays.encoder.blocks[0].feed_forward.up
    np.testing.assert_allclose(decayed[0], 0.1 * decayed[1], rtol=1e-6)
    np.testing.assert_array_equal(updates.encoder.final_norm.scale, 0)


def test_attention_is_a_matrix_to_the_optimizer():
    """Heads and their width are one dimension, as in T5: 64 alone would be too short to factor."""
    config = ModelConfig(vocabulary_rows=128, embed=128, heads=2, head=64, mlp=128, layers=1)
    shapes = transformer_shapes(config)
    attention = matrix_stacks(shapes).encoder.blocks[0].self_attention
    assert attention.query == MatrixStack(1, (1, 128, 128))
    assert attention.output == MatrixStack(1, (1, 128, 128))
    parameter = jax.random.normal(jax.random.key(1), (1, 128, 2, 64))
    optimizer = per_matrix(optax.scale_by_factored_rms(decay_rate=0.8), attention.query)
    gradient = jax.random.normal(jax.random.key(2), parameter.shape)
    moved, _ = jax.jit(
        lambda gradient: optimizer.update(gradient, optimizer.init(parameter), parameter)
    )(gradient)
    squared = np.square(np.asarray(gradient[0]).reshape(128, 128))
    second = np.outer(squared.mean(1), squared.mean(0)) / squared.mean()
    expected = np.asarray(gradient[0]).reshape(128, 128) / np.sqrt(second)
    np.testing.assert_allclose(moved[0].reshape(128, 128), expected, rtol=1e-4)


def test_a_router_is_one_matrix_to_the_optimizer():
    """Its experts are its columns: each embedding dimension alone would be clipped by itself."""
    config = ModelConfig(
        vocabulary_rows=128, embed=24, heads=2, head=16, mlp=32, layers=1, switch=SwitchConfig(
            experts=8, every=1, encoder_group_tokens=8, decoder_group_tokens=8
        )
    )  # fmt: skip
    shapes = transformer_shapes(config)
    switch = matrix_stacks(shapes).encoder.blocks[0].feed_forward
    assert switch.router == MatrixStack(1, (1, 24, 8))
    assert switch.up == MatrixStack(2, (1, 8, 24, 32))


def test_t5s_schedule():
    rate = learning_rate(OptimizerConfig(), steps=1_000_000)
    assert rate(0) == pytest.approx(0.01)
    assert rate(10_000) == pytest.approx(0.01)
    assert rate(1_000_000 - 1) == pytest.approx(1e-3, rel=1e-3)


def test_a_later_rate_holds_from_its_step_on():
    later = RateFrom(step=7, scale=0.5, hold_steps=9), RateFrom(step=18, decay_from=0.5)
    rate = learning_rate(OptimizerConfig(rate_from=later), 20)
    expected = {
        0: 0.01,
        6: 0.01,
        7: 0.5 / 3,
        9: 0.5 / 3,
        16: 0.5 / 4,
        17: 0.5 / 17**0.5,
        18: 0.01 * 2 / 10,
        19: 0.01 * 1 / 10,
    }
    assert {step: float(rate(step)) for step in expected} == pytest.approx(expected)


def test_the_decay_ends_at_zero_and_never_rises():
    rate = learning_rate(OptimizerConfig(hold_steps=100, decay_from=0.5), steps=1000)
    rates = np.asarray(jax.vmap(rate)(jnp.arange(1001)))
    assert (np.diff(rates) <= 1e-9).all()
    assert rates[-1] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decay_from": 2.0}, "decay_from"),
        ({"weight_decay": 0.1}, "set optimizer.rule=adamw"),
        ({"largest_gradient_norm": 0.0}, "positive"),
    ],
)
def test_unusable_settings(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        OptimizerConfig(**settings)


def slow_adamw(gradients, parameter, rate, weight_decay):
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


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 5)], ids=["matrices", "vectors"])
def test_adamw_equals_a_slow_adamw(shape):
    generator = np.random.default_rng(0)
    parameter = generator.normal(size=shape).astype(np.float32)
    gradients = [generator.normal(size=shape).astype(np.float32) for _ in range(4)]
    inner = optax.chain(adamw(0.1), optax.scale_by_learning_rate(0.01))
    optimizer = per_matrix(inner, MatrixStack(2, shape))
    moved = moved_by(optimizer, parameter, gradients)
    for place in np.ndindex(2, 3):
        expected = slow_adamw([g[place] for g in gradients], parameter[place], 0.01, 0.1)
        np.testing.assert_allclose(moved[place], expected, rtol=1e-5, atol=1e-6)


def test_warming_up_rises_to_the_rate():
    rate = learning_rate(OptimizerConfig(hold_steps=100, warm_up_steps=10), steps=1000)
    assert [float(rate(step)) for step in (0, 4, 9, 50)] == pytest.approx([0.01, 0.05, 0.1, 0.1])


def test_the_rate_of_the_longest_run_is_exact_to_float32():
    steps = 2**31 - 1
    rate = learning_rate(OptimizerConfig(decay_from=0.5), steps=steps)
    for step in (0, 2**24 + 1, 2**30, 3 * 2**29, steps - 1):
        expected = min(2 * (steps - step) / steps, 1) / max(step, 10_000) ** 0.5
        assert float(rate(jnp.int32(step))) == pytest.approx(expected, rel=1e-5, abs=1e-11)
