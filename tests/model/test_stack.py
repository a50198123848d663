"""Rematerialization changes what is kept, not the result; repeated exchanges are counted."""

import dataclasses
from typing import get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from small_networks import drawn, mesh_of

from model.batch import Visible
from model.call import Call
from model.config import ModelConfig, Remat, SwitchConfig
from model.remat import KEPT
from model.sharding.mesh import MeshShape
from model.stack import StackInputs

ALL = Visible(None, False, None, None)
CONFIG = ModelConfig(
    vocabulary_rows=128,
    embed=16,
    heads=2,
    head=8,
    mlp=16,
    layers=2,
    feed_forward="relu",
    switch=SwitchConfig(experts=2, every=1, encoder_group_tokens=8, decoder_group_tokens=4),
    activation_dtype="float32",
)


@pytest.fixture(scope="module")
def compiled():
    """Program and values of an encoder's gradients on two devices, for each policy."""
    arrays, static = eqx.partition(drawn(CONFIG).encoder, eqx.is_array)
    mesh = mesh_of(MeshShape(expert=2))
    x = jax.random.normal(jax.random.key(2), (2, 8, 16))

    def program(remat):
        call = Call(mesh, jax.random.key(1), remat)

        def loss(arrays):
            stack = eqx.combine(arrays, static)
            inputs = StackInputs(ALL, jnp.ones((2, 8), bool), None, None)
            y, routing, _ = stack(x, inputs, call)
            return jnp.sum(y[..., 0]) + jnp.sum(routing.balance_loss)

        made = jax.jit(jax.value_and_grad(loss)).lower(arrays).compile()
        return made.as_text(), made(arrays)

    return {remat: program(remat) for remat in get_args(Remat)}


@pytest.mark.parametrize("remat", KEPT)
def test_values_and_gradients_stay(compiled, remat):
    expected, found = compiled["none"][1], compiled[remat][1]
    for left, right in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("remat", "exchanges"),
    # Two forward and two backward of a layer; both layers are written out without remat, else they
    # are one scanned body. Full remat runs forward again.
    [("none", 2 * 4), ("full", 6), ("exchanges", 4), ("attention", 4), ("products", 4)],
)
def test_what_is_exchanged(compiled, remat, exchanges):
    program = compiled[remat][0]
    assert sum(" all-to-all(" in line for line in program.splitlines()) == exchanges


def test_each_policy_multiplies_less_than_the_one_before(compiled):
    policies = ("full", "exchanges", "attention", "products")
    products = [compiled[remat][0].count(" dot(") for remat in policies]
    assert products == sorted(products, reverse=True)
    assert len(set(products)) == len(policies)


def products_with(shape: tuple[int, int], remat: Remat, config: ModelConfig) -> int:
    """Returns the number of products with a weight of this shape, forward and repeated."""
    arrays, static = eqx.partition(drawn(config).encoder, eqx.is_array)
    call = Call(mesh_of(MeshShape()), jax.random.key(1), remat)
    inputs = StackInputs(ALL, jnp.ones((2, 8), bool), None, None)

    def loss(arrays):
        y, routing, _ = eqx.combine(arrays, static)(jnp.ones((2, 8, config.embed)), inputs, call)
        return jnp.sum(y) + (0 if routing is None else jnp.sum(routing.balance_loss))

    def count(jaxpr) -> int:
        found = 0
        for one in jaxpr.eqns:
            if one.primitive.name == "dot_general":
                (left, right), _ = one.params["dimension_numbers"]
                found += one.invars[1].aval.shape == shape and (left, right) == ((2,), (0,))
            inner = jaxprs_in_params(one.params)
            found += sum(map(count, inner))
        return found

    return count(jax.make_jaxpr(jax.grad(loss))(arrays).jaxpr)


@pytest.mark.parametrize(
    ("shape", "every"),
    [((24, 16), 2), ((16, 6), 2), ((16, 6), 1)],
    ids=["feed-forward", "router", "router of every layer"],
)
def test_no_product_with_weights_is_repeated_where_their_results_are_kept(shape, every):
    switch = dataclasses.replace(CONFIG.switch, experts=6, every=every)
    config = dataclasses.replace(CONFIG, mlp=24, switch=switch)
    once, kept, again = (
        products_with(shape, remat, config) for remat in ("none", "products", "full")
    )
    assert once == kept < again
