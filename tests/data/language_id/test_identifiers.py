""" """

import sys
import unicodedata

import pytest
from declarations import HEBREW, SWAHILI, YORUBA
from hypothesis import given
from hypothesis import strategies as st

from data.language_id import identifiers
from data.language_id.identifiers import Prediction, identify_by_langdetect, why_not_english


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


ENGLISH = "All human beings are born free and equal in dignity and rights. "


@pytest.mark.parametrize("text, language", [(SWAHILI, "sw"), (HEBREW, "iw"), (YORUBA, "yo")])
def test_answers_have_mc4_codes(text, language):
    answer = identifiers.identify_by_cld2(text)
    assert (answer.language, answer.is_reliable) == (language, True)


def test_codes_of_its_own_are_mc4s_or_stay():
    assert {"no", "zh", "jv", "fil", "iw", "hr", "tt"} <= identifiers.KNOWN
    assert not {"nn", "zh-Hant", "jw", "tl", "he", "un", "xx-Latn"} & identifiers.KNOWN


@pytest.mark.parametrize("text", ["", "1 2 3", "?"])
def test_text_without_words_has_no_answer(text):
    assert identifiers.identify_by_cld2(text) == identifiers.CLD2Answer((), False)
    assert identifiers.identify_by_cld2(text).language == "und"


def test_what_it_refuses_is_blanked():
    strange = SWAHILI.replace(" ", "\0 \ud800\ufdd0\x7f ", 3)
    assert identifiers.identify_by_cld2(strange).language == "sw"
    answer, found = identifiers.segments(strange)
    assert answer == identifiers.identify_by_cld2(strange)
    assert sum(one.characters for one in found) <= len(strange)


def test_segments_are_counted_in_characters():
    text = ENGLISH * 4 + "\n" + HEBREW * 4
    answer, found = identifiers.segments(text)
    assert answer == identifiers.identify_by_cld2(text)
    characters = {one.language: one.characters for one in found}
    assert characters["en"] == pytest.approx(len(ENGLISH * 4), abs=20)
    assert characters["iw"] == pytest.approx(len(HEBREW * 4), abs=20)
    assert sum(one.characters for one in found) == len(text)


def test_no_character_is_refused():
    """Beside controls and surrogates, CLD2 refuses the 66 noncharacters, the last two per plane."""
    strange = [*range(0xFDD0, 0xFDF0), *(plane + 0xFFFE for plane in range(0, 0x110000, 0x10000))]
    controls = [one for one in range(sys.maxunicode) if unicodedata.category(chr(one)) == "Cc"]
    for one in (*controls, *strange, *(one + 1 for one in strange), 0xD800, 0xDFFF):
        assert identifiers.identify_by_cld2(SWAHILI + chr(one)).language == "sw"


@given(st.text(st.characters(exclude_categories=()), max_size=50))
def test_segments_are_parts_of_the_text(text):
    answer, found = identifiers.segments(text)
    assert sum(one.characters for one in found) <= len(text)
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
