"""One device or eight, dense or sparse: the same step; a checkpoint is the state, bit for bit."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.batch import Batch
from model.checkpoint import Checkpoints, with_shardings
from model.config import ConfigurationError, ModelConfig, SwitchConfig
from model.optimizer import OptimizerConfig
from model.sharding import MeshShape, check_fit, make_mesh, spec
from model.train_step import make_trainer

ROWS, SOURCE, TARGET = 8, 16, 8
SWITCH = SwitchConfig(experts=4, every=2, encoder_group_tokens=16, decoder_group_tokens=8)


def config(switch):
    return ModelConfig(
        vocabulary_rows=128,
        embed=16,
        heads=2,
        head=8,
        mlp=16,
        layers=2,
        switch=switch,
        activation_dtype="float32",
    )


def trainer(switch, shape, devices):
    mesh = make_mesh(shape, jax.devices()[:devices])
    return make_trainer(
        config(switch), OptimizerConfig(hold_steps=100), steps=10, seed=0, mesh=mesh
    )


def batch(seed=0):
    generator = np.random.default_rng(seed)
    inputs = generator.integers(3, 128, (ROWS, SOURCE)).astype(np.int32)
    targets = generator.integers(3, 128, (ROWS, TARGET)).astype(np.int32)
    inputs[2, 9:] = 0
    targets[2, 3:] = 0
    arrays = inputs, targets, np.zeros(ROWS, np.int32)
    return Batch(*(jnp.array(array) for array in arrays))


def leaves(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


@pytest.fixture(scope="module")
def single():
    return {kind: trainer(switch, MeshShape(), 1) for kind, switch in KINDS.items()}


KINDS = {"dense": None, "switch": SWITCH}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "shape", [MeshShape(data=2, expert=2, model=2), MeshShape(data=2, expert=4)], ids=str
)
def test_a_step_on_eight_devices_is_the_step_on_one(single, kind, shape):
    one, eight = single[kind], trainer(KINDS[kind], shape, 8)
    after_one, metrics_one = one.step(one.init(), batch())
    after_eight, metrics_eight = eight.step(eight.init(), batch())
    assert float(metrics_one.losses.dropped_share) == float(metrics_eight.losses.dropped_share)
    if kind == "switch":
        assert 0.05 < metrics_one.losses.dropped_share < 0.5
    for left, right in zip(leaves(metrics_one), leaves(metrics_eight), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
    for left, right in zip(leaves(after_one.arrays), leaves(after_eight.arrays), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


def test_parameters_and_moments_are_sharded():
    eight = trainer(SWITCH, MeshShape(data=2, expert=2, model=2), 8)
    state = eight.init()
    expert = state.arrays.encoder.blocks[1].feed_forward.up
    assert expert.shape == (1, 4, 16, 16)
    assert expert.sharding.shard_shape(expert.shape) == (1, 2, 8, 8)
    moments = state.optimizer[0].states.encoder.blocks[1].feed_forward.up
    shapes = {leaf.sharding.shard_shape(leaf.shape) for leaf in jax.tree.leaves(moments)}
    assert (1, 2, 8, 8) in shapes


def test_loss_falls_and_randomness_is_the_steps(single):
    one = single["switch"]
    state, first = one.step(one.init(), batch())
    for _ in range(5):
        state, last = one.step(state, batch())
    assert last.losses.loss_nats < first.losses.loss_nats
    _, again = one.step(one.init(), batch())
    assert again.losses.loss_nats == first.losses.loss_nats


def test_a_step_that_is_not_finite_changes_nothing(single):
    one = single["dense"]
    state = one.init()
    poisoned = state._replace(
        arrays=eqx.tree_at(lambda m: m.logits, state.arrays, state.arrays.logits * jnp.inf)
    )
    before = leaves(poisoned)
    after, metrics = one.step(poisoned, batch())
    assert bool(metrics.skipped)
    assert int(after.step) == 1
    for left, right in zip(before[:-1], leaves(after)[:-1], strict=True):
        np.testing.assert_array_equal(left, right)
    _, metrics = one.step(one.init(), batch())
    assert not bool(metrics.skipped)


def test_scores_do_not_depend_on_row_order(single):
    """Dense: a row's loss is its own; the sums agree with what training reports before a step."""
    one = single["dense"]
    arrays = one.init().arrays
    rows, _ = one.score(arrays, batch())
    order = np.argsort(np.random.default_rng(0).random(ROWS))
    shuffled, _ = one.score(arrays, jax.tree.map(lambda leaf: leaf[order], batch()))
    np.testing.assert_allclose(rows.loss_nats[order], shuffled.loss_nats, rtol=1e-5)
    _, metrics = one.step(one.init(), batch())
    np.testing.assert_allclose(rows.loss_nats.sum(), metrics.losses.loss_nats, rtol=1e-5)
    assert rows.target_tokens.tolist() == [8, 8, 3, 8, 8, 8, 8, 8]


@pytest.mark.parametrize("shape", [MeshShape(), MeshShape(expert=4)], ids=str)
def test_a_checkpoint_is_the_state_on_any_mesh(single, tmp_path, shape):
    one = single["switch"]
    state, _ = one.step(one.init(), batch())
    before = leaves(state)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state)
    checkpoints.close()
    other = trainer(SWITCH, shape, shape.data * shape.expert * shape.model)
    shapes = with_shardings(jax.eval_shape(other.init), other.shardings)
    again = Checkpoints(tmp_path)
    assert again.steps() == [1]
    restored = again.restore(1, shapes)
    again.close()
    for left, right in zip(before, leaves(restored), strict=True):
        np.testing.assert_array_equal(left, right)
    stepped, _ = other.step(restored, batch(1))
    expected, _ = one.step(state, batch(1))
    for left, right in zip(leaves(expected.arrays), leaves(stepped.arrays), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)
