"""Sizes that fit together, capacity, and FLOPs as the compiler counts them."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from small_networks import mesh_of, shapes_of, sized

from model.batch import Batch, Call
from model.config import (
    ConfigurationError,
    DistillationConfig,
    OptimizerConfig,
    Sampling,
    SwitchConfig,
    expert_capacity,
)
from model.decoding.beam_search import Beams
from model.flops import forward_flops


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
    ("make", "settings", "message"),
    [
        (switch, {"choices": 5}, "5 of 4"),
        (switch, {"choices": 0}, "choices was 0"),
        (switch, {"expert_dropout": 1.0}, "below 1"),
        (switch, {"router_scale": 0.0}, "router_scale"),
        (switch, {"expert_output_scale": 0.0}, "expert_output_scale"),
        (switch, {"bias_rate": -0.1}, "bias_rate"),
        (switch, {"quantile_rate": 1.5}, "quantile_rate"),
        (switch, {"bias_rate": 0.1, "quantile_rate": 1.0}, "follow one rule"),
        (switch, {"quantile_rate": 1.0, "choices": 4}, "nothing to balance"),
        (switch, {"shared_mlp": -1}, "shared_mlp"),
        (sized, {"layers": 3, "switch": switch(every=2)}, "multiple"),
        (OptimizerConfig, {"decay_from": 2.0}, "decay_from"),
        (OptimizerConfig, {"weight_decay": 0.1}, "set optimizer.rule=adamw"),
        (OptimizerConfig, {"largest_gradient_norm": 0.0}, "positive"),
        (OptimizerConfig, {"warm_up_steps": 2**31}, "from 0 to"),
        (DistillationConfig, {"hard_share": 1.5}, "between 0"),
        (DistillationConfig, {"temperature": 0.0}, "above 0"),
        (Beams, {"number": 0}, "number was 0"),
        (Beams, {"alpha": math.nan}, "alpha was nan"),
        (Beams, {"offset": -1.0}, "offset was -1"),
        *((Sampling, {"temperature": bad}, "0 or") for bad in (-1.0, math.nan, math.inf, 1e-40)),
        (Sampling, {"top_p": 0.5}, "above 0"),
        (Sampling, {"top_k": 3}, "above 0"),
    ],
)
def test_settings_that_mean_nothing(make, settings, message):
    with pytest.raises(ConfigurationError, match=message):
        make(**settings)


@pytest.mark.parametrize(
    ("layers", "mlp", "changes", "dense_mlp"),
    [
        (1, 96, {"shared_mlp": 32}, 128),
        (2, 128, {"every": 2, "shared_mlp": 64}, 160),  # of two layers one is sparse
        (2, 128, {"every": 2, "choices": 2}, 192),
    ],
)
def test_flops_of_a_sparse_network_are_those_of_all_that_a_token_goes_through(
    layers, mlp, changes, dense_mlp
):
    sparse = sized(layers=layers, mlp=mlp, switch=switch(**changes))
    assert forward_flops(sparse, 64, 32) == forward_flops(
        sized(layers=layers, mlp=dense_mlp), 64, 32
    )


def test_flops_equal_the_compilers():
    """XLA's own count of the forward pass of one block; norms and softmax are the 6 % it adds."""
    config = sized(vocabulary_rows=1024, embed=64, heads=4, head=16, mlp=128, layers=1)
    batch = Batch(*(jnp.ones(size, jnp.int32) for size in ((1, 64), (1, 32), (1,))))
    shapes, static = shapes_of(config)

    @jax.jit
    def forward(arrays):
        model = eqx.combine(arrays, static)
        return model.head(model(batch, Call(mesh_of())).decoded)

    measured = forward.lower(shapes).compile().cost_analysis()["flops"]
    assert measured == pytest.approx(forward_flops(config, 64, 32), rel=0.06)
