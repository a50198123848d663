"""Columns of decided pages: the decision as it is, and the share of the page that is in it."""

import pytest
from declarations import HEBREW, SIX_LANGUAGES, SWAHILI, YORUBA

from data.language_id.columns import (
    COLUMNS,
    columns,
    decided_columns,
    share_of_bytes,
    share_of_page,
)
from data.language_id.combined import CombinedIdentifier
from data.language_id.identifiers import CLD2Answer, LanguageSegment

TEXTS = [SWAHILI, HEBREW, YORUBA, "", "12 34 " * 30, f"{SWAHILI}\n{HEBREW}"]


def test_rows_are_the_combined_decisions_in_order():
    found = columns(TEXTS)
    assert found.schema == COLUMNS
    ask = CombinedIdentifier().identify
    assert found["combined_language"].to_pylist() == [ask(text).language for text in TEXTS]
    assert found["combined_probability"].to_pylist() == pytest.approx(
        [ask(text).probability for text in TEXTS]
    )
    assert set(found["fasttext_language"].to_pylist()) == {None}


def test_what_no_identifier_was_asked_is_null():
    rows = columns(["12 34 " * 30, ""]).to_pylist()
    assert rows[0]["combined_language"] == "zxx"
    assert rows[0]["cld2_language"] is rows[0]["cld3_language"] is rows[0]["language_share"] is None
    assert (rows[1]["cld2_language"], rows[1]["language_share"]) == ("und", None)


def test_no_pages_are_no_rows():
    assert columns([]).num_rows == 0


def test_a_fasttext_model_has_columns():
    (row,) = columns([SWAHILI], str(SIX_LANGUAGES)).to_pylist()
    assert row["fasttext_language"] == "sw"
    assert 0.9 < row["fasttext_probability"] <= 1


def test_the_share_of_a_mixed_page_is_in_characters():
    hebrew = HEBREW * 3
    (row,) = columns([f"{hebrew}\n{SWAHILI * 2}"]).to_pylist()
    assert row["combined_language"] == "iw"
    expected = len(hebrew) / (len(hebrew) + len(SWAHILI * 2))
    assert row["language_share"] == pytest.approx(expected, abs=0.1)


def test_segments_without_a_language_do_not_count():
    found = [LanguageSegment("sw", 30), LanguageSegment("und", 50), LanguageSegment("en", 10)]
    answer = CLD2Answer((("sw", 0.7), ("en", 0.2)), True)
    assert share_of_page("sw", answer, found) == 0.75
    assert share_of_page("en", answer, found) == 0.25
    assert share_of_page("ms", answer, found) == 0.75, "as its first answer is overruled"
    assert share_of_page("sw", answer, [LanguageSegment("und", 9)]) is None


SWAHILI_DECIDED_COLUMNS = (
    "Watu wote wamezaliwa huru, hadhi na haki zao ni sawa, nao wana akili na dhamiri. "
)
ENGLISH = "All human beings are born free and equal in dignity and rights, with reason. "


def test_the_decision_is_kept_and_others_are_null():
    found = decided_columns([6 * SWAHILI_DECIDED_COLUMNS, ""], ["sw", "und"], [0.75, 0.5])
    assert found.schema.equals(COLUMNS)
    first, second = found.to_pylist()
    assert first["combined_language"] == first["cld2_language"] == "sw"
    assert first["combined_probability"] == 0.75
    assert first["language_share"] == 1
    assert first["cld3_language"] is None
    assert second["language_share"] is None


def test_a_page_in_two_languages_has_about_half_of_each():
    text = 8 * SWAHILI_DECIDED_COLUMNS + "\n" + 8 * ENGLISH
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
    found = share_of_bytes(language, CLD2Answer(shares, is_reliable=True))
    assert found == (expected if expected is None else pytest.approx(expected))
