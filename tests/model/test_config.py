"""Sizes that fit together, capacity, and FLOPs as the compiler counts them.

The table from dimension names to mesh axes, and where parameters are stored.

Meshes: what fits, and how several slices are laid out.

Adafactor and AdamW against slow ones, matrix by matrix; learning-rate schedules.

A student's loss against loops over ids; its step on eight devices and in microbatches.
"""

import dataclasses
import functools
import math
from dataclasses import dataclass, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_networks import assert_close, drawn, mesh_of, start

from model.batch import Batch, Call
from model.config import (
    ConfigurationError,
    DistillationConfig,
    MeshShape,
    ModelConfig,
    OptimizerConfig,
    RateFrom,
    SwitchConfig,
    expert_capacity,
)
from model.flops import forward_flops
from model.loss.cross_entropy import Computation, Labels, LogitFactors, Objective, cross_entropy
from model.loss.training_loss import Distillation, training_loss
from model.optimizer import (
    MatrixStack,
    adafactor,
    adamw,
    learning_rate,
    make_optimizer,
    matrix_stacks,
    per_matrix,
)
from model.sharding.layouts import (
    batch_sharding,
    dimension_names,
    is_names,
    parameter_shardings,
    spec,
    storage,
)
from model.sharding.mesh import abstract_mesh, arrange_devices, check_fit, make_mesh
from model.trainer import make_trainer
from model.transformer import transformer_shapes
from pipeline.recipe.fits import with_mesh
from pipeline.recipe.named import get


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
    ("changes", "message"),
    [
        ({"choices": 5}, "5 of 4"),
        ({"choices": 0}, "choices was 0"),
        ({"expert_dropout": 1.0}, "below 1"),
        ({"router_scale": 0.0}, "router_scale was 0"),
        ({"expert_output_scale": 0.0}, "expert_output_scale was 0"),
        ({"bias_rate": -0.1}, "bias_rate was -0.1"),
        ({"quantile_rate": 1.5}, "quantile_rate was 1.5"),
        ({"bias_rate": 0.1, "quantile_rate": 1.0}, "follow one rule"),
        ({"quantile_rate": 1.0, "choices": 4}, "nothing to balance"),
        ({"shared_mlp": -1}, "shared_mlp was -1"),
    ],
)
def test_unusable_routing(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        switch(**changes)


CONFIG = ModelConfig(
    vocabulary_rows=1024,
    embed=64,
    heads=4,
    head=16,
    mlp=128,
    layers=1,
    activation_dtype="float32",
)


def test_layers_that_do_not_divide():
    with pytest.raises(ConfigurationError, match="multiple"):
        dataclasses.replace(CONFIG, layers=3, switch=switch(every=2))


def test_a_shared_expert_counts_as_a_wider_feed_forward():
    """As every token goes through both."""
    beside = dataclasses.replace(CONFIG, mlp=96, switch=switch(shared_mlp=32))
    assert forward_flops(beside, 64, 32) == forward_flops(CONFIG, 64, 32)
    half = dataclasses.replace(CONFIG, layers=2, switch=switch(every=2, shared_mlp=64))
    wider = dataclasses.replace(CONFIG, layers=2, mlp=160)
    assert forward_flops(half, 64, 32) == forward_flops(wider, 64, 32)


def test_each_expert_of_a_token_counts():
    pairs = dataclasses.replace(CONFIG, layers=2, switch=switch(every=2, choices=2))
    wider = dataclasses.replace(CONFIG, layers=2, mlp=3 * CONFIG.mlp // 2)
    assert forward_flops(pairs, 64, 32) == forward_flops(wider, 64, 32)


def test_flops_equal_the_compilers():
    """XLA's own count of the forward pass of one block; norms and softmax are the 6 % it adds."""
    arrays, static = eqx.partition(
        transformer_shapes(CONFIG), lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct)
    )
    sizes = ((1, 64), (1, 32), (1,))
    batch = Batch(*(jnp.ones(size, jnp.int32) for size in sizes))

    @jax.jit
    def forward(arrays):
        model = eqx.combine(arrays, static)
        return model.head(model(batch, Call(mesh_of())).decoded)

    measured = forward.lower(arrays).compile().cost_analysis()["flops"]
    assert measured == pytest.approx(forward_flops(CONFIG, 64, 32), rel=0.06)


EIGHT = MeshShape(data=2, expert=2, model=2)


def test_an_unknown_dimension_never_replicates_silently():
    with pytest.raises(KeyError):
        spec("embed surprise")
    with pytest.raises(KeyError):
        storage("embed surprise", (8, 8), mesh_of())


@pytest.mark.parametrize(
    ("names", "shape", "part"),
    [
        ("embed mlp", (16, 4), (4, 2)),
        ("heads head embed", (2, 4, 6), (1, 4, 3)),  # 6 / 4: not whole; heads stay joined to head
        ("mlp embed", (8, 6), (2, 3)),  # the other two devices split the other dimension
        ("vocabulary embed", (6, 6), (3, 3)),  # 6 / 2 / 2: not whole
        ("embed mlp", (15, 8), (15, 1)),
        ("blocks experts embed mlp", (2, 2, 16, 4), (2, 1, 8, 2)),
        ("blocks embed", (2, 16), (2, 16)),
        ("buckets heads", (32, 2), (32, 1)),
    ],
)
def test_the_part_of_a_parameter_that_a_device_stores(names, shape, part):
    for mesh in (mesh_of(EIGHT), abstract_mesh(EIGHT)):
        assert storage(names, shape, mesh).shard_shape(shape) == part


@pytest.mark.parametrize(
    "slices",
    [MeshShape(data=4, expert=2, slices=2), MeshShape(data=1, expert=8, slices=2, expert_slices=2)],
)
def test_a_slice_stores_all_parameters_but_experts(slices):
    mesh = mesh_of(slices)
    assert storage("embed mlp", (16, 4), mesh).shard_shape((16, 4)) == (4, 4)
    experts = storage("experts embed mlp", (8, 16, 4), mesh).shard_shape((8, 16, 4))
    assert math.prod(experts) * 8 // slices.data_slices == 8 * 16 * 4


def test_dense_parameters_of_switch_c_are_split_on_any_number_of_chips():
    """2,080 is 32 x 65: over 2,048 devices of a slice, the vocabulary is split 64 ways too."""
    recipe = get("switch-c")
    mesh = abstract_mesh(MeshShape(expert=2048, model=2))
    embed, rows = recipe.model.embed, recipe.model.vocabulary_rows
    table = storage("vocabulary embed", (rows, embed), mesh)
    assert table.shard_shape((rows, embed)) == (rows // 2 // 64, 65)
    query = storage("blocks embed heads head", (15, embed, 30, 64), mesh)
    assert query.shard_shape((15, embed, 30, 64)) == (15, 65, 15, 64)


def test_a_dense_model_is_split_over_more_devices_than_its_width():
    recipe = with_mesh(get("mt5-base"), 1024)
    assert recipe.mesh == MeshShape(data=1024)
    up = storage("embed mlp", (768, 2048), abstract_mesh(recipe.mesh))
    assert math.prod(up.shard_shape((768, 2048))) * 1024 == 768 * 2048


@dataclass(frozen=True)
class Device:
    """The attributes of a device that the layout reads."""

    id: int
    slice_index: int
    platform: str = "simulated"
    device_kind: str = "simulated"
    process_index: int = 0


@dataclass(frozen=True)
class Card:
    """A GPU has its host only."""

    id: int
    process_index: int
    platform: str = "gpu"
    device_kind: str = "simulated"


@dataclass(frozen=True)
class DescribedCard(Card):
    """A GPU as the compiler describes it: all are of slice 0."""

    slice_index: int = 0


def two_of_four(kind):
    return [kind(number, number // 4) for number in range(8)]


@pytest.mark.parametrize("kind", [Device, Card, DescribedCard])
def test_experts_and_widths_never_cross_slices(kind):
    mesh = arrange_devices(MeshShape(data=4, expert=2, slices=2), two_of_four(kind))
    assert mesh.shape == (2, 2, 1, 2, 1)
    assert sorted(device.id for device in mesh.flat) == list(range(8))
    halves = [{device.id // 4 for device in half.flat} for half in mesh]
    assert halves == [{0}, {1}]


def test_experts_may_be_split_over_slices():
    mesh = arrange_devices(
        MeshShape(expert=4, model=2, slices=2, expert_slices=2), two_of_four(Device)
    )
    assert mesh.shape == (1, 1, 2, 2, 2)
    assert [[device.id for device in half.flat] for half in mesh[0, 0]] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
    ]


def test_of_four_slices_two_may_be_along_each_axis():
    devices = [Device(number, number // 2) for number in range(8)]
    shape = MeshShape(data=2, expert=4, slices=4, expert_slices=2)
    mesh = arrange_devices(shape, devices)[:, 0, :, :, 0]
    found = [[[device.slice_index for device in row] for row in half] for half in mesh]
    assert found == [[[0, 0], [1, 1]], [[2, 2], [3, 3]]]
    assert shape.within_slice == {"replica": 1, "data": 1, "slice": 1, "expert": 2, "model": 1}


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (MeshShape(expert=8, slices=2, expert_slices=3), "must divide both"),
        (MeshShape(data=4, expert=2, slices=4, expert_slices=4), "must divide both"),
        (MeshShape(data=8, slices=4), r"found 2 hosts of \[4, 4\]"),
        (
            MeshShape(data=1, expert=8, slices=2),
            "mesh.data to a multiple of 2, or mesh.expert_slices",
        ),
    ],
)
def test_slices_that_do_not_exist(shape, message):
    with pytest.raises(ConfigurationError, match=message):
        arrange_devices(shape, two_of_four(Card))


def test_a_mesh_must_use_the_devices():
    with pytest.raises(ConfigurationError, match=r"needs 6 devices; found 8 \(cpu\).*jax\[tpu\]"):
        make_mesh(MeshShape(data=6))


SWITCH = SwitchConfig(experts=8, every=1, encoder_group_tokens=64, decoder_group_tokens=8)
CONFIG_MESH = ModelConfig(
    vocabulary_rows=128, embed=32, heads=2, head=8, mlp=64, layers=1, switch=SWITCH
)


def test_everything_that_does_not_fit_is_reported_at_once():
    mesh = make_mesh(MeshShape(data=2, expert=2, model=2))
    with pytest.raises(ConfigurationError) as error:
        check_fit(CONFIG_MESH, mesh, rows=6, inputs=10, targets=5)
    for part in (
        "rows of a batch (6)",
        "encoder tokens of a device, 10 per row (15)",
        "decoder tokens",
    ):
        assert part in str(error.value)


def test_a_device_without_a_group_is_refused():
    mesh = make_mesh(MeshShape(data=8))
    check_fit(CONFIG_MESH, mesh, rows=8, inputs=64, targets=8)
    with pytest.raises(ConfigurationError, match="encoder tokens of a device"):
        check_fit(CONFIG_MESH, mesh, rows=8, inputs=32, targets=8)


POOLED = replace(
    CONFIG_MESH, switch=replace(SWITCH, encoder_pooled_groups=4, decoder_pooled_groups=4)
)


@pytest.mark.parametrize(
    ("shape", "rows"),
    [
        (MeshShape(expert=8), 8),  # a pool on four devices
        (MeshShape(data=2, expert=4), 8),  # one pool per data shard
        (MeshShape(expert=8), 64),  # two pools on each device
    ],
)
def test_pools_lie_on_one_device_or_on_whole_devices(shape, rows):
    check_fit(POOLED, make_mesh(shape), rows=rows, inputs=64, targets=8)


@pytest.mark.parametrize(
    ("shape", "rows", "message"),
    [
        (MeshShape(data=8), 8, r"groups along the expert axis \(1\) must be a multiple of 4"),
        (MeshShape(data=4, expert=2), 8, r"along the expert axis \(2\)"),
        (MeshShape(expert=8), 24, r"encoder groups of a pool \(4\) must be a multiple of 3"),
        (MeshShape(expert=8), 48, r"decoder groups of a device \(6\) must be a multiple of 4"),
    ],
)
def test_a_pool_on_part_of_a_device_or_across_the_data_axis_is_refused(shape, rows, message):
    with pytest.raises(ConfigurationError, match=message):
        check_fit(POOLED, make_mesh(shape), rows=rows, inputs=64, targets=8)


def slow_adafactor(gradients, parameter, rate):
    """Adafactor of one matrix (Shazeer and Stern 2018, algorithm 4; no momentum), in float64."""
    parameter = parameter.astype(np.float64).copy()
    factored = parameter.ndim >= 2 and sorted(parameter.shape)[-2] >= 128
    row = np.zeros(parameter.shape[:-1])
    column = np.zeros(parameter.shape[:-2] + parameter.shape[-1:]) if parameter.ndim > 1 else 0
    second = np.zeros(parameter.shape)
    for step, gradient in enumerate(gradients, 1):
        decay = 1 - step**-0.8
        squared = gradient.astype(np.float64) ** 2 + 1e-30
        if factored:
            row = decay * row + (1 - decay) * squared.mean(-1)
            column = decay * column + (1 - decay) * squared.mean(-2)
            second = row[..., None] * column[..., None, :] / row.mean(-1, keepdims=True)[..., None]
        else:
            second = decay * second + (1 - decay) * squared
        update = gradient / np.sqrt(second)
        update /= max(1.0, np.sqrt(np.mean(update**2)))
        scale = max(1e-3, np.sqrt(np.mean(parameter**2)))
        parameter -= rate * scale * update
    return parameter


def moved_by(optimizer, parameter, gradients):
    """The parameter after one step per gradient."""

    @jax.jit
    def step(moved, state, gradient):
        updates, state = optimizer.update(gradient, state, moved)
        return optax.apply_updates(moved, updates), state

    moved, state = jnp.array(parameter), jax.jit(optimizer.init)(parameter)
    for gradient in gradients:
        moved, state = step(moved, state, jnp.array(gradient))
    return moved


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 128, 130)])
def test_equals_a_slow_adafactor_of_every_matrix(shape):
    generator = np.random.default_rng(0)
    scales = np.array([[1.0, 1e-2, 1e-4], [10.0, 0.1, 1e-3]])[:, :, None, None]
    parameter = (generator.normal(size=shape) * scales).astype(np.float32)
    gradients = [(generator.normal(size=shape) / scales).astype(np.float32) for _ in range(4)]
    inner = optax.chain(adafactor(), optax.scale_by_learning_rate(0.01))
    optimizer = per_matrix(inner, MatrixStack(2, shape))
    moved = moved_by(optimizer, parameter, gradients)
    for block in range(2):
        for expert in range(3):
            expected = slow_adafactor(
                [gradient[block, expert] for gradient in gradients], parameter[block, expert], 0.01
            )
            smallest = 1e-6 * np.abs(expected).max()  # float32 of a difference of near numbers
            np.testing.assert_allclose(moved[block, expert], expected, rtol=2e-5, atol=smallest)


def test_the_whole_chain_knows_which_dimensions_are_stacks():
    """Of a real model: every leaf moves as the slow Adafactor of its matrices does."""
    switch = SwitchConfig(experts=3, every=2, encoder_group_tokens=8, decoder_group_tokens=8)
    config = ModelConfig(
        vocabulary_rows=128, embed=8, heads=2, head=4, mlp=12, layers=4, switch=switch
    )
    arrays, _ = eqx.partition(drawn(config), eqx.is_array)
    optimizer = make_optimizer(OptimizerConfig(), arrays)
    gradients = jax.tree.map(
        lambda leaf: np.cos(np.arange(leaf.size, dtype=np.float32)).reshape(leaf.shape), arrays
    )
    updates, _ = jax.jit(
        lambda gradients, arrays: optimizer.update(gradients, optimizer.init(arrays), arrays)
    )(gradients, arrays)
    names = jax.tree.leaves(dimension_names(arrays), is_leaf=is_names)
    for leaf, gradient, update, dimensions in zip(
        *(jax.tree.leaves(tree) for tree in (arrays, gradients, updates)), names, strict=True
    ):
        experts = dimensions[:2] == (
            "blocks",
            "experts",
        )  # a router's last dimension is not a stack
        stacks = 2 if experts else int(dimensions[0] == "blocks")
        flat = (-1, *leaf.shape[stacks:])
        for matrix, slope, moved in zip(
            *(np.asarray(tree).reshape(flat) for tree in (leaf, gradient, update)), strict=True
        ):
            expected = slow_adafactor([slope], matrix, 0.1) - matrix
            np.testing.assert_allclose(-0.1 * moved, expected, rtol=1e-3, atol=1e-7)


def test_the_recipes_weight_decay_shrinks_matrices_and_spares_norms():
    """With gradients of zero AdamW only decays."""
    config = ModelConfig(vocabulary_rows=128, embed=8, heads=2, head=4, mlp=12, layers=1)
    arrays, _ = eqx.partition(drawn(config), eqx.is_array)
    optimizer = make_optimizer(OptimizerConfig(rule="adamw", weight_decay=0.1), arrays)
    zeros = jax.tree.map(jnp.zeros_like, arrays)
    updates, _ = jax.jit(lambda: optimizer.update(zeros, optimizer.init(arrays), arrays))()
    decayed = updates.encoder.blocks[0].feed_forward.up, arrays.encoder.blocks[0].feed_forward.up
    np.testing.assert_allclose(decayed[0], 0.1 * decayed[1], rtol=1e-6)
    np.testing.assert_array_equal(updates.encoder.final_norm.scale, 0)


def test_attention_is_a_matrix_to_the_optimizer():
    """Heads and their width are one dimension, as in T5: 64 alone would be too short to factor."""
    config = ModelConfig(vocabulary_rows=128, embed=128, heads=2, head=64, mlp=128, layers=1)
    shapes = transformer_shapes(config)
    attention = matrix_stacks(shapes).encoder.blocks[0].self_attention
    assert attention.query == MatrixStack(1, (1, 128, 128))
    assert attention.output == MatrixStack(1, (1, 128, 128))
    parameter = jax.random.normal(jax.random.key(1), (1, 128, 2, 64))
    optimizer = per_matrix(optax.scale_by_factored_rms(decay_rate=0.8), attention.query)
    gradient = jax.random.normal(jax.random.key(2), parameter.shape)
    moved, _ = jax.jit(
        lambda gradient: optimizer.update(gradient, optimizer.init(parameter), parameter)
    )(gradient)
    squared = np.square(np.asarray(gradient[0]).reshape(128, 128))
    second = np.outer(squared.mean(1), squared.mean(0)) / squared.mean()
    expected = np.asarray(gradient[0]).reshape(128, 128) / np.sqrt(second)
    np.testing.assert_allclose(moved[0].reshape(128, 128), expected, rtol=1e-4)


def test_a_router_is_one_matrix_to_the_optimizer():
    """Its experts are its columns: each embedding dimension alone would be clipped by itself."""
    config = ModelConfig(
        vocabulary_rows=128, embed=24, heads=2, head=16, mlp=32, layers=1, switch=SwitchConfig(
            experts=8, every=1, encoder_group_tokens=8, decoder_group_tokens=8
        )
    )  # fmt: skip
    shapes = transformer_shapes(config)
    switch = matrix_stacks(shapes).encoder.blocks[0].feed_forward
    assert switch.router == MatrixStack(1, (1, 24, 8))
    assert switch.up == MatrixStack(2, (1, 8, 24, 32))


def test_t5s_schedule():
    rate = learning_rate(OptimizerConfig(), steps=1_000_000)
    assert rate(0) == pytest.approx(0.01)
    assert rate(10_000) == pytest.approx(0.01)
    assert rate(1_000_000 - 1) == pytest.approx(1e-3, rel=1e-3)


def test_a_later_rate_holds_from_its_step_on():
    later = RateFrom(step=7, scale=0.5, hold_steps=9), RateFrom(step=18, decay_from=0.5)
    rate = learning_rate(OptimizerConfig(rate_from=later), 20)
    expected = {
        0: 0.01,
        6: 0.01,
        7: 0.5 / 3,
        9: 0.5 / 3,
        16: 0.5 / 4,
        17: 0.5 / 17**0.5,
        18: 0.01 * 2 / 10,
        19: 0.01 * 1 / 10,
    }
    assert {step: float(rate(step)) for step in expected} == pytest.approx(expected)


def test_the_decay_ends_at_zero_and_never_rises():
    rate = learning_rate(OptimizerConfig(hold_steps=100, decay_from=0.5), steps=1000)
    rates = np.asarray(jax.vmap(rate)(jnp.arange(1001)))
    assert (np.diff(rates) <= 1e-9).all()
    assert rates[-1] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decay_from": 2.0}, "decay_from"),
        ({"weight_decay": 0.1}, "set optimizer.rule=adamw"),
        ({"largest_gradient_norm": 0.0}, "positive"),
        ({"warm_up_steps": 2**31}, "from 0 to"),
    ],
)
def test_unusable_settings(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        OptimizerConfig(**settings)


def slow_adamw(gradients, parameter, rate, weight_decay):
    """AdamW of one array (Loshchilov and Hutter 2019, algorithm 2), in float64."""
    parameter = parameter.astype(np.float64).copy()
    first, second = np.zeros_like(parameter), np.zeros_like(parameter)
    for step, gradient in enumerate(gradients, 1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient.astype(np.float64) ** 2
        update = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        decay = weight_decay if parameter.ndim > 1 else 0.0
        parameter -= rate * (update + decay * parameter)
    return parameter


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 5)], ids=["matrices", "vectors"])
def test_adamw_equals_a_slow_adamw(shape):
    generator = np.random.default_rng(0)
    parameter = generator.normal(size=shape).astype(np.float32)
    gradients = [generator.normal(size=shape).astype(np.float32) for _ in range(4)]
    inner = optax.chain(adamw(0.1), optax.scale_by_learning_rate(0.01))
    optimizer = per_matrix(inner, MatrixStack(2, shape))
    moved = moved_by(optimizer, parameter, gradients)
    for place in np.ndindex(2, 3):
        expected = slow_adamw([g[place] for g in gradients], parameter[place], 0.01, 0.1)
        np.testing.assert_allclose(moved[place], expected, rtol=1e-5, atol=1e-6)


