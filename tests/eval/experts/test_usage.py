"""Sums of expert use per language, against numpy on the rows."""

import numpy as np
import pytest

from eval.experts.usage import added, by_language, columns, dropped_share, shares


def rows(seed):
    """Two layers, five rows, three experts."""
    generator = np.random.default_rng(seed)
    load = generator.integers(0, 9, (2, 5, 3))
    dropped = generator.integers(0, 2, (2, 5))
    return load, dropped, generator.random((2, 5)), load.sum(axis=-1), 0.5 * load


LANGUAGE = np.array([1, 0, -1, 1, 0])


def test_a_languages_sums_are_its_rows():
    given = rows(0)
    usage = by_language(given, LANGUAGE, 3)
    for part, summed in zip(given, usage, strict=True):
        np.testing.assert_allclose(summed[:, 0], part[:, 1] + part[:, 4])
        np.testing.assert_allclose(summed[:, 1], part[:, 0] + part[:, 3])
        assert not summed[:, 2].any()


def test_batches_add_up():
    one, two = (by_language(rows(seed), LANGUAGE, 2) for seed in (0, 1))
    both = added(added(None, one), two)
    np.testing.assert_array_equal(both.load, one.load + two.load)
    np.testing.assert_allclose(both.entropy_nats, one.entropy_nats + two.entropy_nats)


def test_shares_are_of_choices():
    usage = by_language(rows(0), LANGUAGE, 3)
    np.testing.assert_allclose(shares(usage.load)[:, :2].sum(axis=-1), 1)
    assert not shares(usage.load)[:, 2].any()
    assert dropped_share(usage.load, usage.dropped)[0, 0] == pytest.approx(
        usage.dropped[0, 0] / usage.load[0, 0].sum()
    )


def test_one_row_per_layer_and_language():
    usage = by_language(rows(0), LANGUAGE, 2)
    table = columns(usage, ["sw", "yo"], every=2)
    assert table["stack"] == ["encoder", "encoder", "decoder", "decoder"]
    assert table["layer"] == [2, 2, 2, 2]
    assert table["language"] == ["sw", "yo"] * 2
    assert table["load"][1] == usage.load[0, 1].tolist()
    assert table["gate"][1] == (0.5 * usage.load[0, 1]).tolist()
    assert table["choices"] == table["tokens"]  # top-1
