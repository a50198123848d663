"""One step: on any mesh and in microbatches the same, skipped without a change, with its cause."""

import functools
import re
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import (
    EIGHT,
    EMBED,
    KINDS,
    ROWS,
    SOURCE,
    SWITCH,
    assert_close,
    batch,
    config,
    drawn_like,
    leaves,
    mesh_of,
    on_mesh,
    shapes_of,
    sized,
    start,
    trainer,
    trainer_of,
)

from model.batch import Batch, Call
from model.config import MeshShape, OptimizerConfig, SwitchConfig
from model.sharding.layouts import batch_sharding, with_shardings
from model.step import (
    Trace,
    batch_gradients,
    gradient_sites,
    gradient_squares,
    router_moves,
    router_sites,
    skip_cause,
)
from model.trainer import make_trainer
from pipeline.runs.checkpoints import Checkpoints

PAIRS = SwitchConfig(experts=2, every=2, encoder_group_tokens=8, decoder_group_tokens=8)
LAYERED = sized(embed=4, head=2, mlp=6, layers=4, switch=PAIRS)


@pytest.fixture(scope="module")
def gradients():
    filled = lambda leaf: jnp.array(np.full(leaf.shape, 0.5, np.float32))  # noqa: E731
    return jax.tree.map(filled, shapes_of(LAYERED)[0])


def cause(gradients, row_loss=(0.0, 0.0), finite=2):
    squares = np.asarray(gradient_squares(gradients))
    found = gradient_sites(gradients, LAYERED.layers_per_block)
    assert len(found) == len(squares)
    rows = np.float32(row_loss), np.zeros(2, np.int32), np.int32([finite, 8])
    return skip_cause(Trace(squares, *rows), found, limit=10.0)


def spoiled(arrays, pick, block, value=np.nan):
    return eqx.tree_at(pick, arrays, pick(arrays).at[block].set(value))


def test_the_squares_are_the_norm(gradients):
    count = sum(leaf.size for leaf in jax.tree.leaves(gradients))
    assert float(gradient_squares(gradients).sum()) == pytest.approx(count / 4)


def test_the_last_spoiled_layer_is_named(gradients):
    """Block 1, second of two layers: layer 4; what lies before it in the network is its victim."""
    broken = spoiled(gradients, lambda m: m.decoder.blocks[1].feed_forward.up, 1)
    broken = spoiled(broken, lambda m: m.decoder.blocks[0].self_attention.query, 1)
    broken = spoiled(broken, lambda m: m.encoder.blocks[0].feed_forward.up, 0)
    broken = spoiled(broken, lambda m: m.embedding, 5)
    for stack in ("encoder", "decoder"):  # biases, whose gradients are sums over layers
        broken = spoiled(broken, lambda m, of=stack: getattr(m, of).position_bias.table, 0)
    assert "in decoder layer 4 (feed_forward.up)" in cause(broken)


def test_where_gradients_exploded_or_overflowed_or_only_the_loss_broke(gradients):
    grown = spoiled(gradients, lambda m: m.encoder.blocks[1].feed_forward.router, 0, 1e6)
    assert "100% of its square came from encoder layer 2 (feed_forward.router)" in cause(grown)
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, gradients)
    assert "forward pass stopped being finite in encoder layer 3" in cause(broken)
    large = jax.tree.map(lambda leaf: leaf * 2e20, gradients)  # finite, and so is the forward pass
    assert "the gradient stopped being finite in logits" in cause(large, finite=8)
    wrong_target = cause(gradients, row_loss=(1.0, np.nan), finite=8)
    assert "every layer was finite in the forward pass and the loss was not" in wrong_target


@functools.cache
def in_microbatches():
    """Compiled once for all spoiled weights; scanned, which is less to compile."""
    given = {"steps": 2, "seed": 0, "mesh": mesh_of(), "accumulate": 2, "remat": "full"}
    return make_trainer(LAYERED, OptimizerConfig(hold_steps=1), **given)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pick", "layer"),
    [
        (lambda m: m.encoder.blocks[1].self_attention.query, "encoder layer 4"),
        (lambda m: m.decoder.blocks[0].feed_forward.up, "decoder layer 3"),
        (lambda m: m.decoder.blocks[1].feed_forward.down, "decoder layer 4"),  # every expert's
        (lambda m: m.logits, "every layer was finite"),
    ],
)
def test_a_step_in_microbatches_names_the_layer_that_broke_in_the_forward_pass(pick, layer):
    """Weights of the last block of two, so of layers 2 and 3; or of what has no blocks."""
    trainer, ids = in_microbatches(), jnp.ones((4, 8), jnp.int32)
    state = start(trainer)
    state = state._replace(arrays=spoiled(state.arrays, pick, -1))
    _, metrics = trainer.step(state, Batch(ids, ids, jnp.zeros(4, jnp.int32)))
    found = gradient_sites(trainer.shapes, LAYERED.layers_per_block)
    assert bool(metrics.skipped)
    assert layer in skip_cause(jax.device_get(metrics.trace), found, limit=10.0)


