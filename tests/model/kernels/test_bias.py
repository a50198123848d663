"""Biases by offset and segments of equal bias, beside T5's buckets at every distance."""

import jax.numpy as jnp
import numpy as np
import pytest

from model.kernels.bias import by_bucket, by_offset, segments
from model.layers.position_bias import BUCKETS, bucket

OFFSETS = np.arange(-5000, 5001)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_every_offset_lies_in_one_segment_that_has_its_bucket(bidirectional):
    starts, ends, buckets = segments(bidirectional)
    inside = (OFFSETS[:, None] >= starts) & (OFFSETS[:, None] < ends)
    assert np.all(inside.sum(axis=1) == 1)
    assert np.array_equal(buckets[inside.argmax(axis=1)], bucket(OFFSETS[None], bidirectional)[0])


@pytest.mark.parametrize("bidirectional", [True, False])
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
