import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.language_id.thresholds import STEPS, counts, decide, fineweb2

PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=200)


@given(PROBABILITIES)
def test_it_is_fineweb2_s_formula_within_the_error(probabilities):
    exact = max(0.3, min(0.9, np.median(probabilities) - np.std(probabilities)))
    assert abs(fineweb2().threshold(counts(probabilities)) - exact) <= 1 / STEPS + 1e-12


@given(PROBABILITIES, PROBABILITIES)
def test_counts_of_parts_add_up_to_those_of_the_whole(one, other):
    np.testing.assert_array_equal(counts(one) + counts(other), counts(one + other))


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
    thresholds = {"id": 0.4, "en": 0.9}
    assert decide("id", 0.4, thresholds) == "id"
    assert decide("id", 0.399, thresholds) == "und"
    assert decide("en", 0.41, thresholds) == "und"
    assert decide("und", 0.0, thresholds) == "und"
