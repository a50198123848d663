import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from small_networks import mesh_of

from model.config import ModelConfig
from model.layers.feed_forward import FeedForward

CONFIG = ModelConfig(
    vocabulary_rows=128, embed=16, heads=2, head=8, mlp=24, layers=2, activation_dtype="float32"
)
X = np.random.default_rng(1).normal(size=(1, 1, 16)).astype(np.float32)


def layer_and_output(config):
    @jax.jit
    def run(key):
        layer = FeedForward.init(config, key=key)
        return layer, layer(jnp.array(X), mesh_of())

    return run(jax.random.key(0))


def test_with_a_gate_it_is_a_gated_gelu():
    layer, y = layer_and_output(CONFIG)
    row = X[0, 0]
    expected = (jax.nn.gelu(row @ layer.gate) * (row @ layer.up)) @ layer.down
    np.testing.assert_allclose(y[0, 0], expected, rtol=1e-5)


def test_without_a_gate_it_is_a_relu():
    layer, y = layer_and_output(dataclasses.replace(CONFIG, feed_forward="relu"))
    assert layer.gate is None
    expected = np.maximum(X[0, 0] @ layer.up, 0) @ layer.down
    np.testing.assert_allclose(y[0, 0], expected, rtol=1e-5)
