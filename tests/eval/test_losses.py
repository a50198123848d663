"""Losses per language, against sums by hand."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from eval import losses as language_loss
from eval.losses import Unit

ROWS = [
    {"language": "sw", "url": "b", "loss_nats": 6.0, "target_tokens": 3, "text_bytes": 10},
    {"language": "en", "url": "a", "loss_nats": 4.0, "target_tokens": 2, "text_bytes": 5},
    {"language": "sw", "url": "a", "loss_nats": 2.0, "target_tokens": 1, "text_bytes": 6},
]


def pages(rows=ROWS):
    return language_loss.from_table(pa.Table.from_pylist(rows), "here")


def test_hand_computed():
    losses = language_loss.by_language(pages())
    assert losses.languages == ("en", "sw")
    np.testing.assert_allclose(losses.losses(Unit.NATS_PER_TOKEN), [2.0, 2.0])
    np.testing.assert_allclose(
        losses.losses(Unit.BITS_PER_BYTE), [4 / math.log(2) / 5, 8 / math.log(2) / 16]
    )
    assert losses.pages.tolist() == [1, 2]


def test_total_is_a_sum_not_a_mean_of_languages():
    rows = [*ROWS, ROWS[1] | {"url": "long", "loss_nats": 90.0, "target_tokens": 9}]
    total = language_loss.total(language_loss.by_language(pages(rows)))
    np.testing.assert_allclose(total.losses(Unit.NATS_PER_TOKEN), [102 / 15])
    assert total.pages.tolist() == [4]


@given(st.permutations(ROWS))
def test_order_of_rows_does_not_matter(rows):
    assert language_loss.same_targets(pages(rows), pages())
    np.testing.assert_array_equal(pages(rows).loss_nats, pages().loss_nats)


@pytest.mark.parametrize(
    "change, same", [({"url": "c"}, False), ({"target_tokens": 4}, True), ({"text_bytes": 1}, True)]
)
def test_other_pages_or_targets_are_noticed(change, same):
    other = pages([ROWS[0] | change, *ROWS[1:]])
    assert language_loss.same_pages(other, pages()) == same
    assert not language_loss.same_targets(other, pages())


@given(st.permutations(ROWS), st.permutations(ROWS))
def test_files_read_together_are_what_they_are_alone(one, other):
    tables = [(pa.Table.from_pylist(rows), "here") for rows in (one, one, other)]
    for rows, found in zip((one, one, other), language_loss.from_tables(tables), strict=True):
        assert language_loss.same_targets(found, pages(rows))
        np.testing.assert_array_equal(found.loss_nats, pages(rows).loss_nats)


def test_bits_per_byte_is_nats_over_bytes_in_either_place():
    losses = language_loss.by_language(pages())
    page = pages()
    for unit in language_loss.Unit:
        amounts, sizes = page.amounts(unit), page.sizes(unit)
        np.testing.assert_allclose(
            losses.losses(unit), [amounts[0] / sizes[0], amounts[1:].sum() / sizes[1:].sum()]
        )


def test_mean_of_runs_averages_losses_and_keeps_counts():
    one = language_loss.by_language(pages())
    other = language_loss.by_language(pages([row | {"loss_nats": 0.0} for row in ROWS]))
    mean = language_loss.mean_of_runs((one, other))
    np.testing.assert_allclose(mean.losses(Unit.NATS_PER_TOKEN), [1.0, 1.0])
    assert mean.target_tokens.tolist() == one.target_tokens.tolist()


@pytest.mark.parametrize(
    "rows, message",
    [
        ([ROWS[0] | {"loss_nats": math.nan}], "diverged"),
        ([ROWS[0] | {"target_tokens": 0}], "sw hold no target token"),
    ],
)
def test_unusable_evaluations_are_refused_with_a_sentence(rows, message):
    with pytest.raises(DataError, match=message):
        language_loss.by_language(pages(rows))
