"""What CLD2 and langdetect answer, and in which codes."""

import sys
import unicodedata

import pytest
from declarations import HEBREW, SWAHILI, YORUBA
from hypothesis import given
from hypothesis import strategies as st

from data.language_id import identifiers
from data.language_id.identifiers import (
    CLD2Answer,
    Prediction,
    identify_by_cld2,
    identify_by_langdetect,
    why_not_english,
)

ENGLISH = "All human beings are born free and equal in dignity and rights. "


def test_a_language_counts_from_the_threshold_on():
    asked = [("sw", 0.95, True), ("sw", 0.94, True), ("sw", 1.0, False), ("zxx", 1.0, True)]
    counted = [Prediction(*one).language_above(0.95) for one in asked]
    assert counted == ["sw", "und", "und", "und"]


def test_answers_have_mc4_codes():
    for text, language in ((SWAHILI, "sw"), (HEBREW, "iw"), (YORUBA, "yo")):
        answer = identify_by_cld2(text)
        assert (answer.language, answer.is_reliable) == (language, True)
    assert {"no", "zh", "jv", "fil", "iw", "hr", "tt"} <= identifiers.KNOWN
    assert not {"nn", "zh-Hant", "jw", "tl", "he", "un", "xx-Latn"} & identifiers.KNOWN


@pytest.mark.parametrize("text", ["", "1 2 3", "?"])
def test_text_without_words_has_no_answer(text):
    assert identify_by_cld2(text) == CLD2Answer((), False)
    assert identify_by_cld2(text).language == "und"


def test_no_character_is_refused():
    """Beside controls and surrogates, CLD2 refuses the 66 noncharacters, the last two per plane."""
    strange = [*range(0xFDD0, 0xFDF0), *(plane + 0xFFFE for plane in range(0, 0x110000, 0x10000))]
    controls = [one for one in range(sys.maxunicode) if unicodedata.category(chr(one)) == "Cc"]
    for one in (*controls, *strange, *(one + 1 for one in strange), 0xD800, 0xDFFF):
        assert identify_by_cld2(SWAHILI + chr(one)).language == "sw"


def test_segments_are_counted_in_characters():
    text = ENGLISH * 4 + "\n" + HEBREW * 4
    characters = {one.language: one.characters for one in identifiers.segments(text)[1]}
    assert characters["en"] == pytest.approx(len(ENGLISH * 4), abs=20)
    assert characters["iw"] == pytest.approx(len(HEBREW * 4), abs=20)
    assert sum(characters.values()) == len(text)


@given(st.text(st.characters(exclude_categories=()), max_size=50), st.sampled_from(["", SWAHILI]))
def test_segments_are_parts_of_the_text_and_their_answer_is_that_of_the_text(strange, more):
    answer, found = identifiers.segments(strange + more)
    assert answer == identify_by_cld2(strange + more)
    assert sum(one.characters for one in found) <= len(strange + more)
    assert sum(share for _, share in answer.shares) <= 1


def test_english_is_certain_and_comes_out_the_same_each_time():
    text = "The ferry leaves the old harbour every morning at half past seven, in any weather."
    assert identify_by_langdetect(text) == identify_by_langdetect(text)
    assert why_not_english(identify_by_langdetect(text), 0.99) is None


@pytest.mark.parametrize(
    "answer, reason",
    [
        (identify_by_langdetect("1234 5678"), "language_unidentifiable"),
        (Prediction("de", 0.999, True), "language_not_english"),
        (Prediction("en", 0.98, True), "language_uncertain"),
        (Prediction("de", 0.98, True), "language_uncertain"),
    ],
)
def test_reasons(answer, reason):
    assert why_not_english(answer, 0.99) == reason