def test_the_moved_router_is_the_named_one(gradients):
    sites = router_sites(gradient_sites(gradients, LAYERED.layers_per_block))
    assert len(sites) == len(set(sites)) == 4
    moved = next(site for site in sites if site.layer.startswith("decoder"))
    router = lambda m: m.decoder.blocks[1].feed_forward.router  # noqa: E731
    after = spoiled(gradients, router, 0, 0.5 + 0.25)
    moves = dict(zip(sites, router_moves(gradients, after).tolist(), strict=True))
    assert moves.pop(moved) == pytest.approx(router(gradients)[0].size / 16)
    assert set(moves.values()) == {0.0}
    assert np.isnan(router_moves(gradients, spoiled(gradients, router, 0))).sum() == 1


GROUPS = SwitchConfig(
    experts=4,
    every=1,
    encoder_group_tokens=16,
    decoder_group_tokens=8,
    jitter=0.3,
    expert_dropout=0.3,
)
DISPATCHES = {
    "groups": GROUPS,
    "pools": replace(GROUPS, encoder_pooled_groups=2),
    "dropless": replace(GROUPS, dispatch="dropless"),
}


def uneven_batch():
    """Rows of very different length: a mean over parts would be off by percents."""
    generator = np.random.default_rng(0)
    inputs, targets = (generator.integers(3, 128, (16, n)).astype(np.int32) for n in (8, 4))
    targets[:8, 1:] = 0
    inputs[1::3, 2:] = 0
    inputs[4:6] = 0  # a routing group without tokens
    return Batch(jnp.array(inputs), jnp.array(targets), jnp.arange(16, dtype=jnp.int32))


def added_up(shape, accumulate, switch):
    """Gradients and losses, in so many microbatches."""
    mesh = mesh_of(shape)
    shapes, static = shapes_of(sized(embed=8, head=4, mlp=8, layers=1, switch=switch))
    call = Call(mesh, jax.random.key(1), dropout=0.2)
    run = jax.jit(lambda arrays, batch: batch_gradients(static, arrays, batch, call, accumulate))
    rows = jax.device_put(uneven_batch(), batch_sharding(mesh))
    return run(on_mesh(drawn_like(shapes), mesh), rows)


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
    """Gradients, losses, dropped tokens, jitter and dropout."""
    gradients, losses, rows = added_up(MeshShape(), 1, DISPATCHES[dispatch])
    other, other_losses, other_rows = added_up(shape, accumulate, DISPATCHES[dispatch])
    assert (0.01 < losses.dropped_share < 0.9) == (dispatch != "dropless")
    assert_close((losses, rows), (other_losses, other_rows), rtol=1e-5, atol=1e-6)
    assert_close(gradients, other, rtol=1e-4, atol=1e-5)


SLICES = MeshShape(data=4, expert=2, slices=4, expert_slices=2)
MESHES = [MeshShape(data=8), MeshShape(expert=8), MeshShape(model=8), SLICES]


@functools.cache
def compiled(kind, shape=MeshShape()):  # noqa: B008
    one = trainer(kind, shape)
    return one.step.lower(jax.eval_shape(one.init), batch()).compile()


def step(kind, state, seed=0, shape=MeshShape()):  # noqa: B008
    return compiled(kind, shape)(state, batch(seed, mesh_of(shape)))


@pytest.fixture(scope="module")
def stepped():
    """The step on one device: its end and its metrics."""
    return {kind: step(kind, start(trainer(kind), seed=1)) for kind in KINDS}


