import pytest

from data.language_id.prediction import Prediction


@pytest.mark.parametrize(
    "prediction, language",
    [
        (Prediction("sw", 0.95, True), "sw"),
        (Prediction("sw", 0.94, True), "und"),
        (Prediction("sw", 1.0, False), "und"),
        (Prediction("zxx", 1.0, True), "und"),
    ],
)
def test_a_language_counts_from_the_threshold_on(prediction, language):
    assert prediction.language_above(0.95) == language
