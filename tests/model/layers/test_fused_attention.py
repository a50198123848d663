"""The fused kernel on a mesh equals the plain path on one device, with its gradients.

`tests/model/kernels` compares kernels in every setting; here rows and heads are split.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import mesh_of

from model.batch import Visible
from model.layers.fused_attention import fused
from model.layers.plain_attention import plain_attention
from model.layers.position_bias import PositionBias
from model.remat import KEPT, STATISTICS, rematerialized
from model.sharding.mesh import MeshShape

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
    return plain_attention(*rows, bias(*lengths), visible.mask(*lengths), HEADS)


def by_kernel(rows, bias, visible, mesh, platform="tpu"):
    return fused(*rows, bias, visible, HEADS, mesh, interpret=platform)


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

        return jnp.sum(jax.lax.scan(rematerialized(body, remat), rows, None, length=2)[0])

    text = str(jax.make_jaxpr(jax.grad(loss))(ROWS[0]))
    assert text.count("name=fused_attention\n") == forward_kernels, text.count("pallas_call")