# test_switch_layer.py compares one layer in every routing; here a whole step is compared.
@pytest.mark.parametrize(
    ("kind", "shape"),
    [("switch", EIGHT), ("dense", EIGHT)]
    + [pytest.param("switch", shape, marks=pytest.mark.slow) for shape in MESHES],
    ids=str,
)
def test_a_step_on_eight_devices_is_the_step_on_one(stepped, kind, shape):
    after_one, metrics_one = stepped[kind]
    after_eight, metrics_eight = step(kind, start(trainer(kind, shape), seed=1), shape=shape)
    if kind == "switch":
        layers_one, layers_eight = metrics_one.losses.layers, metrics_eight.losses.layers
        np.testing.assert_array_equal(layers_one.load, layers_eight.load)
        np.testing.assert_array_equal(layers_one.dropped, layers_eight.dropped)
        assert 0.05 < metrics_one.losses.dropped_share < 0.5
    assert_close(metrics_one, metrics_eight, rtol=1e-5, atol=1e-6)
    assert_close(after_one.arrays, after_eight.arrays, atol=1e-5)


def test_a_program_exchanges_tokens_and_gathers_parameters_only():
    """Two stacks with one switch layer each: two all-to-alls forward, two backward.

    What is gathered has the shape of a parameter or of a part of one, or is a number per row.
    """
    program = compiled("switch", EIGHT).as_text()
    assert len(re.findall(r" all-to-all(?:-start)?\(", program)) == 2 * 4
    gathered = re.findall(r"= \(?\w+\[([\d,]+)\]\S* all-gather(?:-start)?\(", program)
    parameters = [leaf.shape for leaf in jax.tree.leaves(trainer("switch").shapes)]
    parameters.append((EMBED, 36))  # half of the heads, joined with their width

    def is_of_a_parameter(shape):
        return any(is_part_of(shape, whole) for whole in parameters)

    shapes = {tuple(map(int, text.split(","))) for text in gathered} - {(ROWS,)}
    assert shapes
    assert [shape for shape in shapes if not is_of_a_parameter(shape)] == []
    activations = (1, SOURCE, EMBED), (ROWS, SOURCE, EMBED), (4, 2, 2, EMBED)
    assert not any(map(is_of_a_parameter, activations))


def is_part_of(shape, whole):
    """True if each size divides the parameter's; dimensions of one do not count."""
    shape, whole = (sorted(size for size in sizes if size > 1) for sizes in (shape, whole))
    return len(shape) == len(whole) and all(w % s == 0 for s, w in zip(shape, whole, strict=True))


def parts(array):
    return array.sharding.shard_shape(array.shape)


def test_parameters_and_moments_are_sharded_from_the_first_step():
    state = trainer("switch", EIGHT).init()
    assert_close(state, trainer("switch").init(), rtol=1e-6)
    block = state.arrays.encoder.blocks[0]
    assert block.feed_forward.up.shape == (1, 8, EMBED, 56)
    assert parts(block.feed_forward.up) == (1, 4, 12, 28)
    moments = state.optimizer.states.encoder.blocks[0]
    assert (1, 4, 12, 28) in map(parts, jax.tree.leaves(moments.feed_forward.up))
    query, of_query = block.self_attention.query, jax.tree.leaves(moments.self_attention.query)
    (folded,) = [leaf for leaf in of_query if leaf.size == query.size]
    assert (folded.shape, parts(folded)) == ((1, EMBED, 72), (1, 6, 36))


def saved_and_restored(state, directory, number, other):
    """The state, by way of a checkpoint, on another trainer's mesh; bit for bit."""
    checkpoints = Checkpoints(directory)
    checkpoints.save(number, state)
    checkpoints.close()
    again = Checkpoints(directory)
    assert again.steps()[-1] == number
    shapes = with_shardings(jax.eval_shape(other.init), other.shardings)
    restored = again.restore(number, shapes)
    again.close()
    assert_close(state, restored, rtol=0)
    return restored


@pytest.mark.slow
def test_a_run_continues_on_fewer_devices_with_experts_elsewhere(tmp_path):
    """8 devices, 8, 1; the expert axis 8, 2, 1: a step on each, against all on one."""
    # Weights by which no gradient is near 0: Adafactor divides it by its own size, so the sign of a
    # rounding error would move a weight by a whole step.
    expected, moved = start(trainer("switch"), seed=1), None
    for number, shape in enumerate((MeshShape(expert=8), EIGHT, MeshShape())):
        here = trainer("switch", shape)
        began = start(here, seed=1) if moved is None else moved
        moved = began if moved is None else saved_and_restored(began, tmp_path, number, here)
        moved, _ = step("switch", moved, number, shape)
        expected, _ = step("switch", expected, number)
        assert_close(expected.arrays, moved.arrays, atol=5e-5)


