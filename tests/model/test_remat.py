"""Rematerialisation changes what is kept, not what comes out; what is sent twice is counted."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.config import ModelConfig, SwitchConfig
from model.sharding import MeshShape, make_mesh
from model.stack import Call, Stack, StackInputs

CONFIG = ModelConfig(
    vocabulary_rows=128,
    embed=16,
    heads=2,
    head=8,
    mlp=16,
    layers=2,
    switch=SwitchConfig(experts=2, every=1, encoder_group_tokens=8, decoder_group_tokens=4),
    activation_dtype="float32",
)


@pytest.fixture(scope="module")
def compiled():
    """For each choice: the program of an encoder's gradients on two devices, and what they are."""
    stack = Stack.init(CONFIG, decoder=False, key=jax.random.key(0))
    arrays, rest = eqx.partition(stack, eqx.is_array)
    mesh = make_mesh(MeshShape(expert=2), jax.devices()[:2])
    x = jax.random.normal(jax.random.key(2), (2, 8, 16))

    def program(remat):
        call = Call(mesh, jax.random.key(1), remat)

        def loss(arrays):
            stack = eqx.combine(arrays, rest)
            mask = jnp.ones((2, 1, 8), bool)
            inputs = StackInputs(stack.position_bias(8), mask, mask[:, 0], None, None)
            y, routing, _ = stack(x, inputs, call)
            return jnp.sum(y[..., 0]) + jnp.sum(routing.balance_loss)

        made = jax.jit(jax.value_and_grad(loss)).lower(arrays).compile()
        return made.as_text(), made(arrays)

    return {remat: program(remat) for remat in ("none", "full", "exchanges")}


@pytest.mark.parametrize("remat", ["full", "exchanges"])
def test_values_and_gradients_stay(compiled, remat):
    expected, found = compiled["none"][1], compiled[remat][1]
    for left, right in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("remat", "exchanges"),
    # Two forward and two backward of a layer; both layers are written out without remat, else they
    # are one scanned body. Full remat runs forward again.
    [("none", 2 * 4), ("full", 6), ("exchanges", 4)],
)
def test_what_is_exchanged(compiled, remat, exchanges):
    program = compiled[remat][0]
    assert sum(" all-to-all(" in line for line in program.splitlines()) == exchanges
