"""Which layer a skipped step's numbers came from.

Movements of routers, in an order that names their layers.

Microbatches give the batch's gradients, losses, dropped tokens, jitter and dropout.

One device or eight, dense or sparse: the same step; a step that is skipped changes nothing.

Dropout is that of the trunk and of experts.
"""

import dataclasses
import functools
import re
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import (
    EMBED,
    KINDS,
    assert_close,
    config,
    drawn_like,
    leaves,
    mesh_of,
    start,
    trainer,
)
from small_networks import ROWS as ROWS_TRAIN_STEP
from small_networks import SOURCE as SOURCE_TRAIN_STEP
from small_networks import SWITCH as SWITCH_TRAIN_STEP
from small_networks import batch as batch_train_step

from model.batch import Batch, Call
from model.config import MeshShape, ModelConfig, OptimizerConfig, SwitchConfig
from model.sharding.layouts import batch_sharding, parameter_shardings, with_shardings
from model.step import (
    Trace,
    batch_gradients,
    gradient_sites,
    gradient_squares,
    router_moves,
    router_sites,
    skip_cause,
)
from model.trainer import Trainer, make_trainer
from model.transformer import transformer_shapes
from pipeline.recipe import named
from pipeline.runs.checkpoints import Checkpoints

SWITCH = SwitchConfig(experts=2, every=2, encoder_group_tokens=8, decoder_group_tokens=8)
CONFIG = ModelConfig(
    vocabulary_rows=128,
    embed=4,
    heads=2,
    head=2,
    mlp=6,
    layers=4,
    switch=SWITCH,
)


@pytest.fixture(scope="module")
def gradients():
    shapes = transformer_shapes(CONFIG)
    arrays, _ = eqx.partition(shapes, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    return jax.tree.map(lambda leaf: jnp.array(np.full(leaf.shape, 0.5, np.float32)), arrays)


def cause(gradients, row_loss=(0.0, 0.0), finite=2):
    squares = np.asarray(gradient_squares(gradients))
    found = gradient_sites(gradients, CONFIG.layers_per_block)
    assert len(found) == len(squares)
    rows = np.float32(row_loss), np.zeros(2, np.int32), np.int32([finite, 8])
    return skip_cause(Trace(squares, *rows), found, limit=10.0)


def spoiled(gradients, pick, block, value=np.nan):
    return eqx.tree_at(pick, gradients, pick(gradients).at[block].set(value))


def test_the_squares_are_the_norm(gradients):
    count = sum(leaf.size for leaf in jax.tree.leaves(gradients))
    assert float(gradient_squares(gradients).sum()) == pytest.approx(count / 4)


def test_the_last_spoiled_layer_is_named(gradients):
    """Block 1, second of two layers: layer 4; what lies before it in the network is its victim."""
    broken = spoiled(gradients, lambda m: m.decoder.blocks[1].feed_forward.up, 1)
    broken = spoiled(broken, lambda m: m.decoder.blocks[0].self_attention.query, 1)
    broken = spoiled(broken, lambda m: m.encoder.blocks[0].feed_forward.up, 0)
    broken = spoiled(broken, lambda m: m.embedding, 5)
    for bias in ("encoder", "decoder"):  # whose gradients are sums over layers
        broken = spoiled(broken, lambda m, of=bias: getattr(m, of).position_bias.table, 0)
    assert "in decoder layer 4 (feed_forward.up)" in cause(broken)


def test_the_largest_is_named_where_gradients_exploded(gradients):
    grown = spoiled(gradients, lambda m: m.encoder.blocks[1].feed_forward.router, 0, 1e6)
    assert "100% of its square came from encoder layer 2 (feed_forward.router)" in cause(grown)


def test_the_layer_in_which_a_row_first_broke_is_named(gradients):
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, gradients)
    assert "forward pass stopped being finite in encoder layer 3" in cause(broken)


