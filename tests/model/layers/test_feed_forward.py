"""Feed-forward, norm, and dropout: its masks, shares and places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import batch, config, drawn, mesh_of, sized

from model.batch import Call
from model.layers.attention import plain_attention
from model.layers.feed_forward import NO_DROPOUT, Dropout, FeedForward, RMSNorm

ROWS, QUERIES, KEYS, HEADS, HEAD = 3, 5, 7, 2, 4


def dropout(rate=0.3, rows=ROWS):
    return Dropout.of_rows(rate, jax.random.key(0), jnp.arange(rows))


def test_values_are_zeroed_as_attention_weights_are_for_all_queries():
    generator = np.random.default_rng(0)
    arrays = [
        generator.normal(size=(ROWS, length, HEADS * HEAD)).astype(np.float32)
        for length in (QUERIES, KEYS, KEYS)
    ]
    query, keys, values = map(jnp.asarray, arrays)
    mask = jnp.ones((1, 1, KEYS), bool)
    found = plain_attention(query, keys, dropout().of_values(values, HEADS), None, mask, HEADS)
    kept = np.asarray(dropout().of_values(jnp.ones_like(values), HEADS))[..., ::HEAD]  # b, k, h
    q, k, v = (array.reshape(ROWS, -1, HEADS, HEAD) for array in arrays)
    weights = np.asarray(jax.nn.softmax(np.einsum("bqhd,bkhd->bhqk", q, k), axis=-1))
    weights = weights * kept.transpose(0, 2, 1)[:, :, None]
    expected = np.einsum("bhqk,bkhd->bqhd", weights, v).reshape(ROWS, QUERIES, -1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert 0 < np.mean(kept == 0) < 1


def test_a_unit_is_zeroed_at_all_positions_of_its_row_and_the_mean_stays():
    ones = np.asarray(dropout(rate=0.25, rows=200)(jnp.ones((200, 3, 100))))
    assert set(np.unique(ones)) == {0.0, np.float32(1 / 0.75)}
    assert np.all(ones == ones[:, :1])
    assert abs(ones.mean() - 1) < 0.02  # 20,000 units: a standard deviation of 0.004
    assert not np.array_equal(ones[0], ones[1])


def test_places_have_masks_of_their_own():
    x = jnp.ones((ROWS, 1, 64))
    here, there = (np.asarray(dropout().at(place)(x)) for place in (1, 2))
    assert not np.array_equal(here, there)
    np.testing.assert_array_equal(here, dropout().at(1)(x))


def test_there_is_none_without_a_rate_or_a_key():
    without = Call(mesh_of(), jax.random.key(0)), Call(mesh_of(), None, dropout=0.1)
    assert [call.dropout_of(ROWS) for call in without] == [NO_DROPOUT, NO_DROPOUT]


@pytest.mark.slow
def test_a_network_drops_in_training_only():
    model, key = drawn(config("dense")), jax.random.key(1)
    calls = ({"dropout": 0.5}, {"key": key}, *({"key": key, "dropout": 0.5},) * 2)
    plain, trained, dropped, again = (
        np.asarray(jax.jit(lambda m, call=call: m(batch(), Call(mesh_of(), **call)).decoded)(model))
        for call in calls
    )
    np.testing.assert_array_equal(plain, trained)
    np.testing.assert_array_equal(dropped, again)
    assert np.mean(dropped == 0) > 0.4  # the output's own dropout
    assert np.abs(dropped - plain).max() > 0.1


def test_norm_equals_its_definition():
    x = jax.random.normal(jax.random.key(0), (2, 3, 16)) * 7
    expected = x / np.sqrt(np.mean(np.square(x), -1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(RMSNorm.init(16)(x), expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_scale_s_gradient_is_a_sum_in_float32(dtype):
    """Of equal terms, of which a sum in bfloat16 stops growing at 256."""
    x = jnp.ones((64, 256, 4), dtype)
    norm = RMSNorm(jnp.full(4, 3.0))
    slope, of_x = jax.grad(lambda norm, x: norm(x).astype(jnp.float32).sum(), (0, 1))(norm, x)
    np.testing.assert_allclose(slope.scale, 64 * 256, rtol=1e-5)
    assert of_x.dtype == dtype


@pytest.mark.parametrize("kind", ["gated-gelu", "relu"])
def test_a_feed_forward_is_a_gated_gelu_or_a_relu(kind):
    x = np.random.default_rng(1).normal(size=16).astype(np.float32)

    @jax.jit
    def run(key):
        layer = FeedForward.init(sized(feed_forward=kind), key=key)
        return layer, layer(jnp.array(x[None, None]), mesh_of())

    layer, y = run(jax.random.key(0))
    assert (layer.gate is None) == (kind == "relu")
    hidden = np.maximum(x @ layer.up, 0)
    if kind == "gated-gelu":
        hidden = jax.nn.gelu(x @ layer.gate) * (x @ layer.up)
    np.testing.assert_allclose(y[0, 0], hidden @ layer.down, rtol=1e-5)
