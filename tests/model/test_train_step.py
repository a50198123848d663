"""One device or eight, dense or sparse: the same step; a checkpoint is the state, bit for bit."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.batch import Batch
from model.checkpoint import CheckpointError, Checkpoints, with_shardings
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


@functools.cache
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


@pytest.mark.parametrize("factor", [np.inf, 1e8], ids=["not finite", "exploded"])
def test_a_step_that_is_not_finite_or_exploded_changes_nothing(single, factor):
    one = single["dense"]
    state = one.init()
    poisoned = state._replace(
        arrays=eqx.tree_at(lambda m: m.logits, state.arrays, state.arrays.logits * factor)
    )
    before = leaves(poisoned)
    after, metrics = one.step(poisoned, batch())
    assert bool(metrics.skipped)
    assert bool(np.isfinite(metrics.gradient_norm)) == np.isfinite(factor)
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


def saved_and_restored(state, directory, step, other):
    """The state, by way of a checkpoint, on another trainer's mesh; bit for bit."""
    checkpoints = Checkpoints(directory)
    checkpoints.save(step, state)
    checkpoints.close()
    shapes = with_shardings(jax.eval_shape(other.init), other.shardings)
    again = Checkpoints(directory)
    assert again.steps()[-1] == step
    restored = again.restore(step, shapes)
    again.close()
    for left, right in zip(leaves(state), leaves(restored), strict=True):
        np.testing.assert_array_equal(left, right)
    return restored


def test_a_run_goes_on_with_fewer_devices_and_experts_elsewhere(single, tmp_path):
    """8 devices, 4, 2; the expert axis 4, 2, 2: a step on each, against all on one."""
    shapes = MeshShape(data=2, expert=4), MeshShape(data=2, expert=2), MeshShape(expert=2)
    one = single["switch"]
    expected, moved = one.init(), None
    for number, shape in enumerate(shapes):
        devices = shape.data * shape.expert
        here = trainer(SWITCH, shape, devices)
        moved = here.init() if moved is None else saved_and_restored(moved, tmp_path, number, here)
        moved, _ = here.step(moved, batch(number))
        expected, _ = one.step(expected, batch(number))
        for left, right in zip(leaves(expected.arrays), leaves(moved.arrays), strict=True):
            np.testing.assert_allclose(left, right, atol=1e-5)


def test_an_altered_checkpoint_is_noticed_and_older_ones_are_left(single, tmp_path):
    """One flipped bit, which Orbax alone restores without a word; and a missing file."""
    one = single["dense"]
    state = one.init()
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (1, 2):
        checkpoints.save(step, state)
    checkpoints.close()
    arrays = max((tmp_path / "checkpoints/2").rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(arrays.read_bytes())
    content[len(content) // 2] ^= 1
    shapes = with_shardings(jax.eval_shape(one.init), one.shardings)
    again = Checkpoints(tmp_path / "checkpoints")
    for damage in (lambda: arrays.write_bytes(content), arrays.unlink):
        damage()
        with pytest.raises(CheckpointError, match=r"Checkpoint 2 in .* is damaged"):
            again.restore(2, shapes)
    assert again.set_aside(2) == tmp_path / "damaged-2-0"
    assert again.steps() == [1]
    again.restore(1, shapes)
    again.save(2, state)
    again.close()


def test_a_mesh_must_use_the_devices():
    with pytest.raises(ConfigurationError, match="needs 6 devices; found 8"):
        make_mesh(MeshShape(data=6))


def test_everything_that_does_not_fit_is_said_at_once():
    mesh = make_mesh(MeshShape(data=2, expert=2, model=2))
    with pytest.raises(ConfigurationError) as error:
        check_fit(config(SWITCH), mesh, rows=6, inputs=10, targets=8)
    for part in ("rows of a batch (6)", "encoder tokens of a device (15)", "decoder tokens"):
        assert part in str(error.value)


def test_a_device_without_a_group_is_refused():
    mesh = make_mesh(MeshShape(data=8))
    with pytest.raises(ConfigurationError, match="encoder tokens of a device"):
        check_fit(config(SWITCH), mesh, rows=8, inputs=8, targets=8)


def test_an_unknown_dimension_never_replicates_silently():
    with pytest.raises(KeyError):
        spec("embed surprise")
