"""Rematerialization changes what is kept, not the result; repeated exchanges are counted.

The whole network: packing, causality, padding, tied logits; one expert is the dense network.
"""

import dataclasses
from typing import get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from small_networks import drawn, mesh_of

from model.batch import Batch, Call, Visible
from model.config import MeshShape, ModelConfig, Remat, SwitchConfig
from model.remat import KEPT
from model.transformer import StackInputs

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


CONFIG_TRANSFORMER = ModelConfig(
    vocabulary_rows=128, embed=16, heads=2, head=8, mlp=24, layers=2, activation_dtype="float32"
)


@eqx.filter_jit
def forward(model, batch):
    """The logits; compiled, because op by op costs a second each time."""
    return model.head(model(batch, Call(mesh_of())).decoded)


def batch_of(inputs, targets):
    inputs, targets = jnp.array(inputs, jnp.int32), jnp.array(targets, jnp.int32)
    return Batch(inputs=inputs, targets=targets, language=jnp.zeros(len(inputs), jnp.int32))


def test_tied_logits_are_of_the_embedding():
    """T5 1.0 (Mesh TensorFlow): the decoder's output times embed^-0.5, times the embedding."""
    tied = drawn(dataclasses.replace(CONFIG_TRANSFORMER, tied_logits=True), 0)
    x = jax.random.normal(jax.random.key(1), (1, 3, 16))
    assert tied.logits is None
    expected = np.asarray(x) / 4 @ np.asarray(tied.embedding).T
    np.testing.assert_allclose(tied.head(x), expected, rtol=1e-4, atol=1e-5)


def test_packed_equals_unpacked():
    """Two examples in one row, in either order, or a row each: the same logits. None is dropped."""
    switch = SwitchConfig(
        experts=4,
        every=2,
        encoder_group_tokens=12,
        decoder_group_tokens=8,
        capacity_factor_evaluation=4.0,
    )
    config = dataclasses.replace(CONFIG_TRANSFORMER, switch=switch, tied_logits=True)
    model = drawn(config, 0)
    a, b = ([5, 6, 7, 8, 1], [11, 12, 1]), ([9, 8, 7, 1], [13, 14, 15, 1])

    def logits(rows, split=True):
        """Logits of rows of examples; unsplit, all positions have one example number."""

        def side(number, length):
            ids, examples = np.zeros((2, 2, length), np.int32)
            for row, pairs in enumerate(rows):
                parts = [pair[number] for pair in pairs]
                flat = np.concatenate(parts)
                ids[row, : len(flat)] = flat
                examples[row, : len(flat)] = np.repeat(
                    range(1, len(parts) + 1), [len(part) for part in parts]
                )
            return jnp.array(ids), jnp.array(examples if split else np.ones_like(examples))

        (inputs, input_example), (targets, target_example) = side(0, 12), side(1, 8)
        batch = dataclasses.replace(
            batch_of(inputs, targets), input_example=input_example, target_example=target_example
        )
        return forward(model, batch)

    apart = logits([[a], [b]])
    packed = logits([[a, b], [b, a]])
    joined = logits([[a, b], [b, a]], split=False)
    for row, (first, second) in enumerate([(0, 1), (1, 0)]):
        lengths = [len(pair[1]) for pair in (a, b)]
        start, end = lengths[first], lengths[first] + lengths[second]
        np.testing.assert_allclose(packed[row, :start], apart[first, :start], atol=1e-5)
        np.testing.assert_allclose(packed[row, start:end], apart[second, : end - start], atol=1e-5)
        assert not np.allclose(joined[row, start:end], apart[second, : end - start], atol=1e-2)


def test_the_decoder_sees_no_future():
    model = drawn(CONFIG_TRANSFORMER, 0)
    first = batch_of([[5, 6, 7, 1]], [[9, 10, 11, 1]])
    second = batch_of([[5, 6, 7, 1]], [[9, 10, 99, 1]])
    one, two = (forward(model, batch) for batch in (first, second))
    np.testing.assert_array_equal(one[0, :3], two[0, :3])
    assert not np.allclose(one[0, 3], two[0, 3])


def test_padding_changes_nothing():
    model = drawn(CONFIG_TRANSFORMER, 0)
    short = forward(model, batch_of([[5, 6, 7, 1]], [[9, 10, 1]]))
    padded = forward(model, batch_of([[5, 6, 7, 1, 0, 0]], [[9, 10, 1, 0]]))
    np.testing.assert_allclose(padded[:, :3], short, atol=1e-5)


def test_one_expert_of_weight_one_is_the_dense_model():
    """With one expert the gate is 1 and nothing is dropped: the dense network, exactly."""
    switch = SwitchConfig(
        experts=1,
        every=1,
        encoder_group_tokens=4,
        decoder_group_tokens=3,
        capacity_factor_evaluation=1.0,
    )
    dense = drawn(CONFIG_TRANSFORMER, 0)
    sparse_config = ModelConfig(**{**vars(CONFIG_TRANSFORMER), "switch": switch})
    sparse = drawn(sparse_config, 1)

    def experts(stack):
        return stack.blocks[0].feed_forward

    for name in ("encoder", "decoder"):
        source, target = getattr(dense, name), getattr(sparse, name)
        layer = source.blocks[0].feed_forward
        switch_layer = eqx.tree_at(
            lambda s: (s.gate, s.up, s.down),
            experts(target),
            tuple(w[:, None] for w in (layer.gate, layer.up, layer.down)),
        )
        blocks = (eqx.tree_at(lambda b: b.feed_forward, source.blocks[0], switch_layer),)
        moved = eqx.tree_at(
            lambda s: (s.blocks, s.position_bias, s.final_norm),
            target,
            (blocks, source.position_bias, source.final_norm),
        )
        sparse = eqx.tree_at(lambda m, n=name: getattr(m, n), sparse, moved)
    sparse = eqx.tree_at(lambda m: (m.embedding, m.logits), sparse, (dense.embedding, dense.logits))
    batch = batch_of([[5, 6, 7, 1]], [[9, 10, 1]])
    np.testing.assert_allclose(forward(sparse, batch), forward(dense, batch), atol=1e-5)
