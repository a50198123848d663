"""The kernels, interpreted, beside attention written plainly: values and all gradients.

The fused kernel on a mesh equals the plain path on one device, with its gradients.



`tests/model/kernels` compares kernels in every setting; here rows and heads are split.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernels_of_a_device import fused_attention
from plain_attention import Case, plain_attention
from small_networks import mesh_of

from model.batch import Visible
from model.config import MeshShape, ModelConfig
from model.kernels import gpu, tpu
from model.layers.attention import Attention, attend_by_kernel
from model.layers.attention import plain_attention as attend_plainly
from model.layers.position_bias import PositionBias
from model.remat import KEPT, STATISTICS, rematerialize

PLATFORMS = ("tpu", "gpu")
CASES = {
    "encoder, a row of padding": Case(29, 37, padded=True),
    "decoder": Case(13, 13, heads=2, head=16, bidirectional=False, causal=True),
    "cross-attention": Case(13, 29, biased=False, padded=True),
    "packed decoder, a row of padding": Case(
        29, 29, bidirectional=False, causal=True, padded=True, packed=True
    ),
    "two blocks of heads": Case(13, 29, heads=4, head=64, packed=True),
    "a block of heads that is not full": Case(13, 29, heads=3, head=64, padded=True),
    "several blocks of queries and keys": Case(260, 530, heads=1, padded=True),
    "causal over several blocks": Case(
        270, 270, heads=1, head=20, bidirectional=False, causal=True
    ),
}


def value_and_gradients(attention, case: Case):
    differentiated, masks, gradient = case.arrays()

    @jax.jit
    def run(differentiated, gradient):
        call = functools.partial(attention, **masks, **case.options)
        value, backward = jax.vjp(lambda arrays: call(**arrays), differentiated)
        return {"value": value, **backward(gradient)[0]}

    return run(differentiated, gradient)


def assert_close(found, expected, tolerance: float):
    """Compares with a tolerance relative to the largest number of an array, at least 1."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        array = np.asarray(array, np.float32)
        bound = tolerance * max(1, np.abs(array).max())
        np.testing.assert_allclose(
            np.asarray(found[name], np.float32), array, rtol=0, atol=bound, err_msg=name
        )


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_equals_plain_attention(case, platform):
    fused = functools.partial(fused_attention, interpret=platform)
    assert_close(value_and_gradients(fused, case), value_and_gradients(plain_attention, case), 1e-5)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_in_bfloat16_it_is_as_close_to_float32_as_plain_attention(platform):
    """Both round weights and score gradients to 8 bits: 1 % of an array's largest number."""
    case = Case(29, 37, padded=True, dtype=jnp.bfloat16)
    fused = functools.partial(fused_attention, interpret=platform)
    assert_close(value_and_gradients(fused, case), value_and_gradients(plain_attention, case), 1e-2)


def test_lengths_beyond_the_memory_of_a_tpu_are_left_to_the_plain_path():
    short, long = (1, 1024, 768), (1, 8192, 768)
    assert tpu.is_supported(short, short, 12, 2, "TPU v5")
    assert not tpu.is_supported(long, long, 12, 2, "TPU v5")
    assert gpu.is_supported(long, long, 12, 2, "NVIDIA H100 80GB HBM3")


@pytest.mark.parametrize(
    ("kind", "supported"),
    [
        ("TPU v4", [1024, 1280]),
        ("TPU v5 lite", [1024, 1280, 1536]),
        ("TPU v6 lite", [1024, 1280, 1536]),
    ],
)
def test_a_v4_has_a_kernel_for_shorter_rows_than_later_chips(kind, supported):
    rows = [(1, tokens, 768) for tokens in (1024, 1280, 1536)]
    assert [row[1] for row in rows if tpu.is_supported(row, row, 12, 2, kind)] == supported


HEADS, LENGTH = 4, 13
IS_KEY = jnp.arange(LENGTH) < jnp.array([13, 9, 4, 13, 1, 13, 2, 13])[:, None]
DRAWN = np.random.default_rng(0)
ROWS = [jnp.array(DRAWN.normal(size=(8, LENGTH, HEADS * 8)), jnp.float32) for _ in range(3)]
TABLE = jnp.array(DRAWN.normal(size=(32, HEADS)), jnp.float32)


def slopes(attention, mesh, slope):
    def loss(table, rows):
        bias, visible = PositionBias(table, True, slope), Visible(IS_KEY, False, None, None)
        y = attention(rows, bias, visible, mesh)
        return jnp.sum(jnp.square(y) * jnp.cos(jnp.arange(LENGTH))[:, None])

    return jax.jit(jax.value_and_grad(loss, (0, 1)))(TABLE, ROWS)


def plainly(rows, bias, visible, mesh):
    lengths = LENGTH, LENGTH
    return attend_plainly(*rows, bias(*lengths), visible.mask(*lengths), HEADS)


def by_kernel(rows, bias, visible, mesh, platform="tpu"):
    return attend_by_kernel(*rows, bias, visible, HEADS, mesh, interpret=platform)


@pytest.mark.parametrize(("platform", "slope"), [("tpu", 0.0), ("tpu", 0.5), ("gpu", 0.5)])
def test_values_and_gradients_are_those_of_the_plain_path(platform, slope):
    mesh = mesh_of(MeshShape(data=2, expert=2, model=2))
    kernel = functools.partial(by_kernel, platform=platform)
    found, expected = slopes(kernel, mesh, slope), slopes(plainly, mesh, slope)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize(("remat", "forward_kernels"), [("full", 2), ("attention", 1)])
def test_a_policy_that_keeps_attention_runs_the_forward_kernel_once(remat, forward_kernels):
    assert STATISTICS in KEPT["attention"]
    mesh = mesh_of()

    def loss(rows):
        def body(x, _):
            bias, visible = PositionBias(TABLE, True), Visible(IS_KEY, False, None, None)
            return jnp.sin(by_kernel([x, x, x], bias, visible, mesh)), None

        return jnp.sum(jax.lax.scan(rematerialize(body, remat), rows, None, length=2)[0])

    text = str(jax.make_jaxpr(jax.grad(loss))(ROWS[0]))
    assert text.count("name=fused_attention\n") == forward_kernels, text.count("pallas_call")


CONFIG = ModelConfig(
    vocabulary_rows=128, embed=16, heads=2, head=8, mlp=24, layers=2, activation_dtype="float32"
)


def test_attention_equals_loops():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(1, 5, 16)).astype(np.float32)
    table = generator.normal(size=(32, 2)).astype(np.float32)
    bias = np.moveaxis(table[np.maximum(np.arange(5)[:, None] - np.arange(5), 0)], -1, 0)

    @jax.jit
    def run(key, x, table):
        bias, visible = PositionBias(table, False), Visible(None, True, None, None)
        attention = Attention.init(CONFIG, key=key)
        return attention, attention(x, x, bias, visible, mesh_of())

    attention, y = run(jax.random.key(1), x, table)
    expected = np.zeros((5, 16))
    for head in range(2):
        query, key, value = (
            x[0] @ np.asarray(w)[:, head] for w in (attention.query, attention.key, attention.value)
        )
        for place in range(5):
            scores = query[place] @ key[: place + 1].T + bias[head, place, : place + 1]
            weights = np.exp(scores - scores.max())
            mixed = weights / weights.sum() @ value[: place + 1]
            expected[place] += mixed @ np.asarray(attention.output)[head]
    np.testing.assert_allclose(y[0], expected, atol=1e-5)
