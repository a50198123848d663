"""A batch computed in parts is the batch: gradients, losses, the dropped, the router's jitter."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.batch import Batch
from model.config import ModelConfig, SwitchConfig
from model.optimizer import OptimizerConfig
from model.sharding import MeshShape, make_mesh
from model.train_step import make_trainer

ROWS, SOURCE, TARGET = 16, 8, 4
SWITCH = SwitchConfig(
    experts=4, every=1, encoder_group_tokens=16, decoder_group_tokens=8, jitter=0.3
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
    return Batch(jnp.array(inputs), jnp.array(targets), jnp.arange(ROWS, dtype=jnp.int32))


def trainer_of(shape, devices, accumulate):
    return make_trainer(
        CONFIG,
        OptimizerConfig(hold_steps=100),
        steps=10,
        seed=0,
        mesh=make_mesh(shape, jax.devices()[:devices]),
        accumulate=accumulate,
    )


@functools.cache
def first():
    """The start of all, drawn on one device."""
    return jax.tree.map(np.asarray, trainer_of(MeshShape(), 1, 1).init())


def step(shape, devices, accumulate):
    trainer = trainer_of(shape, devices, accumulate)
    return trainer.step(jax.device_put(first(), trainer.shardings), batch())


@pytest.fixture(scope="module")
def whole():
    return step(MeshShape(), 1, 1)


@pytest.mark.parametrize(
    ("shape", "devices", "accumulate"),
    [(MeshShape(), 1, 4), (MeshShape(data=2, expert=2), 4, 2)],
    ids=str,
)
def test_parts_are_the_batch(whole, shape, devices, accumulate):
    state, metrics = whole
    parts_state, parts_metrics = step(shape, devices, accumulate)
    assert 0.01 < metrics.losses.dropped_share < 0.9
    for left, right in zip(jax.tree.leaves(metrics), jax.tree.leaves(parts_metrics), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
    for left, right in zip(
        jax.tree.leaves(state.arrays), jax.tree.leaves(parts_state.arrays), strict=True
    ):
        np.testing.assert_allclose(left, right, atol=1e-5)
