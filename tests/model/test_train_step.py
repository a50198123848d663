"""One device or eight, dense or sparse: the same step; a checkpoint is the state, bit for bit."""

import errno
import functools
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint.path import atomicity

from model import checkpoint
from model.batch import Batch
from model.checkpoint import CheckpointError, Checkpoints, with_shardings
from model.config import ModelConfig, SwitchConfig
from model.loss import training_loss
from model.nonfinite import gradient_sites, skip_cause
from model.optimizer import OptimizerConfig
from model.sharding import MeshShape, batch_sharding, make_mesh
from model.stack import Call
from model.train_step import make_trainer

ROWS, SOURCE, TARGET = 8, 16, 8
EMBED = 24  # no two sizes alike, so that a gathered array is known by its shape
SWITCH = SwitchConfig(
    experts=8,
    every=2,
    encoder_group_tokens=16,
    decoder_group_tokens=8,
    minimum_capacity=1,
    z_loss_weight=1e-3,
)


def config(switch):
    return ModelConfig(
        vocabulary_rows=128,
        embed=EMBED,
        heads=8,
        head=4,
        mlp=40,
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


MESHES = [
    MeshShape(data=8),
    MeshShape(expert=8),
    MeshShape(model=8),
    MeshShape(data=2, expert=4),
    MeshShape(data=2, expert=2, model=2),
]
CASES = [*(("switch", shape) for shape in MESHES), ("dense", MESHES[-1])]


@pytest.fixture(scope="module")
def stepped(single):
    """The step on one device: its start, its end and its metrics."""
    starts = {kind: leaves(one.init()) for kind, one in single.items()}
    return {kind: (starts[kind], *one.step(one.init(), batch())) for kind, one in single.items()}


# Every split and every routing is compared in test_switch_layer.py; here a whole step is.
@pytest.mark.parametrize(("kind", "shape"), CASES, ids=str)
def test_a_step_on_eight_devices_is_the_step_on_one(stepped, kind, shape):
    start, after_one, metrics_one = stepped[kind]
    eight = trainer(KINDS[kind], shape, 8)
    state = jax.device_put(
        jax.tree.unflatten(jax.tree.structure(eight.shardings), start), eight.shardings
    )
    compiled = eight.step.lower(state, batch()).compile()
    after_eight, metrics_eight = compiled(
        state, jax.device_put(batch(), batch_sharding(eight.mesh))
    )
    if kind == "switch":
        layers_one, layers_eight = metrics_one.losses.layers, metrics_eight.losses.layers
        np.testing.assert_array_equal(layers_one.load, layers_eight.load)
        np.testing.assert_array_equal(layers_one.dropped, layers_eight.dropped)
        assert 0.05 < metrics_one.losses.dropped_share < 0.5
    for left, right in zip(leaves(metrics_one), leaves(metrics_eight), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
    for left, right in zip(leaves(after_one.arrays), leaves(after_eight.arrays), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)
    if shape == MeshShape(data=2, expert=4):
        assert_exchanges_and_parameter_gathers_only(compiled.as_text(), eight)


def assert_exchanges_and_parameter_gathers_only(program, eight):
    """Two stacks, each with two all-to-alls forward and two back; what is gathered has the shape of
    a parameter, or of a part of one, or is a number a row."""
    exchanges = re.findall(r" all-to-all(?:-start)?\(", program)
    assert len(exchanges) == 2 * 4
    gathered = re.findall(r"= \(?\w+\[([\d,]+)\]\S* all-gather(?:-start)?\(", program)
    assert gathered
    parameters = [leaf.shape for leaf in jax.tree.leaves(eight.shapes)]
    for text in gathered:
        shape = tuple(int(size) for size in text.split(","))
        assert shape == (ROWS,) or any(is_part_of(shape, whole) for whole in parameters), shape
    for activation in ((1, SOURCE, EMBED), (ROWS, SOURCE, EMBED), (4, 2, 2, EMBED)):
        assert not any(is_part_of(activation, whole) for whole in parameters)


def is_part_of(shape, whole):
    """True where each size divides the parameter's, but for dimensions of one."""
    shape, whole = (sorted(size for size in sizes if size > 1) for sizes in (shape, whole))
    return len(shape) == len(whole) and all(w % s == 0 for s, w in zip(shape, whole, strict=True))


def test_layers_count_what_routing_did(stepped):
    """Conserved: every real token asks once, and a slot is used or wasted."""
    layers = stepped["switch"][2].losses.layers
    real = [int(batch().is_source.sum()), int(batch().is_target.sum())]
    assert layers.tokens.tolist() == real
    assert layers.load.sum(axis=1).tolist() == real
    kept = layers.load.sum(axis=1) - layers.dropped
    assert (layers.slots - layers.wasted).tolist() == kept.tolist()
    # Groups of 16 and 8 tokens, 8 experts: round(1.25 * 16 / 8) = 2 slots and round(1.25) = 1.
    assert layers.slots.tolist() == [8 * 8 * 2, 8 * 8 * 1]


def test_rows_add_up_to_layers(single):
    _, rows = single["switch"].score(single["switch"].init().arrays, batch())
    assert rows.load.shape == (2, ROWS, 8)
    assert rows.tokens.tolist() == [
        batch().is_source.sum(axis=1).tolist(),
        batch().is_target.sum(axis=1).tolist(),
    ]
    np.testing.assert_array_equal(rows.load.sum(axis=-1), rows.tokens)
    assert (rows.entropy_nats <= rows.tokens * np.log(8) + 1e-4).all()
    assert (rows.dropped <= rows.tokens).all()


def test_parameters_and_moments_are_sharded():
    eight = trainer(SWITCH, MeshShape(data=2, expert=2, model=2), 8)
    state = eight.init()
    expert = state.arrays.encoder.blocks[1].feed_forward.up
    assert expert.shape == (1, 8, EMBED, 40)
    assert expert.sharding.shard_shape(expert.shape) == (1, 4, 12, 20)
    moments = state.optimizer.states.encoder.blocks[1].feed_forward.up
    shapes = {leaf.sharding.shard_shape(leaf.shape) for leaf in jax.tree.leaves(moments)}
    assert (1, 4, 12, 20) in shapes
    query = state.arrays.encoder.blocks[1].self_attention.query
    moments = state.optimizer.states.encoder.blocks[1].self_attention.query
    folded = [leaf for leaf in jax.tree.leaves(moments) if leaf.size == query.size]
    assert [leaf.shape for leaf in folded] == [(1, EMBED, 32)]
    assert folded[0].sharding.shard_shape(folded[0].shape) == (1, 12, 16)


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


@pytest.mark.parametrize(
    ("kind", "pick", "layer"),
    [
        ("switch", lambda m: m.encoder.blocks[1].feed_forward.down, "encoder layer 1"),
        ("dense", lambda m: m.decoder.blocks[0].feed_forward.up, "decoder layer 1"),
        ("dense", lambda m: m.logits, "every layer was finite"),
    ],
)
def test_a_step_says_which_layer_of_its_forward_pass_broke(single, kind, pick, layer):
    """The last of a block's repetitions; in parts and in larger blocks: test_trouble.py."""
    one = single[kind]
    state = one.init()
    last = jax.tree.map(lambda leaf: leaf.at[-1].set(jnp.nan), pick(state.arrays))
    state = state._replace(arrays=eqx.tree_at(pick, state.arrays, last))
    _, metrics = one.step(state, batch())
    assert bool(metrics.skipped)
    found = gradient_sites(one.shapes, config(KINDS[kind]).layers_per_block)
    assert layer in skip_cause(jax.device_get(metrics.trace), found, limit=10.0)


def test_the_loss_is_nats_and_squared_log_z_and_routing(single):
    """By NumPy from the logits: padding counts for nothing, every term by its weight."""
    model = single["switch"].model(single["switch"].init().arrays)
    one = batch()
    call = Call(make_mesh(MeshShape(), jax.devices()[:1]), jax.random.key(0))
    loss, (losses, _) = eqx.filter_jit(training_loss)(model, one, call)
    logits = np.float64(eqx.filter_jit(lambda model: model(one, call).logits)(model))
    targets = np.asarray(one.targets)
    real = targets != 0
    log_z = np.log(np.exp(logits).sum(-1))
    nats = (log_z - np.take_along_axis(logits, targets[..., None], -1)[..., 0])[real]
    z_loss = 1e-4 * np.square(log_z[real]).mean()
    routing = SWITCH.balance_loss_weight * losses.balance_loss + 1e-3 * losses.router_z_loss
    assert float(losses.z_loss) == pytest.approx(z_loss, rel=1e-5)
    assert z_loss > 1e-3
    assert float(loss) == pytest.approx(float(nats.mean() + z_loss + routing), rel=1e-5)


def test_the_learning_rate_follows_from_the_step_also_after_skipped_ones(single):
    """Steps 0 and 1 are skipped; step 2 moves as far as its own rate says."""
    mesh = make_mesh(MeshShape(), jax.devices()[:1])
    falling = OptimizerConfig(hold_steps=1, decay_from=0.0)
    train = make_trainer(config(None), falling, steps=4, seed=0, mesh=mesh)
    broken = train.init()
    broken = broken._replace(arrays=jax.tree.map(lambda leaf: leaf * np.nan, broken.arrays))
    for _ in range(2):
        broken, metrics = train.step(broken, batch())
        assert bool(metrics.skipped)
    late, metrics = train.step(train.init()._replace(step=jnp.int32(broken.step)), batch())
    assert float(metrics.learning_rate) == pytest.approx(2**-0.5 / 2)
    early, first = train.step(train.init(), batch())
    assert float(first.learning_rate) == 1.0
    moved = [
        np.linalg.norm(np.subtract(state.arrays.embedding, train.init().arrays.embedding))
        for state in (late, early)
    ]
    assert moved[0] / moved[1] == pytest.approx(2**-0.5 / 2, rel=1e-3)


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
    """8 devices, 8, 1; the expert axis 4, 2, 1: a step on each, against all on one."""
    meshes = (MESHES[3], 8), (MESHES[4], 8), (MeshShape(), 1)
    one = single["switch"]
    expected, moved = one.init(), None
    for number, (shape, devices) in enumerate(meshes):
        here = trainer(SWITCH, shape, devices)
        moved = here.init() if moved is None else saved_and_restored(moved, tmp_path, number, here)
        moved, _ = here.step(moved, batch(number))
        expected, _ = one.step(expected, batch(number))
        for left, right in zip(leaves(expected.arrays), leaves(moved.arrays), strict=True):
            np.testing.assert_allclose(left, right, atol=1e-5)


def test_an_altered_checkpoint_is_noticed_and_older_ones_are_left(single, tmp_path, monkeypatch):
    """Other numbers than were saved, which Orbax restores without a word; and a missing file."""
    one = single["dense"]
    state, other = one.init(), one.init()
    other = other._replace(step=other.step + 1)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(1, state)
    with monkeypatch.context() as patch:
        of_other = checkpoint._fingerprints(jax.tree.leaves(other), other.step.sharding)
        patch.setattr(checkpoint, "_fingerprints", lambda *_: of_other)
        checkpoints.save(2, state)
    checkpoints.close()
    shapes = with_shardings(jax.eval_shape(one.init), one.shardings)
    again = Checkpoints(tmp_path / "checkpoints")
    with pytest.raises(CheckpointError, match=r"Checkpoint 2 in .*\.step is not what was saved"):
        again.restore(2, shapes)
    (tmp_path / "checkpoints/2/default/manifest.ocdbt").unlink()
    with pytest.raises(CheckpointError, match=r"Checkpoint 2 in .* is damaged"):
        again.restore(2, shapes)
    assert again.set_aside(2) == tmp_path / "damaged-2-0"
    assert again.steps() == [1]
    again.restore(1, shapes)
    again.save(2, state)
    again.close()


def test_a_full_disk_is_said_and_older_checkpoints_are_left(single, tmp_path, monkeypatch):
    async def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    state = single["dense"].init()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state)
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(atomicity.AtomicRenameTemporaryPath, "finalize", full)
        checkpoints.save(2, state)
        with pytest.raises(CheckpointError, match=r"the disk is full.*1 is whole"):
            checkpoints.close()
    again = Checkpoints(tmp_path)
    again.forget_unfinished()
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    assert again.steps() == [1]
    again.save(2, state)
    again.close()
