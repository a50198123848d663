"""Selective precision (Switch, section 2.4), read off the program before it is compiled.

Products with stored weights equal plain ones on any mesh, and their gradients do.

XLA:CPU computes bfloat16 in float32, so the compiled program would not show it.
"""

import re
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import mesh_of

from model.batch import Batch, Call
from model.config import MeshShape, ModelConfig, SwitchConfig
from model.layers.products import lookup, product
from model.loss.training_loss import training_loss
from model.sharding import exchanges
from model.sharding.mesh import make_mesh
from model.transformer import Transformer, transformer_shapes

CONFIG = ModelConfig(
    vocabulary_rows=128,
    embed=64,
    heads=2,
    head=32,
    mlp=128,
    layers=1,
    switch=SwitchConfig(experts=16, every=1, encoder_group_tokens=64, decoder_group_tokens=64),
)


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_every_matrix_starts_at_its_scale(scale):
    """sigma = sqrt(scale / fan-in), cut at two sigma; T5's query is smaller by sqrt(head)."""

    @jax.jit
    def weights(key):
        model = Transformer.init(replace(CONFIG, initialization_scale=scale), key=key)
        block = model.encoder.blocks[0]
        attention, experts = block.self_attention, block.feed_forward
        return (
            (experts.up, experts.gate, experts.down),
            (attention.key, attention.query, model.logits),
        )

    embed, mlp = CONFIG.embed, CONFIG.mlp
    fan_ins = (embed, embed, mlp), (embed, embed * CONFIG.head, embed)
    for found, fan_in in zip(
        jax.tree.leaves(weights(jax.random.key(0))), jax.tree.leaves(fan_ins), strict=True
    ):
        assert np.std(found) == pytest.approx(np.sqrt(scale / fan_in), rel=0.05)


EXPERTS = 6  # unlike any other size, so that it identifies the router
SWITCH = SwitchConfig(
    experts=EXPERTS,
    every=2,
    encoder_group_tokens=32,
    decoder_group_tokens=16,
    choices=2,
    expert_dropout=0.1,
)
CONFIG_PRECISION = ModelConfig(
    vocabulary_rows=128, embed=16, heads=2, head=8, mlp=24, layers=2, switch=SWITCH
)
OPERANDS = re.compile(r": \((tensor<[^)]*)\) -> (tensor<\S+>)")


@pytest.fixture(scope="module")
def program():
    """Forward and backward of the whole network, as StableHLO."""
    mesh = make_mesh(MeshShape(expert=2), jax.devices()[:2])
    arrays, rest = eqx.partition(
        transformer_shapes(CONFIG_PRECISION),
        lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct),
    )
    batch = Batch(*(jnp.ones(shape, jnp.int32) for shape in ((4, 16), (4, 8), (4,))))

    def loss(arrays):
        call = Call(mesh, jax.random.key(1))
        return training_loss(eqx.combine(arrays, rest), batch, call)[0]

    return jax.jit(jax.grad(loss)).lower(arrays).as_text()


def operands(program, operation):
    """The shapes and types of each such operation's operands."""
    lines = [line for line in program.splitlines() if f"stablehlo.{operation}" in line]
    assert lines
    found = [OPERANDS.search(line) for line in lines]
    assert all(found)
    return [re.findall(r"tensor<([^>]*)>", match.group(1)) for match in found if match]


def test_the_router_is_float32_and_every_other_product_bfloat16(program):
    router, others = [], []
    for shapes in operands(program, "dot_general"):
        is_router = any(str(EXPERTS) in shape.split("x")[:-1] for shape in shapes)
        (router if is_router else others).append({shape.split("x")[-1] for shape in shapes})
    assert router == [{"f32"}] * (2 * 3)  # two stacks; forward, and back to input and weights
    assert others == [{"bf16"}] * len(others)
    assert len(others) > 60


def test_nothing_is_summed_in_bfloat16(program):
    """Every addition of such a sum rounds; only the products' own sums are left to the hardware."""
    sums = [line for line in program.splitlines() if "applies stablehlo.add" in line]
    assert len(sums) > 20
    assert not [line for line in sums if "bf16" in line]


def test_tokens_travel_in_bfloat16(program):
    shapes = [shape for pair in operands(program, "all_to_all") for shape in pair]
    assert len(shapes) == 2 * 4
    assert {shape.split("x")[-1] for shape in shapes} == {"bf16"}


