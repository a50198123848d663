"""Columns of decided pages: the decision as it is, and the share of the page that is in it."""

import pytest

from data.language_id.cld2 import CLD2Answer
from data.language_id.decided_columns import decided_columns, share_in
from data.language_id.language_columns import COLUMNS

SWAHILI = "Watu wote wamezaliwa huru, hadhi na haki zao ni sawa, nao wana akili na dhamiri. "
ENGLISH = "All human beings are born free and equal in dignity and rights, with reason. "


def test_the_decision_is_kept_and_others_are_null():
    found = decided_columns([6 * SWAHILI, ""], ["sw", "und"], [0.75, 0.5])
    assert found.schema.equals(COLUMNS)
    first, second = found.to_pylist()
    assert first["combined_language"] == first["cld2_language"] == "sw"
    assert first["combined_probability"] == 0.75
    assert first["language_share"] == 1
    assert first["cld3_language"] is None
    assert second["language_share"] is None


def test_a_page_in_two_languages_has_about_half_of_each():
    text = 8 * SWAHILI + "\n" + 8 * ENGLISH
    shares = decided_columns([text, text], ["sw", "en"], [0.9, 0.9])["language_share"].to_pylist()
    assert sum(shares) == pytest.approx(1)
    assert 0.4 < shares[0] < 0.6


@pytest.mark.parametrize(
    ("language", "shares", "expected"),
    [
        ("sw", (("sw", 0.6), ("en", 0.3)), 2 / 3),
        ("en", (("sw", 0.6), ("en", 0.3)), 1 / 3),
        ("hmn", (("sw", 0.6), ("en", 0.3)), 2 / 3),
        ("sw", (), None),
    ],
)
def test_shares_are_of_what_has_a_language(language, shares, expected):
    found = share_in(language, CLD2Answer(shares, is_reliable=True))
    assert found == (expected if expected is None else pytest.approx(expected))
