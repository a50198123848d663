import sys
import unicodedata

import pytest
from declarations import HEBREW, SWAHILI, YORUBA
from hypothesis import given
from hypothesis import strategies as st

from data.language_id import cld2

ENGLISH = "All human beings are born free and equal in dignity and rights. "


@pytest.mark.parametrize("text, language", [(SWAHILI, "sw"), (HEBREW, "iw"), (YORUBA, "yo")])
def test_answers_have_mc4_codes(text, language):
    answer = cld2.identify(text)
    assert (answer.language, answer.is_reliable) == (language, True)


def test_codes_of_its_own_are_mc4s_or_stay():
    assert {"no", "zh", "jv", "fil", "iw", "hr", "tt"} <= cld2.KNOWN
    assert not {"nn", "zh-Hant", "jw", "tl", "he", "un", "xx-Latn"} & cld2.KNOWN


@pytest.mark.parametrize("text", ["", "1 2 3", "?"])
def test_text_without_words_has_no_answer(text):
    assert cld2.identify(text) == cld2.CLD2Answer((), False)
    assert cld2.identify(text).language == "und"


def test_what_it_refuses_is_blanked():
    strange = SWAHILI.replace(" ", "\0 \ud800\ufdd0\x7f ", 3)
    assert cld2.identify(strange).language == "sw"
    answer, found = cld2.segments(strange)
    assert answer == cld2.identify(strange)
    assert sum(one.characters for one in found) <= len(strange)


def test_segments_are_counted_in_characters():
    text = ENGLISH * 4 + "\n" + HEBREW * 4
    answer, found = cld2.segments(text)
    assert answer == cld2.identify(text)
    characters = {one.language: one.characters for one in found}
    assert characters["en"] == pytest.approx(len(ENGLISH * 4), abs=20)
    assert characters["iw"] == pytest.approx(len(HEBREW * 4), abs=20)
    assert sum(one.characters for one in found) == len(text)


def test_no_character_is_refused():
    """Beside controls and surrogates, CLD2 refuses the 66 noncharacters, the last two per plane."""
    strange = [*range(0xFDD0, 0xFDF0), *(plane + 0xFFFE for plane in range(0, 0x110000, 0x10000))]
    controls = [one for one in range(sys.maxunicode) if unicodedata.category(chr(one)) == "Cc"]
    for one in (*controls, *strange, *(one + 1 for one in strange), 0xD800, 0xDFFF):
        assert cld2.identify(SWAHILI + chr(one)).language == "sw"


@given(st.text(st.characters(exclude_categories=()), max_size=50))
def test_segments_are_parts_of_the_text(text):
    answer, found = cld2.segments(text)
    assert sum(one.characters for one in found) <= len(text)
    assert sum(share for _, share in answer.shares) <= 1
