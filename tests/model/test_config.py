"""Sizes that fit together, capacity, and FLOPs as the compiler counts them."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from small_networks import mesh_of

from model.batch import Batch
from model.call import Call
from model.config import ModelConfig, SwitchConfig, expert_capacity
from model.configuration_checks import ConfigurationError
from model.flops import forward_flops
from model.transformer import transformer_shapes


def switch(**changes):
    sizes = {"experts": 4, "every": 1, "encoder_group_tokens": 64, "decoder_group_tokens": 16}
    return SwitchConfig(**(sizes | changes))


@pytest.mark.parametrize(
    ("tokens", "experts", "factor", "minimum", "capacity"),
    [
        (8192, 128, 1.25, 4, 80),  # released Switch-Base, a training group
        (8192, 128, 2.0, 4, 128),
        (2048, 2048, 1.0, 2, 2),  # released Switch-C: its minimum counts
        (16, 8, 1.25, 4, 4),
        (2, 8, 1.25, 4, 2),  # never more than there are tokens
        (16, 8, 1e308, 4, 16),
    ],
)
def test_capacity(tokens, experts, factor, minimum, capacity):
    assert expert_capacity(tokens, experts, factor, minimum) == capacity


def test_stacks_have_groups_and_training_has_noise_of_its_own():
    config = switch(choices=2, jitter=0.1, expert_dropout=0.4)
    training = config.routing(decoder=False, training=True)
    evaluation = config.routing(decoder=True, training=False)
    assert (training.group_tokens, training.capacity) == (64, 40)  # 64 * 2 / 4 * 1.25
    assert (evaluation.group_tokens, evaluation.capacity) == (16, 16)
    assert (training.jitter, training.expert_dropout) == (0.1, 0.4)
    assert (evaluation.jitter, evaluation.expert_dropout) == (0, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choices": 5}, "5 of 4"),
        ({"choices": 0}, "choices was 0"),
        ({"expert_dropout": 1.0}, "below 1"),
        ({"router_scale": 0.0}, "router_scale was 0"),
        ({"expert_output_scale": 0.0}, "expert_output_scale was 0"),
        ({"bias_rate": -0.1}, "bias_rate was -0.1"),
        ({"quantile_rate": 1.5}, "quantile_rate was 1.5"),
        ({"bias_rate": 0.1, "quantile_rate": 1.0}, "follow one rule"),
        ({"quantile_rate": 1.0, "choices": 4}, "nothing to balance"),
        ({"shared_mlp": -1}, "shared_mlp was -1"),
    ],
)
def test_unusable_routing(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        switch(**changes)


CONFIG = ModelConfig(
    vocabulary_rows=1024,
    embed=64,
    heads=4,
    head=16,
    mlp=128,
    layers=1,
    activation_dtype="float32",
)


def test_layers_that_do_not_divide():
    with pytest.raises(ConfigurationError, match="multiple"):
        dataclasses.replace(CONFIG, layers=3, switch=switch(every=2))


def test_a_shared_expert_counts_as_a_wider_feed_forward():
    """As every token goes through both."""
    beside = dataclasses.replace(CONFIG, mlp=96, switch=switch(shared_mlp=32))
    assert forward_flops(beside, 64, 32) == forward_flops(CONFIG, 64, 32)
    half = dataclasses.replace(CONFIG, layers=2, switch=switch(every=2, shared_mlp=64))
    wider = dataclasses.replace(CONFIG, layers=2, mlp=160)
    assert forward_flops(half, 64, 32) == forward_flops(wider, 64, 32)


def test_each_expert_of_a_token_counts():
    pairs = dataclasses.replace(CONFIG, layers=2, switch=switch(every=2, choices=2))
    wider = dataclasses.replace(CONFIG, layers=2, mlp=3 * CONFIG.mlp // 2)
    assert forward_flops(pairs, 64, 32) == forward_flops(wider, 64, 32)


def test_flops_equal_the_compilers():
    """XLA's own count of the forward pass of one block; norms and softmax are the 6 % it adds."""
    arrays, static = eqx.partition(
        transformer_shapes(CONFIG), lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct)
    )
    sizes = ((1, 64), (1, 32), (1,))
    batch = Batch(*(jnp.ones(size, jnp.int32) for size in sizes))

    @jax.jit
    def forward(arrays):
        model = eqx.combine(arrays, static)
        return model.head(model(batch, Call(mesh_of())).decoded)

    measured = forward.lower(arrays).compile().cost_analysis()["flops"]
    assert measured == pytest.approx(forward_flops(CONFIG, 64, 32), rel=0.06)
