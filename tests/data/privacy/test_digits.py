import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from data.privacy.digits import MARGIN, dense_places, with_ascii_digits


@given(st.text())
def test_no_character_is_added_or_removed(text):
    assert len(with_ascii_digits(text)) == len(text)


def test_digits_and_signs_of_other_scripts():
    assert with_ascii_digits("+٠١٢–९५\u00a0（１）") == "+012-95 (1)"


def test_digits_that_are_newer_than_unicode_14_count_on_every_python():
    kawi, nag_mundari = 0x11F50, 0x1E4F0  # Unicode 15; Python 3.11 has 14
    text = "".join(chr(zero + digit) for zero in (kawi, nag_mundari) for digit in (0, 3, 9))
    assert with_ascii_digits(text) == "039039"
    assert list(dense_places(f"a{text}")) == [(0, 7)]


def test_a_digit_has_the_value_that_python_gives_it():
    decimal = filter(str.isdecimal, map(chr, range(128, 0x110000)))
    assert all(with_ascii_digits(digit) == str(unicodedata.digit(digit)) for digit in decimal)


@given(st.text("0٣5 -.a\n", max_size=200))
def test_places_are_disjoint_and_hold_all_digits_that_stand_close(text):
    places = list(dense_places(text))
    flat = [one for place in places for one in place]
    assert flat == sorted(flat)
    for begin in range(len(text) - 5):
        if all(char.isdigit() for char in text[begin : begin + 6]):
            assert any(
                first <= max(begin - MARGIN, 0) and begin + 6 <= last for first, last in places
            )
