"""Microbatches give the batch's gradients, losses, dropped tokens, jitter and dropout.

Dropout is that of the trunk and of experts.
"""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import assert_close, drawn_like, mesh_of

from model.accumulation import gradients_of
from model.batch import Batch
from model.call import Call
from model.config import ModelConfig, SwitchConfig
from model.sharding.layouts import batch_sharding, parameter_shardings
from model.sharding.mesh import MeshShape
from model.transformer import transformer_shapes

ROWS, SOURCE, TARGET = 16, 8, 4
SWITCH = SwitchConfig(
    experts=4,
    every=1,
    encoder_group_tokens=16,
    decoder_group_tokens=8,
    jitter=0.3,
    expert_dropout=0.3,
)
CONFIG = ModelConfig(
    vocabulary_rows=128,
    embed=8,
    heads=2,
    head=4,
    mlp=8,
    layers=1,
    switch=SWITCH,
    activation_dtype="float32",
)


def batch():
    """Rows of very different length: a mean over parts would be off by percents."""
    generator = np.random.default_rng(0)
    inputs, targets = (
        generator.integers(3, 128, (ROWS, length)).astype(np.int32) for length in (SOURCE, TARGET)
    )
    targets[: ROWS // 2, 1:] = 0
    inputs[1::3, 2:] = 0
    inputs[4:6] = 0  # a routing group without tokens
    return Batch(jnp.array(inputs), jnp.array(targets), jnp.arange(ROWS, dtype=jnp.int32))


def gradients(shape, accumulate, switch=SWITCH):
    """Gradients and losses, in so many microbatches."""
    mesh = mesh_of(shape)
    shapes, static = eqx.partition(
        transformer_shapes(replace(CONFIG, switch=switch)),
        lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct),
    )
    call = Call(mesh, jax.random.key(1), dropout=0.2)
    shardings = parameter_shardings(shapes, mesh)
    run = jax.jit(
        lambda arrays, batch: gradients_of(static, arrays, batch, call, accumulate),
        in_shardings=(shardings, batch_sharding(mesh)),
    )
    return run(jax.device_put(drawn_like(shapes), shardings), batch())


DISPATCHES = {
    "groups": SWITCH,
    "pools": replace(SWITCH, encoder_pooled_groups=2),
    "dropless": replace(SWITCH, dispatch="dropless"),
}


@pytest.mark.parametrize(
    ("dispatch", "shape", "accumulate"),
    [
        pytest.param("groups", MeshShape(), 4, marks=pytest.mark.slow),
        ("groups", MeshShape(data=2, expert=2), 2),
        pytest.param("pools", MeshShape(expert=2), 2, marks=pytest.mark.slow),
        pytest.param("dropless", MeshShape(data=2, expert=2), 2, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_microbatches_add_up_to_the_batch(dispatch, shape, accumulate):
    at_once = gradients(MeshShape(), 1, DISPATCHES[dispatch])
    found = gradients(shape, accumulate, DISPATCHES[dispatch])
    assert (0.01 < at_once.losses.dropped_share < 0.9) == (dispatch != "dropless")
    assert_close(at_once.losses, found.losses, rtol=1e-5, atol=1e-6)
    assert_close(at_once.rows, found.rows, rtol=1e-5, atol=1e-6)
    assert_close(at_once.gradients, found.gradients, rtol=1e-4, atol=1e-5)
