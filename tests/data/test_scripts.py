""" """

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import scripts
from data.dedup.hashed_words import hashed_words
from data.dedup.line_dedup import lines_as_read
from data.scripts import compose


@pytest.mark.parametrize(
    "text, kind",
    [
        ("aжաक्ი한ሀ0٣", scripts.IN_A_WORD),
        ("中かカー々กาລកះမြ", scripts.UNSPACED),
        (" .,。、।።་-…«", scripts.SEPARATOR),
    ],
)
def test_kinds(text, kind):
    assert set(scripts.kinds()[scripts.code_points(text)].tolist()) == {kind}


@pytest.mark.parametrize(
    "text, halves", [("中々", 6), ("한", 4), ("かカሀ", 3), ("aжกမ។ ", scripts.HALVES)]
)
def test_weights(text, halves):
    assert set(scripts.weights()[scripts.code_points(text)].tolist()) == {halves}


def test_every_letter_of_unicode_is_in_a_word_or_unspaced():
    kinds = scripts.kinds()
    separators = [
        code
        for code in range(0x3000)
        if unicodedata.category(chr(code))[0] == "L" and kinds[code] == scripts.SEPARATOR
    ]
    assert not separators


def test_lone_surrogates_are_code_points():
    assert scripts.code_points("a\ud800").tolist() == [97, 0xD800]
    assert scripts.kinds()[0xD800] == scripts.SEPARATOR
    assert scripts.characters_with("[ab]").tolist() == [97, 98]
    assert scripts.weights().dtype == np.uint8


MANY = "a" + "\u0300" * 100_000 + "\u0316" * 100_000 + "b"  # 17 minutes to sort by insertion


@given(st.text("aé가\u0301\u0316\u0344が\u3099कि\u093c\n", max_size=29))
def test_text_with_ordinary_marks_is_that_of_nfc(text):
    assert compose(text) == unicodedata.normalize("NFC", text)


def test_marks_beyond_thirty_are_dropped():
    marks = "\u0316\u0301" * 15
    assert compose(f"x{marks}") == unicodedata.normalize("NFC", f"x{marks}")
    assert compose(f"x{marks}\u0301\u0316y") == compose(f"x{marks}y")


def test_no_page_of_marks_is_sorted():
    assert compose(MANY) == "à" + "\u0300" * 29 + "b"
    assert lines_as_read(MANY) == [compose(MANY)]
    assert len(hashed_words([MANY]).hashes) == 1
