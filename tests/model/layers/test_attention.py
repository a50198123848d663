"""The kernels, interpreted, beside attention written plainly: values and all gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernels_of_a_device import fused_attention
from plain_attention import Case, plain_attention
from small_networks import EIGHT, mesh_of, sized

from model.batch import Visible
from model.kernels import gpu, tpu
from model.layers.attention import Attention, attend_by_kernel
from model.layers.attention import plain_attention as attend_plainly
from model.layers.position_bias import PositionBias
from model.remat import KEPT, STATISTICS, rematerialize

CASES = {
    "encoder, a row of padding": Case(29, 37, padded=True),
    "cross-attention": Case(13, 29, biased=False, padded=True),
    "packed decoder, a row of padding": Case(
        29, 29, head=16, bidirectional=False, causal=True, padded=True, packed=True
    ),
    "two blocks of heads": Case(13, 29, heads=4, head=64, packed=True),
    "a block of heads that is not full": Case(13, 29, heads=3, head=64, padded=True),
    "several blocks of queries and keys": Case(260, 530, heads=1, padded=True),
    "causal over several blocks": Case(
        270, 270, heads=1, head=20, bidirectional=False, causal=True
    ),
    # Both round weights and score gradients to 8 bits: 1 % of an array's largest number.
    "bfloat16": Case(29, 37, padded=True, dtype=jnp.bfloat16),
}


def value_and_gradients(attention, case):
    differentiated, masks, gradient = case.arrays()

    @jax.jit
    def run(differentiated, gradient):
        call = functools.partial(attention, **masks, **case.options)
        value, backward = jax.vjp(lambda arrays: call(**arrays), differentiated)
        return {"value": value, **backward(gradient)[0]}

    return run(differentiated, gradient)


plainly = functools.cache(functools.partial(value_and_gradients, plain_attention))


@pytest.mark.parametrize("platform", ["tpu", "gpu"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_equals_plain_attention(case, platform):
    """With a tolerance relative to the largest number of an array, at least 1."""
    fused = functools.partial(fused_attention, interpret=platform)
    found, tolerance = value_and_gradients(fused, case), 1e-5 if case.dtype == jnp.float32 else 1e-2
    assert found.keys() == plainly(case).keys()
    for name, array in plainly(case).items():
        assert found[name].dtype == array.dtype, name
        ours, theirs = (np.asarray(one, np.float32) for one in (found[name], array))
        bound = tolerance * max(1, np.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound, err_msg=name)


@pytest.mark.parametrize(
    ("kind", "supported"),
    [
        ("TPU v4", [1024, 1280]),
        ("TPU v5", [1024, 1280, 1536]),
        ("TPU v5 lite", [1024, 1280, 1536]),
        ("TPU v6 lite", [1024, 1280, 1536]),
    ],
)
def test_rows_beyond_the_memory_of_a_tpu_are_left_to_the_plain_path(kind, supported):
    rows = [(1, tokens, 768) for tokens in (1024, 1280, 1536, 8192)]
    assert [row[1] for row in rows if tpu.is_supported(row, row, 12, 2, kind)] == supported
    assert gpu.is_supported(rows[-1], rows[-1], 12, 2, "NVIDIA H100 80GB HBM3")


HEADS, LENGTH = 4, 13
IS_KEY = jnp.arange(LENGTH) < jnp.array([13, 9, 4, 13, 1, 13, 2, 13])[:, None]
DRAWN = np.random.default_rng(0)
ROWS = [jnp.array(DRAWN.normal(size=(8, LENGTH, HEADS * 8)), jnp.float32) for _ in range(3)]
TABLE = jnp.array(DRAWN.normal(size=(32, HEADS)), jnp.float32)
VISIBLE = Visible(IS_KEY, False, None, None)


def slopes(attention):
    def loss(table, rows):
        y = attention(rows, PositionBias(table, True, 0.5))
        return jnp.sum(jnp.square(y) * jnp.cos(jnp.arange(LENGTH))[:, None])

    return jax.tree.leaves(jax.jit(jax.value_and_grad(loss, (0, 1)))(TABLE, ROWS))


@pytest.mark.parametrize("platform", ["tpu", "gpu"])
def test_rows_and_heads_split_over_a_mesh_have_the_values_and_gradients_of_the_plain_path(platform):
    def by_kernel(rows, bias):
        return attend_by_kernel(*rows, bias, VISIBLE, HEADS, mesh_of(EIGHT), interpret=platform)

    def on_one_device(rows, bias):
        lengths = LENGTH, LENGTH
        return attend_plainly(*rows, bias(*lengths), VISIBLE.mask(*lengths), HEADS)

    for ours, theirs in zip(slopes(by_kernel), slopes(on_one_device), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize(("remat", "forward_kernels"), [("full", 2), ("attention", 1)])
def test_a_policy_that_keeps_attention_runs_the_forward_kernel_once(remat, forward_kernels):
    assert STATISTICS in KEPT["attention"]
    bias = PositionBias(TABLE, True)

    def loss(rows):
        def body(x, _):
            y = attend_by_kernel(x, x, x, bias, VISIBLE, HEADS, mesh_of(), interpret="tpu")
            return jnp.sin(y), None

        return jnp.sum(jax.lax.scan(rematerialize(body, remat), rows, None, length=2)[0])

    text = str(jax.make_jaxpr(jax.grad(loss))(ROWS[0]))
    assert text.count("name=fused_attention\n") == forward_kernels, text.count("pallas_call")


def test_attention_equals_loops():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(1, 5, 16)).astype(np.float32)
    table = generator.normal(size=(32, 2)).astype(np.float32)
    bias = np.moveaxis(table[np.maximum(np.arange(5)[:, None] - np.arange(5), 0)], -1, 0)

    @jax.jit
    def run(key, x, table):
        bias, visible = PositionBias(table, False), Visible(None, True, None, None)
        attention = Attention.init(sized(), key=key)
        return attention, attention(x, x, bias, visible, mesh_of())

    attention, y = run(jax.random.key(1), x, table)
    weights = attention.query, attention.key, attention.value
    expected = np.zeros((5, 16))
    for head in range(2):
        query, key, value = (x[0] @ np.asarray(weight)[:, head] for weight in weights)
        for place in range(5):
            scores = query[place] @ key[: place + 1].T + bias[head, place, : place + 1]
            shares = np.exp(scores - scores.max())
            mixed = shares / shares.sum() @ value[: place + 1]
            expected[place] += mixed @ np.asarray(attention.output)[head]
    np.testing.assert_allclose(y[0], expected, atol=1e-5)