def test_squares_that_overflow_leave_the_loss_finite(gradients):
    """All gradients are 1e20: finite, and so is the forward pass."""
    large = jax.tree.map(lambda leaf: leaf * 2e20, gradients)
    assert "the gradient stopped being finite in logits" in cause(large, finite=8)


def test_a_loss_of_a_wrong_target_has_finite_gradients(gradients):
    assert "every layer was finite in the forward pass and the loss was not" in cause(
        gradients, row_loss=(1.0, np.nan), finite=8
    )


@functools.cache
def accumulating_trainer() -> Trainer:
    """Compiled once for all spoiled weights; scanned, which is less to compile."""
    return make_trainer(
        CONFIG,
        OptimizerConfig(hold_steps=1),
        steps=2,
        seed=0,
        mesh=mesh_of(),
        accumulate=2,
        remat="full",
    )


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
    trainer = accumulating_trainer()
    state = start(trainer)
    state = state._replace(arrays=spoiled(state.arrays, pick, -1))
    ids = jnp.ones((4, 8), jnp.int32)
    _, metrics = trainer.step(state, Batch(ids, ids, jnp.zeros(4, jnp.int32)))
    found = gradient_sites(trainer.shapes, CONFIG.layers_per_block)
    assert bool(metrics.skipped)
    assert layer in skip_cause(jax.device_get(metrics.trace), found, limit=10.0)


def filled(shapes, value):
    return jax.tree.map(
        lambda leaf: jnp.full(leaf.shape, value) if hasattr(leaf, "shape") else leaf,
        eqx.filter(shapes, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct)),
    )


def test_the_moved_router_is_the_named_one():
    config = named.get("switch-demo").model
    shapes = transformer_shapes(config)
    before, after = filled(shapes, 1.0), filled(shapes, 1.0)
    sites = router_sites(gradient_sites(before, config.layers_per_block))
    assert len(sites) == len(set(sites))
    moved = next(site for site in sites if site.layer.startswith("decoder"))

    def move(path, leaf):
        names = [getattr(key, "name", None) for key in path]
        first_block = names[0] == "decoder" and names[-1] == "router"
        return leaf.at[0].add(2.0) if first_block else leaf

    after = jax.tree_util.tree_map_with_path(move, after)
    moves = np.asarray(router_moves(before, after))
    assert len(moves) == len(sites)
    expected = [
        4.0 * config.embed * config.switch.experts if site == moved else 0 for site in sites
    ]
    np.testing.assert_allclose(moves, expected)


def test_a_dense_network_has_no_routers():
    config = named.get("mt5-demo").model
    shapes = filled(transformer_shapes(config), 1.0)
    assert router_moves(shapes, shapes).shape == (0,)
    assert router_sites(gradient_sites(shapes, config.layers_per_block)) == []


ROWS, SOURCE, TARGET = 16, 8, 4
SWITCH_ACCUMULATION = SwitchConfig(
    experts=4,
    every=1,
    encoder_group_tokens=16,
    decoder_group_tokens=8,
    jitter=0.3,
    expert_dropout=0.3,
)
CONFIG_ACCUMULATION = ModelConfig(
    vocabulary_rows=128,
    embed=8,
    heads=2,
    head=4,
    mlp=8,
    layers=1,
    switch=SWITCH_ACCUMULATION,
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


def gradients_accumulation(shape, accumulate, switch=SWITCH_ACCUMULATION):
    """Gradients and losses, in so many microbatches."""
    mesh = mesh_of(shape)
    shapes, static = eqx.partition(
        transformer_shapes(replace(CONFIG_ACCUMULATION, switch=switch)),
        lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct),
    )
    call = Call(mesh, jax.random.key(1), dropout=0.2)
    shardings = parameter_shardings(shapes, mesh)
    run = jax.jit(
        lambda arrays, batch: batch_gradients(static, arrays, batch, call, accumulate),
        in_shardings=(shardings, batch_sharding(mesh)),
    )
    return run(jax.device_put(drawn_like(shapes), shardings), batch())


