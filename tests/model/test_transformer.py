"""The whole network: packing, causality, padding, tied logits; one expert is the dense network.

Rematerialization changes what is kept, not the result; repeated exchanges are counted.
"""

from dataclasses import replace
from typing import get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from small_networks import assert_close, drawn, mesh_of, sized

from model.batch import Batch, Call, Visible
from model.config import MeshShape, Remat, SwitchConfig
from model.transformer import StackInputs

SWITCH = SwitchConfig(experts=2, every=1, encoder_group_tokens=8, decoder_group_tokens=4)
INPUTS = StackInputs(Visible(None, False, None, None), jnp.ones((2, 8), bool), None, None)


def encoder_loss(config, remat, mesh):
    """A loss of an encoder, as a function of its arrays; and its arrays."""
    arrays, static = eqx.partition(drawn(config).encoder, eqx.is_array)
    x = jax.random.normal(jax.random.key(2), (2, 8, config.embed))

    def loss(arrays):
        y, routing, _ = eqx.combine(arrays, static)(x, INPUTS, Call(mesh, jax.random.key(1), remat))
        return jnp.sum(y[..., 0]) + jnp.sum(routing.balance_loss)

    return loss, arrays


@pytest.fixture(scope="module")
def compiled():
    """Program and values of an encoder's gradients on two devices, for each policy."""
    config = sized(mlp=16, feed_forward="relu", switch=SWITCH)

    def program(remat):
        loss, arrays = encoder_loss(config, remat, mesh_of(MeshShape(expert=2)))
        made = jax.jit(jax.value_and_grad(loss)).lower(arrays).compile()
        return made.as_text(), made(arrays)

    return {remat: program(remat) for remat in get_args(Remat)}


# Two forward and two backward of a layer; both layers are written out without remat, else they are
# one scanned body. Full remat runs forward again.
EXCHANGES = {"none": 2 * 4, "full": 6, "exchanges": 4, "attention": 4, "products": 4}


def test_policies_keep_values_and_gradients_and_what_is_exchanged_and_multiply_ever_less(compiled):
    programs = {remat: text for remat, (text, _) in compiled.items()}
    assert {remat: text.count(" all-to-all(") for remat, text in programs.items()} == EXCHANGES
    products = [text.count(" dot(") for remat, text in programs.items() if remat != "none"]
    assert list(programs)[1:] == ["full", "exchanges", "attention", "products"]
    assert products == sorted(set(products), reverse=True)
    for _, values in compiled.values():
        assert_close(values, compiled["none"][1], rtol=1e-5, atol=1e-6)


def products_with(shape, remat, config):
    """The number of products with a weight of this shape, forward and repeated."""
    loss, arrays = encoder_loss(config, remat, mesh_of())

    def count(jaxpr):
        found = 0
        for one in jaxpr.eqns:
            if one.primitive.name == "dot_general":
                (left, right), _ = one.params["dimension_numbers"]
                found += one.invars[1].aval.shape == shape and (left, right) == ((2,), (0,))
            found += sum(map(count, jaxprs_in_params(one.params)))
        return found

    return count(jax.make_jaxpr(jax.grad(loss))(arrays).jaxpr)


@pytest.mark.parametrize(
    ("shape", "every"),
    [((24, 16), 2), ((16, 6), 2), ((16, 6), 1)],
    ids=["feed-forward", "router", "router of every layer"],
)
def test_no_product_with_weights_is_repeated_where_their_results_are_kept(shape, every):
    config = sized(feed_forward="relu", switch=replace(SWITCH, experts=6, every=every))
    policies = ("none", "products", "full")
    once, kept, again = (products_with(shape, remat, config) for remat in policies)
    assert once == kept < again


@eqx.filter_jit
def forward(model, batch):
    """The logits; compiled, because op by op costs a second each time."""
    return model.head(model(batch, Call(mesh_of())).decoded)


def batch_of(inputs, targets, **examples):
    inputs, targets = jnp.array(inputs, jnp.int32), jnp.array(targets, jnp.int32)
    return Batch(inputs, targets, jnp.zeros(len(inputs), jnp.int32), **examples)


def test_tied_logits_are_of_the_embedding():
    """T5 1.0 (Mesh TensorFlow): the decoder's output times embed^-0.5, times the embedding."""
    tied = drawn(sized(tied_logits=True))
    x = jax.random.normal(jax.random.key(1), (1, 3, 16))
    assert tied.logits is None
    expected = np.asarray(x) / 4 @ np.asarray(tied.embedding).T
    np.testing.assert_allclose(tied.head(x), expected, rtol=1e-4, atol=1e-5)


