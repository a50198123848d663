"""The kernels, interpreted, beside attention written plainly: values and all gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernels_of_a_device import fused_attention
from plain_attention import Case, plain_attention

from model.kernels.attention import is_supported

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
    supported = functools.partial(is_supported, heads=12, bytes_each=2)
    assert supported(short, short, platform="tpu", kind="TPU v5")
    assert not supported(long, long, platform="tpu", kind="TPU v5")
    assert supported(long, long, platform="gpu", kind="NVIDIA H100 80GB HBM3")


@pytest.mark.parametrize(
    ("kind", "supported"),
    [
        ("TPU v4", [1024, 1280]),
        ("TPU v5 lite", [1024, 1280, 1536]),
        ("TPU v6 lite", [1024, 1280, 1536]),
    ],
)
def test_a_v4_has_a_kernel_for_shorter_rows_than_later_chips(kind, supported):
    has_kernel = functools.partial(is_supported, heads=12, bytes_each=2, platform="tpu", kind=kind)
    rows = [(1, tokens, 768) for tokens in (1024, 1280, 1536)]
    assert [row[1] for row in rows if has_kernel(row, row)] == supported