MESHES = [
    MeshShape(),
    MeshShape(data=2, expert=2, model=2),
    MeshShape(data=4, expert=2),
    MeshShape(data=4, expert=2, slices=2),
    MeshShape(data=2, expert=4, slices=4, expert_slices=2),
]
INTO_HEADS = "batch length embed, embed heads head -> batch heads length head"
OUT_OF_HEADS = "batch heads length head, heads head embed -> batch length embed"


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def value_and_slopes(function, *operands):
    """Returns a function's value and the gradients of a sum that weighs every number of it."""

    def loss(*operands):
        y = function(*operands)
        return jnp.sum(y.astype(jnp.float32) * jnp.cos(jnp.arange(y.size).reshape(y.shape))), y

    argnums = tuple(range(len(operands)))
    return jax.jit(jax.value_and_grad(loss, argnums, has_aux=True))(*operands)


@pytest.mark.parametrize("shape", MESHES, ids=str)
@pytest.mark.parametrize(
    ("dimensions", "subscripts", "sizes"),
    [
        (INTO_HEADS, "ble,ehd->bhld", ((8, 3, 16), (16, 2, 4))),
        (
            OUT_OF_HEADS,
            "bhld,hde->ble",
            ((8, 2, 3, 4), (2, 4, 12)),
        ),  # 12: over 4 of 8
    ],
)
def test_a_product_is_einsum_with_its_gradients(shape, dimensions, subscripts, sizes):
    mesh, operands = mesh_of(shape), (drawn(*sizes[0]), drawn(*sizes[1], seed=1))
    (_, y), found = value_and_slopes(lambda x, w: product(dimensions, x, w, mesh), *operands)
    (_, expected), slopes = value_and_slopes(lambda x, w: jnp.einsum(subscripts, x, w), *operands)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    for ours, theirs in zip(found, slopes, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("shape", MESHES, ids=str)
def test_a_lookup_is_indexing_with_its_gradient(shape):
    mesh, table = mesh_of(shape), drawn(6, 16)
    ids = jnp.array([[0, 5, 5], [2, 1, 0]] * 4)
    (_, y), (found,) = value_and_slopes(lambda table: lookup(table, ids, jnp.float32, mesh), table)
    (_, expected), (slopes,) = value_and_slopes(lambda table: table[ids], table)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_allclose(found, slopes, atol=1e-5)


def test_a_gradient_is_summed_in_float32_over_tokens_and_devices():
    """8 times 513 addends of 1: bfloat16 has neither 513 nor 4,104."""
    mesh = mesh_of(MeshShape(data=8))
    x = jnp.ones((8, 513, 8), jnp.bfloat16)

    def loss(weight):
        y = product("batch length embed, embed mlp -> batch length mlp", x, weight, mesh)
        return jnp.sum(y.astype(jnp.float32))

    found = jax.jit(jax.grad(loss))(jnp.zeros((8, 4)))
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, 8 * 513)


def test_a_lookups_gradient_is_summed_in_float32_over_tokens_and_devices():
    mesh, ids = mesh_of(MeshShape(data=8)), jnp.zeros((8, 513), jnp.int32)

    def loss(table):
        return jnp.sum(lookup(table, ids, jnp.bfloat16, mesh).astype(jnp.float32))

    found = jax.jit(jax.grad(loss))(jnp.zeros((16, 8)))
    np.testing.assert_array_equal(found[0], 8 * 513)
    np.testing.assert_array_equal(found[1:], 0)


@pytest.mark.parametrize(("dtype", "expected"), [(jnp.float32, 257), (jnp.bfloat16, 256)])
def test_sums_of_slices_cross_in_the_type_of_the_activations(dtype, expected):
    """257 is not bfloat16. It is the sum within the first slice, which is of float32."""
    mesh = mesh_of(MeshShape(data=4, slices=2))
    x = jnp.zeros((8, 257, 8), dtype).at[0].set(1)

    def loss(weight):
        y = product("batch length embed, embed mlp -> batch length mlp", x, weight, mesh)
        return jnp.sum(y.astype(jnp.float32))

    found = jax.jit(jax.grad(loss))(jnp.zeros((8, 4)))
    np.testing.assert_array_equal(found, expected)


def test_a_gather_over_many_devices_is_two(monkeypatch):
    """With 8 for many, as there are no 64: the same weight as in one gather."""
    mesh, weight = mesh_of(MeshShape(data=4, expert=2)), drawn(16, 4)
    x = drawn(8, 3, 16, seed=1)

    def run(x):
        dimensions = "batch length embed, embed mlp -> batch length mlp"
        lowered = jax.jit(lambda x, w: product(dimensions, x, w, mesh)).lower(x, weight)
        return lowered.as_text().count("stablehlo.all_gather"), lowered.compile()(x, weight)

    count, expected = run(x)
    monkeypatch.setattr(exchanges, "MANY", 8)
    jax.clear_caches()
    staged, found = run(x)
    assert (count, staged) == (1, 2)
    np.testing.assert_array_equal(found, expected)