def test_packed_equals_unpacked():
    """Two examples in one row, in either order, or a row each: the same logits. None is dropped."""
    groups = {"encoder_group_tokens": 12, "decoder_group_tokens": 8}
    switch = SwitchConfig(experts=4, every=2, **groups, capacity_factor_evaluation=4.0)
    model = drawn(sized(switch=switch, tied_logits=True))
    a, b = ([5, 6, 7, 8, 1], [11, 12, 1]), ([9, 8, 7, 1], [13, 14, 15, 1])

    def logits(rows, split=True):
        """Logits of rows of examples; unsplit, all positions have one example number."""

        def side(number, length):
            ids, examples = np.zeros((2, 2, length), np.int32)
            for row, pairs in enumerate(rows):
                parts = [pair[number] for pair in pairs]
                flat = np.concatenate(parts)
                ids[row, : len(flat)] = flat
                numbers = range(1, len(parts) + 1)
                examples[row, : len(flat)] = np.repeat(numbers, list(map(len, parts)))
            return ids, jnp.array(examples if split else np.ones_like(examples))

        (inputs, input_example), (targets, target_example) = side(0, 12), side(1, 8)
        examples = {"input_example": input_example, "target_example": target_example}
        return forward(model, batch_of(inputs, targets, **examples))

    apart, packed = logits([[a], [b]]), logits([[a, b], [b, a]])
    joined = logits([[a, b], [b, a]], split=False)
    lengths = len(a[1]), len(b[1])
    for row, (first, second) in enumerate([(0, 1), (1, 0)]):
        start, end = lengths[first], sum(lengths)
        np.testing.assert_allclose(packed[row, :start], apart[first, :start], atol=1e-5)
        np.testing.assert_allclose(packed[row, start:end], apart[second, : end - start], atol=1e-5)
        assert not np.allclose(joined[row, start:end], apart[second, : end - start], atol=1e-2)


def test_the_decoder_sees_no_future_and_padding_changes_nothing():
    model = drawn(sized())
    padded = [[5, 6, 7, 1, 0, 0]], [[9, 10, 1, 0]]
    first, second = [[5, 6, 7, 1, 0, 0]], [[9, 10, 99, 1]]
    one, two = (forward(model, batch_of(*pair)) for pair in (padded, (first, second)))
    np.testing.assert_array_equal(one[0, :3], two[0, :3])
    assert not np.allclose(one[0, 3], two[0, 3])
    short = forward(model, batch_of([[5, 6, 7, 1]], [[9, 10, 1]]))
    np.testing.assert_allclose(one[:, :3], short, atol=1e-5)


def test_one_expert_of_weight_one_is_the_dense_model():
    """With one expert the gate is 1 and nothing is dropped: the dense network, exactly."""
    groups = {"encoder_group_tokens": 4, "decoder_group_tokens": 3}
    switch = SwitchConfig(experts=1, every=1, **groups, capacity_factor_evaluation=1.0)
    dense, sparse = drawn(sized()), drawn(sized(switch=switch), 1)

    def stack(name):
        source, target = getattr(dense, name), getattr(sparse, name)
        layer, experts = source.blocks[0].feed_forward, target.blocks[0].feed_forward
        matrices = lambda of: (of.gate, of.up, of.down)  # noqa: E731
        copied = tuple(matrix[:, None] for matrix in matrices(layer))
        experts = eqx.tree_at(matrices, experts, copied)
        blocks = (eqx.tree_at(lambda b: b.feed_forward, source.blocks[0], experts),)
        parts = lambda of: (of.blocks, of.position_bias, of.final_norm)  # noqa: E731
        return eqx.tree_at(parts, target, (blocks, source.position_bias, source.final_norm))

    stacks = {name: stack(name) for name in ("encoder", "decoder")}
    whole = lambda of: (of.embedding, of.logits, of.encoder, of.decoder)  # noqa: E731
    copy = eqx.tree_at(whole, sparse, (dense.embedding, dense.logits, *stacks.values()))
    batch = batch_of([[5, 6, 7, 1]], [[9, 10, 1]])
    np.testing.assert_allclose(forward(copy, batch), forward(dense, batch), atol=1e-5)
