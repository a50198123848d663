"""A switch layer with its tokens, and its comparison with loops over NumPy numbers."""

import functools
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import switch_oracle

from model.config import ModelConfig, SwitchConfig
from model.switch.switch_layer import SwitchLayer

BATCH, LENGTH, EMBED, MLP, EXPERTS = 8, 16, 16, 8, 8
GROUP = 16
SWITCH = SwitchConfig(
    experts=EXPERTS,
    every=1,
    encoder_group_tokens=GROUP,
    decoder_group_tokens=8,
    minimum_capacity=1,
    jitter=0.0,
)
CONFIG = ModelConfig(
    vocabulary_rows=128,
    embed=EMBED,
    heads=2,
    head=6,
    mlp=MLP,
    layers=1,
    switch=SWITCH,
    activation_dtype="float32",
)
ROUTINGS = {
    "top-1": SWITCH,
    "top-2": replace(SWITCH, choices=2, capacity_factor_training=1.0),
    "top-3": replace(SWITCH, choices=3, capacity_factor_training=0.75),
    "dropless": replace(SWITCH, dispatch="dropless"),
    "dropless top-2": replace(SWITCH, dispatch="dropless", choices=2),
}
KEY = jax.random.key(3)
LEARNED = ("router", "gate", "up", "down")


@functools.cache
def layer():
    """A layer with a decided router, so that no two experts are nearly tied."""
    drawn = jax.jit(lambda key: SwitchLayer.init(CONFIG, SWITCH, key=key))(jax.random.key(0))
    router = jax.random.normal(jax.random.key(1), drawn.router.shape)
    return SwitchLayer(router, drawn.gate, drawn.up, drawn.down)


@functools.cache
def tokens():
    x = jax.random.normal(jax.random.key(2), (BATCH, LENGTH, EMBED))
    is_token = jnp.arange(LENGTH)[None] < jnp.array([16, 16, 9, 16, 1, 16, 16, 0])[:, None]
    return x, is_token


@functools.cache
def target():
    return np.random.default_rng(0).normal(size=(BATCH, LENGTH, EMBED))


def with_gradients(mesh, switch):
    """Output, routing and gradients of a random projection and both losses."""
    routing = switch.routing(decoder=False, training=True)

    def objective(layer, x, real):
        y, routed = layer(x, real, routing, key=KEY, mesh=mesh)
        losses = jnp.sum(routed.balance_loss + routed.z_loss) / jnp.sum(real)
        return jnp.sum(y * target()) + losses, (y, routed)

    return jax.value_and_grad(objective, argnums=(0, 1), has_aux=True)


class Loops:
    """The layer as the oracle has it, in float64; noise and dropout masks are per group."""

    def __init__(self, layer, switch, noise=None, dropout_mask=None):
        self.weights = {
            name: None if value is None else np.asarray(value, np.float64)
            for name, value in vars(layer).items()
            if name in (*LEARNED, "expert_bias")
        } | {"x": np.asarray(tokens()[0], np.float64)}
        self.real = np.asarray(tokens()[1]).reshape(-1, GROUP)
        routing = switch.routing(decoder=False, training=True)
        self.top_k = routing.top_k
        self.capacity = math.inf if routing.dispatch == "dropless" else routing.capacity
        nothing = [None] * len(self.real)
        self.noise, self.dropout_mask = (
            nothing if part is None else part.reshape(len(self.real), GROUP, *part.shape[2:])
            for part in (noise, dropout_mask)
        )

    def groups(self, **moved):
        weights = self.weights | moved
        x = weights.pop("x").reshape(-1, GROUP, EMBED)
        return [
            switch_oracle.switch_group(
                *parts[:2],
                **weights,
                top_k=self.top_k,
                capacity=self.capacity,
                noise=parts[2],
                dropout_mask=parts[3],
            )
            for parts in zip(x, self.real, self.noise, self.dropout_mask, strict=True)
        ]

    def objective(self, **moved):
        groups = self.groups(**moved)
        output = np.stack([group.output for group in groups]).reshape(target().shape)
        losses = [group.balance_loss + group.z_loss for group in groups]
        return np.sum(output * target()) + np.average(losses, weights=self.real.sum(axis=1))

    def slope(self, name, direction, step=1e-5):
        at = self.weights[name]
        up, down = (self.objective(**{name: at + sign * step * direction}) for sign in (1, -1))
        return (up - down) / (2 * step)


def assert_equal(loops, result):
    """Assignments first, then values, then slopes along random directions of every array."""
    (_, (y, routed)), (layer_slopes, x_slope) = result
    groups = loops.groups()
    for name in ("expert_index", "kept"):
        ours = np.asarray(getattr(routed, name)).reshape(-1, GROUP, loops.top_k)
        np.testing.assert_array_equal(ours, [getattr(group, name) for group in groups])
    outputs = np.stack([group.output for group in groups]).reshape(target().shape)
    np.testing.assert_allclose(y, outputs, atol=1e-5)
    np.testing.assert_allclose(
        np.ravel(routed.gate), np.ravel([group.gate for group in groups]), atol=1e-6
    )
    np.testing.assert_allclose(
        np.ravel(routed.entropy_nats), np.ravel([group.entropy for group in groups]), atol=1e-5
    )
    for name in ("balance_loss", "z_loss"):
        of_groups = [getattr(group, name) for group in groups]
        expected = of_groups * loops.real.sum(axis=1)
        np.testing.assert_allclose(getattr(routed, name), expected, rtol=1e-5)
    generator = np.random.default_rng(1)
    for name, slopes in {**vars(layer_slopes), "x": x_slope}.items():
        if slopes is None or name not in (*LEARNED, "x"):
            continue
        for _ in range(2):
            direction = generator.normal(size=slopes.shape)
            ours = np.sum(np.asarray(slopes, np.float64) * direction)
            assert ours == pytest.approx(loops.slope(name, direction), rel=1e-3), name