def test_warming_up_rises_to_the_rate():
    rate = learning_rate(OptimizerConfig(hold_steps=100, warm_up_steps=10), steps=1000)
    assert [float(rate(step)) for step in (0, 4, 9, 50)] == pytest.approx([0.01, 0.05, 0.1, 0.1])


def test_the_rate_of_the_longest_run_is_exact_to_float32():
    steps = 2**31 - 1
    rate = learning_rate(OptimizerConfig(decay_from=0.5), steps=steps)
    for step in (0, 2**24 + 1, 2**30, 3 * 2**29, steps - 1):
        expected = min(2 * (steps - step) / steps, 1) / max(step, 10_000) ** 0.5
        assert float(rate(jnp.int32(step))) == pytest.approx(expected, rel=1e-5, abs=1e-11)


ROWS, SOURCE, TARGET, IDS = 8, 16, 8, 128
SWITCH_DISTILLATION = SwitchConfig(
    experts=4, every=1, encoder_group_tokens=16, decoder_group_tokens=8, jitter=0.3
)


def config(switch=None):
    return ModelConfig(
        vocabulary_rows=IDS,
        embed=16,
        heads=2,
        head=4,
        mlp=16,
        layers=1,
        switch=switch,
        activation_dtype="float32",
    )


@functools.cache
def network(switch, seed):
    return drawn(config(switch), seed)