def test_loss_falls_and_randomness_is_the_steps(stepped):
    state, first = step("switch", start(trainer("switch"), seed=1))
    assert first.losses.loss_nats == stepped["switch"][1].losses.loss_nats
    for _ in range(4):
        state, last = step("switch", state)
    assert last.losses.loss_nats < first.losses.loss_nats


@pytest.mark.slow
def test_the_noise_of_a_step_is_its_own():
    """The same weights on the same batch lose otherwise at another step, by router jitter."""
    one = trainer_of(replace(config("switch"), switch=replace(SWITCH, jitter=0.3)))
    states = (start(one)._replace(step=jnp.array(number)) for number in (0, 0, 1))
    losses = [float(one.step(state, batch())[1].losses.loss_nats) for state in states]
    assert losses[0] == losses[1] != losses[2]


def test_another_seed_draws_other_first_weights():
    trainers = (trainer_of(config("dense"), seed=seed) for seed in (0, 1))
    one, other = (np.asarray(jax.jit(lambda t=t: t.init().arrays.logits)()) for t in trainers)
    assert np.mean(one == other) < 0.01


def is_unchanged(before, after):
    """Whether all but the number of the step, which is the last leaf, is as it was."""
    pairs = zip(before[:-1], leaves(after)[:-1], strict=True)
    return all(np.array_equal(*pair, equal_nan=True) for pair in pairs)


def test_the_largest_norm_of_the_recipe_decides_what_is_skipped():
    norms = [
        float(step("dense", start(trainer("dense")), seed)[1].gradient_norm) for seed in (0, 1)
    ]
    one = trainer_of(config("dense"), largest_gradient_norm=sum(norms) / 2)
    for seed, norm in enumerate(norms):
        before = leaves(start(one))
        after, metrics = one.step(start(one), batch(seed))
        assert bool(metrics.skipped) == is_unchanged(before, after) == (norm == max(norms))


@pytest.mark.parametrize("factor", [np.inf, 1e8], ids=["not finite", "exploded"])
def test_a_step_that_is_not_finite_or_exploded_changes_nothing(factor):
    state = start(trainer("dense"))
    state = eqx.tree_at(lambda s: s.arrays.logits, state, state.arrays.logits * factor)
    before = leaves(state)
    after, metrics = step("dense", state)
    assert bool(metrics.skipped)
    assert bool(np.isfinite(metrics.gradient_norm)) == np.isfinite(factor)
    assert int(after.step) == 1
    assert is_unchanged(before, after)


@pytest.mark.slow
def test_squares_that_overflow_are_skipped_at_any_limit():
    """The loss is finite and the norm is infinite, which is no larger than the limit."""
    one = trainer_of(config("dense"), largest_gradient_norm=np.inf)
    state = one.init()
    state = eqx.tree_at(lambda s: s.arrays.logits, state, state.arrays.logits * 1e20)
    _, metrics = one.step(state, batch())
    assert np.isfinite(metrics.losses.loss_nats)
    assert np.isinf(metrics.gradient_norm)
    assert bool(metrics.skipped)


@pytest.mark.parametrize(
    ("kind", "pick", "layer"),
    [
        ("switch", lambda m: m.encoder.blocks[0].feed_forward.down, "encoder layer 1"),
        ("dense", lambda m: m.decoder.blocks[0].feed_forward.up, "decoder layer 2"),
        ("dense", lambda m: m.logits, "every layer was finite"),
    ],
)
def test_a_skipped_step_names_the_layer_that_broke_in_the_forward_pass(kind, pick, layer):
    """The last of the scanned blocks."""
    state = start(trainer(kind))
    _, metrics = step(kind, state._replace(arrays=spoiled(state.arrays, pick, -1)))
    assert bool(metrics.skipped)
    sites = gradient_sites(trainer(kind).shapes, config(kind).layers_per_block)
    assert layer in skip_cause(jax.device_get(metrics.trace), sites, limit=10.0)


def test_the_learning_rate_follows_from_the_step_also_after_skipped_ones():
    """Of the state's step, which skipped ones count in; a step moves as far as its rate allows."""
    moved = []
    for number, rate in ((0, 0.1), (7, 0.1 * 3 / 5)):
        state = start(trainer("dense"))
        before = np.asarray(state.arrays.embedding)
        after, metrics = step("dense", state._replace(step=jnp.int32(number)))
        assert float(metrics.learning_rate) == pytest.approx(rate)
        moved.append(np.linalg.norm(after.arrays.embedding - before))
    assert moved[1] / moved[0] == pytest.approx(3 / 5, rel=1e-3)
