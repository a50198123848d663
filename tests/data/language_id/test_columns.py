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

TEXTS = [SWAHILI, HEBREW, YORUBA, f"{HEBREW * 3}\n{SWAHILI * 2}", "", "12 34 " * 30]
ENGLISH = "All human beings are born free and equal in dignity and rights, with reason. "


def test_rows_are_the_combined_decisions_in_order():
    found = columns(TEXTS)
    answers = list(map(CombinedIdentifier().identify, TEXTS))
    assert found.schema == COLUMNS
    assert found["combined_language"].to_pylist() == [answer.language for answer in answers]
    assert found["combined_probability"].to_pylist() == pytest.approx(
        [answer.probability for answer in answers]
    )
    *_, mixed, empty, noise = found.to_pylist()
    expected = len(HEBREW * 3) / (len(HEBREW * 3) + len(SWAHILI * 2))  # in characters
    assert mixed["language_share"] == pytest.approx(expected, abs=0.1)
    assert (empty["cld2_language"], empty["language_share"]) == ("und", None)
    assert noise["combined_language"] == "zxx"
    assert noise["cld2_language"] is noise["cld3_language"] is noise["language_share"] is None
    assert set(found["fasttext_language"].to_pylist()) == {None}
    assert columns([]).num_rows == 0


def test_a_fasttext_model_has_columns():
    (row,) = columns([SWAHILI], str(SIX_LANGUAGES)).to_pylist()
    assert row["fasttext_language"] == "sw"
    assert 0.9 < row["fasttext_probability"] <= 1


def test_segments_without_a_language_do_not_count():
    found = [LanguageSegment("sw", 30), LanguageSegment("und", 50), LanguageSegment("en", 10)]
    answer = CLD2Answer((("sw", 0.7), ("en", 0.2)), True)
    shares = {code: share_of_page(code, answer, found) for code in ("sw", "en", "ms")}
    assert shares == {"sw": 0.75, "en": 0.25, "ms": 0.75}  # as its first answer is overruled
    assert share_of_page("sw", answer, [LanguageSegment("und", 9)]) is None


def test_the_decision_is_kept_and_others_are_null():
    mixed = 3 * SWAHILI + "\n" + 4 * ENGLISH
    texts, codes = [6 * SWAHILI, "", mixed, mixed], ["sw", "und", "sw", "en"]
    found = decided_columns(texts, codes, [0.75, 0.5, 0.9, 0.9])
    assert found.schema.equals(COLUMNS)
    assert found["combined_language"].to_pylist() == codes
    whole, empty, in_swahili, in_english = found.to_pylist()
    assert (whole["cld2_language"], whole["cld3_language"]) == ("sw", None)
    assert (whole["combined_probability"], whole["language_share"]) == (0.75, 1)
    assert empty["language_share"] is None
    assert in_swahili["language_share"] + in_english["language_share"] == pytest.approx(1)
    assert 0.4 < in_swahili["language_share"] < 0.6


def test_shares_are_of_what_has_a_language():
    answer = CLD2Answer((("sw", 0.6), ("en", 0.3)), is_reliable=True)
    shares = [share_of_bytes(code, answer) for code in ("sw", "en", "hmn")]
    assert shares == pytest.approx([2 / 3, 1 / 3, 2 / 3])
    assert share_of_bytes("sw", CLD2Answer((), is_reliable=True)) is None
