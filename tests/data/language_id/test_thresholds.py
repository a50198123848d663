"""FineWeb2's threshold of a language, and the decision by it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.language_id.thresholds import STEPS, counts, decide, fineweb2

PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=200)


@given(PROBABILITIES, PROBABILITIES)
def test_it_is_fineweb2_s_formula_within_the_error_of_counts_that_add_up(one, other):
    both = one + other
    exact = max(0.3, min(0.9, np.median(both) - np.std(both)))
    found = fineweb2().threshold(counts(one) + counts(other))
    assert found == pytest.approx(exact, abs=1 / STEPS + 1e-12)


@pytest.mark.parametrize(
    "probabilities, threshold",
    [
        ([0.99] * 9, 0.9),  # English: the highest
        ([0.1, 0.2], 0.3),  # noise: the lowest
        ([0.5, 0.7, 0.9], 0.7 - np.std([0.5, 0.7, 0.9])),
        ([0.85], 0.85),
        ([1.00001], 0.9),
    ],
)
def test_examples(probabilities, threshold):
    assert fineweb2().threshold(counts(probabilities)) == pytest.approx(threshold, abs=1e-9)


def test_a_language_of_no_pages_has_no_threshold():
    with pytest.raises(ValueError, match="at least one page"):
        fineweb2().threshold(counts([]))


def test_the_decision():
    asked = [("id", 0.4), ("id", 0.399), ("en", 0.41), ("und", 0.0)]
    decided = [decide(*one, {"id": 0.4, "en": 0.9}) for one in asked]
    assert decided == ["id", "und", "und", "und"]
