import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from data.composition import composed
from data.dedup.hashed_words import hashed_words
from data.dedup.line_dedup import lines_as_read

MANY = "a" + "\u0300" * 100_000 + "\u0316" * 100_000 + "b"  # 17 minutes to sort by insertion


@given(st.text("aé가\u0301\u0316\u0344が\u3099कि\u093c\n", max_size=29))
def test_text_with_ordinary_marks_is_that_of_nfc(text):
    assert composed(text) == unicodedata.normalize("NFC", text)


def test_marks_beyond_thirty_are_dropped():
    marks = "\u0316\u0301" * 15
    assert composed(f"x{marks}") == unicodedata.normalize("NFC", f"x{marks}")
    assert composed(f"x{marks}\u0301\u0316y") == composed(f"x{marks}y")


def test_no_page_of_marks_is_sorted():
    assert composed(MANY) == "à" + "\u0300" * 29 + "b"
    assert lines_as_read(MANY) == [composed(MANY)]
    assert len(hashed_words([MANY]).hashes) == 1