def batch():
    """Rows of very different length, so that a mean of means would be off by percents."""
    generator = np.random.default_rng(0)
    inputs, targets = (
        generator.integers(3, IDS, (ROWS, length)).astype(np.int32) for length in (SOURCE, TARGET)
    )
    targets[: ROWS // 2, 2:] = 0
    inputs[1::3, 5:] = 0
    return Batch(jnp.array(inputs), jnp.array(targets), jnp.zeros(ROWS, jnp.int32))


def slow_soft_nats(student, teacher, real, temperature):
    """Token by token, id by id."""
    total = 0.0
    for row, place in np.argwhere(real):
        soft = [math.exp(x / temperature) for x in teacher[row, place].astype(float)]
        found = [math.exp(x / temperature) for x in student[row, place].astype(float)]
        for p, q in zip(soft, found, strict=True):
            total -= p / sum(soft) * math.log(q / sum(found))
    return temperature**2 * total


def soft_losses(student, teacher, real, temperature):
    """The loss of a row's teacher alone; the matrices are ones that make `x` the logits."""
    objective = Objective(hard_share=0.0, temperature=temperature)
    ones = jnp.eye(student.shape[-1])
    return cross_entropy(
        Computation(mesh_of(), 2**20, objective),
        LogitFactors(student, ones),
        Labels(jnp.zeros(real.shape, jnp.int32), real, jnp.ones(())),
        LogitFactors(teacher, ones),
    )


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_soft_losses_are_a_loop_over_ids(temperature):
    generator = np.random.default_rng(1)
    student, teacher = generator.normal(0, 2, (2, ROWS, TARGET, 7)).astype(np.float32)
    real = generator.random((ROWS, TARGET)) < 0.6
    loss, rows = soft_losses(*map(jnp.array, (student, teacher, real)), temperature)
    for row in range(ROWS):
        of_row = np.zeros_like(real)
        of_row[row] = real[row]
        slow = slow_soft_nats(student, teacher, of_row, temperature)
        assert rows.soft_nats[row] == pytest.approx(slow, rel=1e-5)
    assert loss == pytest.approx(float(jnp.sum(rows.soft_nats)), rel=1e-6)


def test_a_student_like_its_teacher_has_the_least_loss():
    """Its soft loss is the teacher's entropy, with gradient zero."""
    logits = jnp.array(np.random.default_rng(2).normal(0, 2, (1, 3, 9)).astype(np.float32))
    real = jnp.array([[True, True, False]])

    def loss(student):
        return soft_losses(student, logits, real, 2.0)[0]

    value, slope = jax.jit(jax.value_and_grad(loss))(logits)
    p = jax.nn.softmax(logits / 2.0, axis=-1)
    entropy = -jnp.sum(p * jnp.log(p), axis=-1)[0, :2].sum()
    assert value == pytest.approx(4 * float(entropy), rel=1e-5)
    np.testing.assert_allclose(slope, 0, atol=1e-6)


def distillation(**settings):
    return Distillation(DistillationConfig(**settings), network(SWITCH_DISTILLATION, 1))


@functools.cache
def loss_and_slope(hard_share):
    """Loss, its terms and gradients of the student; `hard_share` None is without a teacher."""
    arrays, rest = eqx.partition(network(None, 0), eqx.is_array)
    call = Call(mesh_of())
    of = None
    if hard_share is not None:
        of = distillation(hard_share=hard_share, temperature=2.0)

    def loss(arrays):
        return training_loss(eqx.combine(arrays, rest), batch(), call, of)

    (value, (losses, _)), slope = jax.jit(jax.value_and_grad(loss, has_aux=True))(arrays)
    return value, losses, [np.asarray(leaf) for leaf in jax.tree.leaves(slope)]


def test_the_mixture_is_of_both_losses_in_value_and_gradient():
    """0.7 labels and 0.3 teacher are that share of each limit; labels alone need no teacher."""
    alone, hard, soft, both = (loss_and_slope(share) for share in (None, 1.0, 0.0, 0.7))
    assert both[0] == pytest.approx(0.7 * float(hard[0]) + 0.3 * float(soft[0]), rel=1e-5)
    assert float(alone[0]) == pytest.approx(float(hard[0]), rel=1e-6)
    for none, of_hard, of_soft, of_both in zip(alone[2], hard[2], soft[2], both[2], strict=True):
        np.testing.assert_allclose(of_hard, none, atol=1e-6)
        np.testing.assert_allclose(of_both, 0.7 * of_hard + 0.3 * of_soft, atol=1e-6)
    assert any(
        np.abs(one - other).max() > 1e-3 for one, other in zip(hard[2], soft[2], strict=True)
    )


def test_the_reported_loss_is_the_labels_alone():
    alone, taught = loss_and_slope(None)[1], loss_and_slope(0.7)[1]
    assert float(taught.loss_nats) == pytest.approx(float(alone.loss_nats), rel=1e-6)
    assert alone.soft_loss_nats is None
    student, teacher = network(None, 0), network(SWITCH_DISTILLATION, 1)
    call = Call(mesh_of())
    logits = [
        np.asarray(jax.jit(lambda m=m: m.head(m(batch(), call).decoded))())
        for m in (student, teacher)
    ]
    slow = slow_soft_nats(*logits, np.asarray(batch().is_target), 2.0)
    assert float(taught.soft_loss_nats) == pytest.approx(slow, rel=1e-4)


@pytest.mark.slow
def test_the_teacher_of_a_training_step_has_neither_noise_nor_the_training_capacity():
    teacher = network(replace(SWITCH_DISTILLATION, jitter=0.3, capacity_factor_training=0.5), 1)
    of = Distillation(DistillationConfig(hard_share=0.7, temperature=2.0), teacher)
    student = network(None, 0)
    in_training, still = Call(mesh_of(), jax.random.key(0)), Call(mesh_of())
    _, (losses, _) = jax.jit(lambda: training_loss(student, batch(), in_training, of))()
    logits = [
        np.asarray(jax.jit(lambda m=m: m.head(m(batch(), still).decoded))())
        for m in (student, teacher)
    ]
    slow = slow_soft_nats(*logits, np.asarray(batch().is_target), 2.0)
    assert float(losses.soft_loss_nats) == pytest.approx(slow, rel=1e-6)


def step(shape, accumulate=1):
    mesh = mesh_of(shape)
    arrays, static = eqx.partition(network(SWITCH_DISTILLATION, 1), eqx.is_array)
    arrays = jax.device_put(arrays, parameter_shardings(arrays, mesh))
    trainer = make_trainer(
        config(),
        OptimizerConfig(hold_steps=100),
        steps=10,
        seed=0,
        mesh=mesh,
        accumulate=accumulate,
        distillation=Distillation(DistillationConfig(hard_share=0.4), eqx.combine(arrays, static)),
    )
    rows = jax.device_put(batch(), batch_sharding(mesh))
    return trainer.step(start(trainer), rows, *trainer.teacher_arrays)


@pytest.fixture(scope="module")
def one():
    return step(MeshShape())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "accumulate"),
    [
        (MeshShape(), 4),
        (MeshShape(data=2, expert=2, model=2), 1),
    ],
    ids=str,
)
def test_a_students_step_does_not_depend_on_devices_or_microbatches(one, shape, accumulate):
    state, metrics = one
    other_state, other_metrics = step(shape, accumulate)
    assert metrics.losses.soft_loss_nats > 0
    assert_close(metrics, other_metrics, rtol=1e-5, atol=1e-6)
    assert_close(state.arrays, other_state.arrays, atol=1e-5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"hard_share": 1.5}, "between 0"),
        ({"temperature": 0.0}, "above 0"),
    ],
)
def test_unusable_settings_distillation(setting, message):
    with pytest.raises(ConfigurationError, match=message):
        DistillationConfig(**setting)
