import pytest

from data.language_id.langdetect_english import identify, why_not_english
from data.language_id.prediction import Prediction


def test_english_is_certain_and_comes_out_the_same_each_time():
    text = "The ferry leaves the old harbour every morning at half past seven, in any weather."
    assert identify(text) == identify(text)
    assert why_not_english(identify(text), 0.99) is None


@pytest.mark.parametrize(
    "answer, reason",
    [
        (identify("1234 5678"), "language_unidentifiable"),
        (Prediction("de", 0.999, True), "language_not_english"),
        (Prediction("en", 0.98, True), "language_uncertain"),
        (Prediction("de", 0.98, True), "language_uncertain"),
    ],
)
def test_reasons(answer, reason):
    assert why_not_english(answer, 0.99) == reason
