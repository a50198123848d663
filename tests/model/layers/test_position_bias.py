"""Biases by offset and segments of equal bias, beside T5's buckets at every distance."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.layers.position_bias import BUCKETS, PositionBias, bucket, by_bucket, by_offset, segments

both_directions = pytest.mark.parametrize("bidirectional", [True, False])
OFFSETS = np.arange(-5000, 5001)


def drawn(heads, slope, bidirectional=True):
    key = jax.random.key(0)
    return PositionBias.init(heads=heads, slope=slope, bidirectional=bidirectional, key=key)


def test_a_table_begins_as_t5xs():
    """Uniform with the variance of Glorot: 2 / (buckets + heads), whatever the network's width."""
    table = drawn(heads := 2_000, slope=0.0).table
    assert table.shape == (BUCKETS, heads)
    assert np.var(table) == pytest.approx(2 / (BUCKETS + heads), rel=0.02)
    assert np.abs(table).max() <= np.sqrt(6 / (BUCKETS + heads))


@both_directions
def test_biases_fall_with_distance_half_as_much_per_head(bidirectional):
    """Exact buckets by their offset, later ones by the mean of the offsets that share them.

    The learned table is that without slopes, and so is its gradient.
    """
    plain, sloped = (drawn(4, slope, bidirectional) for slope in (0.0, 0.5))
    along = eqx.filter_grad(lambda bias: jnp.sum(bias.biases * plain.table))(sloped)
    for table in (sloped.table, plain.biases, along.table):
        np.testing.assert_array_equal(table, plain.table)
    table = sloped.biases - plain.biases
    offsets = np.arange(-128, 129 if bidirectional else 1)
    for head in range(4):
        biases = table[bucket(offsets[None], bidirectional)[0], head]
        slope = 0.5 / 2**head
        exact = np.abs(offsets) < (8 if bidirectional else 16)
        np.testing.assert_allclose(biases[exact], -slope * np.abs(offsets[exact]), rtol=1e-5)
        assert np.mean(biases) == pytest.approx(-slope * np.mean(np.abs(offsets)), rel=1e-5)


def slow_bucket(offset, bidirectional, buckets=32, farthest=128):
    """Mesh TensorFlow's formula, one offset at a time."""
    base, distance = 0, max(-offset, 0)
    if bidirectional:
        buckets //= 2
        base, distance = buckets if offset > 0 else 0, abs(offset)
    exact = buckets // 2
    if distance < exact:
        return base + distance
    far = exact + int(np.log(distance / exact) / np.log(farthest / exact) * (buckets - exact))
    return base + min(far, buckets - 1)


@both_directions
def test_every_offset_has_t5s_bucket_and_lies_in_one_segment_that_has_it(bidirectional):
    found = bucket(OFFSETS[None], bidirectional)[0]
    assert found.tolist() == [slow_bucket(int(offset), bidirectional) for offset in OFFSETS]
    starts, ends, buckets = segments(bidirectional)
    inside = (OFFSETS[:, None] >= starts) & (OFFSETS[:, None] < ends)
    assert np.all(inside.sum(axis=1) == 1)
    assert np.array_equal(buckets[inside.argmax(axis=1)], found)


@both_directions
def test_biases_by_offset_are_the_tables_and_their_gradient_its_sums(bidirectional):
    generator = np.random.default_rng(0)
    table = jnp.asarray(generator.normal(size=(BUCKETS, 3)), jnp.float32)
    offsets = OFFSETS[4800:5200]
    buckets = bucket(offsets[None], bidirectional)[0]
    assert np.array_equal(by_offset(table, offsets, bidirectional), table[buckets].T)
    gradient = generator.normal(size=(3, len(offsets))).astype(np.float32)
    expected = np.zeros((BUCKETS, 3))
    np.add.at(expected, buckets, gradient.T)
    found = by_bucket(jnp.asarray(gradient), offsets, bidirectional, BUCKETS)
    np.testing.assert_allclose(found, expected, atol=1e-4)
