"""Attention in blocks of queries beside attention written plainly: values, gradients, sizes."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from plain_attention import Case, plain_attention
from small_networks import EMBED, config, mesh_of

from model import kernels
from model.batch import Visible
from model.config import MeshShape
from model.layers import attention
from model.layers.attention import Attention, attend_in_blocks, has_kernel
from model.layers.position_bias import PositionBias, along_diagonals

CASES = {
    "one block that is not full, a row of padding": Case(29, 37, padded=True),
    "three blocks": Case(260, 300, heads=2, padded=True),
    "three causal blocks": Case(270, 270, heads=2, bidirectional=False, causal=True),
    "packed, causal, padded": Case(
        200, 200, bidirectional=False, causal=True, padded=True, packed=True
    ),
    "full blocks across": Case(256, 40, biased=False, packed=True),
}


def in_blocks(
    query, keys, values, table=None, key_mask=None, query_example=None, key_example=None, **options
):
    bias = None if table is None else PositionBias(table, options["bidirectional"])
    visible = Visible(key_mask, options["causal"], query_example, key_example)
    return attend_in_blocks(query, keys, values, bias, visible, options["heads"])


def value_and_gradients(attend, case: Case):
    differentiated, masks, gradient = case.arrays()
    call = functools.partial(attend, **masks, **case.options)

    @jax.jit
    def run(arrays):
        value, backward = jax.vjp(lambda arrays: call(**arrays), arrays)
        return {"value": value, **backward(gradient)[0]}

    return run(differentiated)


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 2e-2)])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_equals_plain_attention(case, dtype, tolerance):
    """In bfloat16 both round weights and score gradients to 8 bits: 1 % of the largest number."""
    case = case._replace(dtype=dtype)
    found = value_and_gradients(in_blocks, case)
    for name, expected in value_and_gradients(plain_attention, case).items():
        assert found[name].dtype == expected.dtype, name
        expected = np.asarray(expected, np.float32)
        bound = tolerance * max(1, np.abs(expected).max())
        np.testing.assert_allclose(
            np.asarray(found[name], np.float32), expected, rtol=0, atol=bound, err_msg=name
        )


def shapes(jaxpr):
    for equation in jaxpr.eqns:
        yield from (variable.aval.shape for variable in equation.outvars)
        for inner in jaxprs_in_params(equation.params):
            yield from shapes(inner)


def test_no_array_has_all_queries_and_all_keys():
    """With 520 queries a block's scores are the largest array, forward and backward."""
    case = Case(520, 530, heads=2, bidirectional=False, causal=True, packed=True)
    differentiated, masks, gradient = case.arrays()
    call = functools.partial(in_blocks, **masks, **case.options)

    def run(arrays):
        return jax.vjp(lambda arrays: call(**arrays), arrays)[1](gradient)

    sizes = [np.prod(shape) for shape in shapes(jax.make_jaxpr(run)(differentiated).jaxpr)]
    assert max(sizes) <= 2 * 2 * attention.BLOCK * (530 + attention.BLOCK)


def test_a_matrix_of_diagonals():
    numbers = jnp.arange(2 * 6.0).reshape(2, 6)
    expected = [[[2, 3, 4, 5], [1, 2, 3, 4], [0, 1, 2, 3]]]
    np.testing.assert_array_equal(along_diagonals(numbers, 3, 4)[:1], expected)


def test_a_device_whose_kernels_cannot_be_loaded_attends_in_blocks(monkeypatch):
    """As on a JAX whose Pallas has no Triton; rows are split over devices, and heads too."""
    layer = Attention.init(config("dense"), key=jax.random.key(0))
    mesh = mesh_of(MeshShape(data=2, model=2))
    x = jax.random.normal(jax.random.key(1), (4, 140, EMBED))
    bias = PositionBias.init(heads=8, slope=0.0, bidirectional=True, key=jax.random.key(2))
    visible = Visible(None, False, None, None)
    run = jax.jit(lambda layer, x: layer(x, x, bias, visible, mesh))
    expected = run(layer, x)
    monkeypatch.setitem(attention.KERNELS, "cpu", "gpu")
    monkeypatch.delattr(kernels, "gpu", raising=False)
    monkeypatch.setitem(sys.modules, "model.kernels.gpu", None)
    assert not has_kernel(x, x, 8, mesh)
    jax.clear_caches()
    np.testing.assert_allclose(run(layer, x), expected, rtol=0, atol=1e-5)