DISPATCHES = {
    "groups": SWITCH_ACCUMULATION,
    "pools": replace(SWITCH_ACCUMULATION, encoder_pooled_groups=2),
    "dropless": replace(SWITCH_ACCUMULATION, dispatch="dropless"),
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
    at_once = gradients_accumulation(MeshShape(), 1, DISPATCHES[dispatch])
    added_up = gradients_accumulation(shape, accumulate, DISPATCHES[dispatch])
    (gradients, losses, rows), (added_gradients, added_losses, added_rows) = at_once, added_up
    assert (0.01 < losses.dropped_share < 0.9) == (dispatch != "dropless")
    assert_close(losses, added_losses, rtol=1e-5, atol=1e-6)
    assert_close(rows, added_rows, rtol=1e-5, atol=1e-6)
    assert_close(gradients, added_gradients, rtol=1e-4, atol=1e-5)


MIXED = MeshShape(data=2, expert=2, model=2)
SLICES = MeshShape(data=4, expert=2, slices=4, expert_slices=2)
MESHES = [MeshShape(data=8), MeshShape(expert=8), MeshShape(model=8), MIXED, SLICES]
CASES = [
    ("switch", MIXED),
    ("dense", MIXED),
    *(pytest.param("switch", shape, marks=pytest.mark.slow) for shape in MESHES if shape != MIXED),
]


@functools.cache
def compiled(kind, shape=MeshShape()):  # noqa: B008
    one = trainer(kind, shape)
    return one.step.lower(jax.eval_shape(one.init), batch_train_step()).compile()


def step(kind, state, seed=0, shape=MeshShape()):  # noqa: B008
    rows = jax.device_put(batch_train_step(seed), batch_sharding(mesh_of(shape)))
    return compiled(kind, shape)(state, rows)


@pytest.fixture(scope="module")
def stepped():
    """The step on one device: its start, its end and its metrics."""
    starts = {kind: leaves(trainer(kind).init()) for kind in KINDS}
    return {kind: (starts[kind], *step(kind, trainer(kind).init())) for kind in KINDS}


# test_switch_layer.py compares one layer in every routing; here a whole step is compared.
@pytest.mark.parametrize(("kind", "shape"), CASES, ids=str)
def test_a_step_on_eight_devices_is_the_step_on_one(stepped, kind, shape):
    start, after_one, metrics_one = stepped[kind]
    eight = trainer(kind, shape)
    state = jax.tree.unflatten(jax.tree.structure(eight.shardings), start)
    after_eight, metrics_eight = step(kind, jax.device_put(state, eight.shardings), shape=shape)
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
    program = compiled("switch", MIXED).as_text()
    exchanges = re.findall(r" all-to-all(?:-start)?\(", program)
    assert len(exchanges) == 2 * 4
    gathered = re.findall(r"= \(?\w+\[([\d,]+)\]\S* all-gather(?:-start)?\(", program)
    assert gathered
    parameters = [leaf.shape for leaf in jax.tree.leaves(trainer("switch").shapes)]
    parameters.append((EMBED, 36))  # half of the heads, joined with their width
    for text in gathered:
        shape = tuple(int(size) for size in text.split(","))
        assert shape == (ROWS_TRAIN_STEP,) or any(
            is_part_of(shape, whole) for whole in parameters
        ), shape
    for activation in (
        (1, SOURCE_TRAIN_STEP, EMBED),
        (ROWS_TRAIN_STEP, SOURCE_TRAIN_STEP, EMBED),
        (4, 2, 2, EMBED),
    ):
        assert not any(is_part_of(activation, whole) for whole in parameters)


def is_part_of(shape, whole):
    """True if each size divides the parameter's; dimensions of one do not count."""
    shape, whole = (sorted(size for size in sizes if size > 1) for sizes in (shape, whole))
    return len(shape) == len(whole) and all(w % s == 0 for s, w in zip(shape, whole, strict=True))


def test_parameters_and_moments_are_sharded_from_the_first_step(stepped):
    state = trainer("switch", MIXED).init()
    for ours, one in zip(leaves(state), stepped["switch"][0], strict=True):
        np.testing.assert_allclose(ours, one, rtol=1e-6)
    expert = state.arrays.encoder.blocks[0].feed_forward.up
    assert expert.shape == (1, 8, EMBED, 56)
    assert expert.sharding.shard_shape(expert.shape) == (1, 4, 12, 28)
    moments = state.optimizer.states.encoder.blocks[0].feed_forward.up
    shapes = {leaf.sharding.shard_shape(leaf.shape) for leaf in jax.tree.leaves(moments)}
    assert (1, 4, 12, 28) in shapes
    query = state.arrays.encoder.blocks[0].self_attention.query
    moments = state.optimizer.states.encoder.blocks[0].self_attention.query
    folded = [leaf for leaf in jax.tree.leaves(moments) if leaf.size == query.size]
    assert [leaf.shape for leaf in folded] == [(1, EMBED, 72)]
    assert folded[0].sharding.shard_shape(folded[0].shape) == (1, 6, 36)


def saved_and_restored(state, directory, number, other):
    """The state, by way of a checkpoint, on another trainer's mesh; bit for bit."""
    checkpoints = Checkpoints(directory)
    checkpoints.save(number, state)
    checkpoints.close()
    shapes = with_shardings(jax.eval_shape(other.init), other.shardings)
    again = Checkpoints(directory)
    assert again.steps()[-1] == number
    restored = again.restore(number, shapes)
    again.close()
    for left, right in zip(leaves(state), leaves(restored), strict=True):
        np.testing.assert_array_equal(left, right)
    return restored


@pytest.mark.slow
def test_a_run_continues_on_fewer_devices_with_experts_elsewhere(tmp_path):
    """8 devices, 8, 1; the expert axis 8, 2, 1: a step on each, against all on one."""
    # Weights by which no gradient is near 0: Adafactor divides it by its own size, so the sign of a
    # rounding error would move a weight by a whole step.
    expected, moved = start(trainer("switch"), seed=1), None
    for number, shape in enumerate((MESHES[1], MIXED, MeshShape())):
        here = trainer("switch", shape)
        moved = (
            start(here, seed=1)
            if moved is None
            else saved_and_restored(moved, tmp_path, number, here)
        )
        moved, _ = step("switch", moved, number, shape)
        expected, _ = step("switch", expected, number)
        assert_close(expected.arrays, moved.arrays, atol=5e-5)


def test_loss_falls_and_randomness_is_the_steps(stepped):
    state, last = step("switch", trainer("switch").init())
    for _ in range(5):
        state, last = step("switch", state)
    first = stepped["switch"][2].losses.loss_nats
    assert last.losses.loss_nats < first
    _, again = step("switch", trainer("switch").init())
    assert again.losses.loss_nats == first


@pytest.mark.slow
def test_the_noise_of_a_step_is_its_own():
    """The same weights on the same batch lose otherwise at another step, by router jitter."""
    jittered = dataclasses.replace(SWITCH_TRAIN_STEP, jitter=0.3)
    one = make_trainer(
        dataclasses.replace(config("switch"), switch=jittered),
        OptimizerConfig(hold_steps=100),
        steps=10,
        seed=0,
        mesh=mesh_of(),
    )
    losses = [
        float(
            one.step(start(one)._replace(step=jnp.array(number)), batch_train_step())[
                1
            ].losses.loss_nats
        )
        for number in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_another_seed_draws_other_first_weights():
    weights = [
        make_trainer(config("dense"), OptimizerConfig(), steps=1, seed=seed, mesh=mesh_of())
        .init()
        .arrays.embedding
        for seed in (0, 1)
    ]
    assert np.mean(np.asarray(weights[0]) == np.asarray(weights[1])) < 0.01


@pytest.mark.parametrize("share", [0.99, 1.01])
def test_the_largest_norm_of_the_recipe_decides_what_is_skipped(share):
    norm = float(step("dense", start(trainer("dense")))[1].gradient_norm)
    limited = OptimizerConfig(hold_steps=100, largest_gradient_norm=share * norm)
    one = make_trainer(config("dense"), limited, steps=10, seed=0, mesh=mesh_of())
    before = leaves(start(one))
    after, metrics = one.step(start(one), batch_train_step())
    assert bool(metrics.skipped) == (share < 1)
    same = [np.array_equal(*pair) for pair in zip(before, leaves(after), strict=True)]
    assert all(same[:-1]) == (share < 1)  # the last one is the number of the step


@pytest.mark.parametrize("factor", [np.inf, 1e8], ids=["not finite", "exploded"])
def test_a_step_that_is_not_finite_or_exploded_changes_nothing(factor):
    state = start(trainer("dense"))
    poisoned = state._replace(
        arrays=eqx.tree_at(lambda m: m.logits, state.arrays, state.arrays.logits * factor)
    )
    before = leaves(poisoned)
    after, metrics = step("dense", poisoned)
    assert bool(metrics.skipped)
    assert bool(np.isfinite(metrics.gradient_norm)) == np.isfinite(factor)
    assert int(after.step) == 1
    for left, right in zip(before[:-1], leaves(after)[:-1], strict=True):
        np.testing.assert_array_equal(left, right)
    _, metrics = step("dense", start(trainer("dense")))
    assert not bool(metrics.skipped)


@pytest.mark.slow
def test_squares_that_overflow_are_skipped_at_any_limit():
    """The loss is finite and the norm is infinite, which is no larger than the limit."""
    optimizer = OptimizerConfig(hold_steps=100, largest_gradient_norm=np.inf)
    mesh = mesh_of(MeshShape())
    one = make_trainer(config("dense"), optimizer, steps=10, seed=0, mesh=mesh)
    state = one.init()
    large = eqx.tree_at(lambda m: m.logits, state.arrays, state.arrays.logits * 1e20)
    rows = jax.device_put(batch_train_step(), batch_sharding(mesh))
    _, metrics = one.step(state._replace(arrays=large), rows)
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
    """The last of the scanned blocks; microbatches and larger blocks are tested below."""
    state = start(trainer(kind))
    last = jax.tree.map(lambda leaf: leaf.at[-1].set(jnp.nan), pick(state.arrays))
    state = state._replace(arrays=eqx.tree_at(pick, state.arrays, last))
    _, metrics = step(kind, state)
    assert bool(metrics.skipped)
    sites = gradient_sites(trainer(kind).shapes, config(kind).layers_per_block)
    assert layer in skip_cause(jax.device_get(metrics.trace), sites, limit=10.0)


def test_the_learning_rate_follows_from_the_step_also_after_skipped_ones():
    """Steps 0 and 1 are skipped; step 2 moves as far as its own rate allows."""
    falling = OptimizerConfig(hold_steps=1, decay_from=0.0)
    one_layer = dataclasses.replace(config("dense"), layers=1)
    train = make_trainer(one_layer, falling, steps=4, seed=0, mesh=mesh_of())
    broken = start(train)
    broken = broken._replace(arrays=jax.tree.map(lambda leaf: leaf * np.nan, broken.arrays))
    for _ in range(2):
        broken, metrics = train.step(broken, batch_train_step())
        assert bool(metrics.skipped)
    late, metrics = train.step(
        start(train)._replace(step=jnp.int32(broken.step)), batch_train_step()
    )
    assert float(metrics.learning_rate) == pytest.approx(2**-0.5 / 2)
    early, first = train.step(start(train), batch_train_step())
    assert float(first.learning_rate) == 1.0
    moved = [
        np.linalg.norm(np.subtract(state.arrays.embedding, start(train).arrays.embedding))
        for state in (late, early)
    ]
    assert moved[0] / moved[1] == pytest.approx(2**-0.5 / 2, rel=1e-3)
