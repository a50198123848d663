"""Selective precision (Switch, section 2.4), read off the program before it is compiled.

XLA:CPU computes bfloat16 in float32, so the compiled program would not show it. Products with
stored weights equal plain ones on any mesh, and their gradients do.
"""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import EIGHT, mesh_of, shapes_of, sized

from model.batch import Batch, Call
from model.config import MeshShape, SwitchConfig
from model.layers.products import lookup, product
from model.loss.training_loss import training_loss
from model.sharding import exchanges
from model.transformer import Transformer


def test_every_matrix_starts_at_its_scale():
    """sigma = sqrt(scale / fan-in), cut at two sigma; T5's query is smaller by sqrt(head)."""
    embed, head, mlp, scale = 64, 32, 128, 0.1
    switch = SwitchConfig(experts=16, every=1, encoder_group_tokens=64, decoder_group_tokens=64)
    sizes = {"embed": embed, "head": head, "mlp": mlp, "layers": 1}
    config = sized(**sizes, switch=switch, initialization_scale=scale)
    model = jax.jit(lambda key: Transformer.init(config, key=key))(jax.random.key(0))
    attention = model.encoder.blocks[0].self_attention
    experts = model.encoder.blocks[0].feed_forward
    of_embed = experts.up, experts.gate, attention.key, model.logits
    fan_ins = [(matrix, embed) for matrix in of_embed]
    for matrix, fan_in in [*fan_ins, (experts.down, mlp), (attention.query, embed * head)]:
        assert np.std(matrix) == pytest.approx(np.sqrt(scale / fan_in), rel=0.05)


EXPERTS = 6  # unlike any other size, so that it identifies the router
OPERANDS = re.compile(r": \((tensor<[^)]*)\) -> (tensor<\S+>)")


@pytest.fixture(scope="module")
def program():
    """Forward and backward of the whole network, as StableHLO."""
    groups = {"encoder_group_tokens": 32, "decoder_group_tokens": 16}
    switch = SwitchConfig(experts=EXPERTS, every=2, **groups, choices=2, expert_dropout=0.1)
    arrays, rest = shapes_of(sized(switch=switch, activation_dtype="bfloat16"))
    batch = Batch(*(jnp.ones(shape, jnp.int32) for shape in ((4, 16), (4, 8), (4,))))
    call = Call(mesh_of(MeshShape(expert=2)), jax.random.key(1))
    loss = lambda arrays: training_loss(eqx.combine(arrays, rest), batch, call)[0]  # noqa: E731
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


INTO_HEADS = "batch length embed, embed heads head -> batch heads length head"
OUT_OF_HEADS = "batch heads length head, heads head embed -> batch length embed"
INTO_MLP = "batch length embed, embed mlp -> batch length mlp"
IDS = jnp.array([[0, 5, 5], [2, 1, 0]] * 4)


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


# Of both products, with 12 over 4 of 8 devices, and a table.
ARRAYS = [drawn(8, 3, 16), drawn(16, 2, 4), drawn(8, 2, 3, 4), drawn(2, 4, 12), drawn(6, 16)]


def values_and_slopes(function):
    """Returns values and the gradients of a sum that weighs every number of them."""

    def loss(arrays):
        values = function(*arrays)
        weighed = [jnp.sum(y * jnp.cos(jnp.arange(y.size).reshape(y.shape))) for y in values]
        return sum(weighed), values

    (_, values), slopes = jax.jit(jax.value_and_grad(loss, has_aux=True))(ARRAYS)
    return [*values, *slopes]


@pytest.fixture(scope="module")
def plain():
    def function(x, w, y, v, table):
        return jnp.einsum("ble,ehd->bhld", x, w), jnp.einsum("bhld,hde->ble", y, v), table[IDS]

    return values_and_slopes(function)


@pytest.mark.parametrize(
    "shape",
    [
        MeshShape(),
        EIGHT,
        MeshShape(data=4, expert=2),
        MeshShape(data=4, expert=2, slices=2),
        MeshShape(data=2, expert=4, slices=4, expert_slices=2),
    ],
    ids=str,
)
def test_products_are_einsum_and_a_lookup_is_indexing_with_their_gradients(shape, plain):
    mesh = mesh_of(shape)

    def function(x, w, y, v, table):
        products = product(INTO_HEADS, x, w, mesh), product(OUT_OF_HEADS, y, v, mesh)
        return *products, lookup(table, IDS, jnp.float32, mesh)

    for ours, theirs in zip(values_and_slopes(function), plain, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def slope_of_sum(function, *shape):
    total = lambda weight: jnp.sum(function(weight).astype(jnp.float32))  # noqa: E731
    return jax.jit(jax.grad(total))(jnp.zeros(shape))


def test_gradients_are_summed_in_float32_over_tokens_and_devices():
    """8 times 513 addends of 1: bfloat16 has neither 513 nor 4,104."""
    mesh, x = mesh_of(MeshShape(data=8)), jnp.ones((8, 513, 8), jnp.bfloat16)
    found = slope_of_sum(lambda weight: product(INTO_MLP, x, weight, mesh), 8, 4)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, 8 * 513)
    ids = jnp.zeros((8, 513), jnp.int32)
    found = slope_of_sum(lambda table: lookup(table, ids, jnp.bfloat16, mesh), 16, 8)
    np.testing.assert_array_equal(found[0], 8 * 513)
    np.testing.assert_array_equal(found[1:], 0)


@pytest.mark.parametrize(("dtype", "expected"), [(jnp.float32, 257), (jnp.bfloat16, 256)])
def test_sums_of_slices_cross_in_the_type_of_the_activations(dtype, expected):
    """257 is not bfloat16. It is the sum within the first slice, which is of float32."""
    mesh = mesh_of(MeshShape(data=4, slices=2))
    x = jnp.zeros((8, 257, 8), dtype).at[0].set(1)
    found = slope_of_sum(lambda weight: product(INTO_MLP, x, weight, mesh), 8, 4)
    np.testing.assert_array_equal(found, expected)


def test_a_gather_over_many_devices_is_two(monkeypatch):
    """With 8 for many, as there are no 64: the same weight as in one gather."""
    mesh, weight = mesh_of(MeshShape(data=4, expert=2)), drawn(16, 4)
    x = drawn(8, 3, 16, seed=1)

    def run():
        lowered = jax.jit(lambda x, w: product(INTO_MLP, x, w, mesh)).lower(x, weight)
        return lowered.as_text().count("stablehlo.all_gather"), lowered.compile()(x, weight)

    count, expected = run()
    monkeypatch.setattr(exchanges, "MANY", 8)
    jax.clear_caches()
    staged, found = run()
    assert (count, staged) == (1, 2)
    np.testing.assert_array_equal(found, expected)
