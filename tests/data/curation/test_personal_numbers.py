""" """

import random
import re
import unicodedata
from dataclasses import replace
from re import _parser

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_data import national_number, random_form

from data import languages
from data.curation import personal_numbers as module
from data.curation.personal_numbers import (
    LONGEST,
    MARGIN,
    blank_out,
    dense_places,
    disjoint_spans,
    national_numbers,
    regions_of,
    telephone_numbers,
    with_ascii_digits,
)
from data.languages import get, table_rows


@given(st.text())
def test_no_character_is_added_or_removed(text):
    assert len(with_ascii_digits(text)) == len(text)


def test_a_language_that_a_user_added_has_no_region(monkeypatch):
    added = replace(get("sw"), code="vot")
    monkeypatch.setattr(languages, "find", lambda code: added)
    assert regions_of("vot") == ()


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


PIECES = st.sampled_from(
    [*"0123456789+-. ()/x<,", "0712 345 678", "0722 123 456 ", "+254 712 345 678", "030/901820",
     "(212) 736-5000", "212-736-5001 ", "6222 0212", "1234567", "2024-11-27"]
)  # fmt: skip


def found(text, language):
    return [text[span.begin : span.end] for span in telephone_numbers(text, language)]


@pytest.mark.parametrize(
    "language, text, numbers",
    [
        ("en", "call (212) 736-5000, or +44 20 7946 0018", ["(212) 736-5000", "+44 20 7946 0018"]),
        ("de", "Tel. 030/901820 - 040 428280", ["030/901820", "040 428280"]),
        ("fr", "au 01 40 20 50 50.", ["01 40 20 50 50"]),
        ("ja", "電話03-3224-9999まで", ["03-3224-9999"]),
        ("sw", "0712 345 678 0722 123 456,", ["0712 345 678", "0722 123 456"]),
        ("sw", "+254 712 345 678 0722 123 456", ["+254 712 345 678", "0722 123 456"]),
        ("id", "0812 3456 7890  0813 1111 2222", ["0812 3456 7890", "0813 1111 2222"]),
        (
            "en",
            "212 736 5000 212 736 5001 (212) 736-5002",
            ["212 736 5000", "212 736 5001", "(212) 736-5002"],
        ),
        ("fr", "01 40 20 50 50 01 40 20 50 51 " * 2, ["01 40 20 50 50", "01 40 20 50 51"] * 2),
        ("sw", "0712 345 678 901 234, 0712 345 678 1234567, 100 200 300 400 500 600 700", []),
        ("zh", "6222 0212 6222 0213, 6222-0212-3456-7890", []),  # payment cards
        ("und", "+3611 +1 555", []),
        ("en", "2124567890 2024-11-27 1999-2004 02110-1301 1,234,567 978-3-16-148410-0", []),
        ("en", "text/shared/01/04140000.xhp $212 736 5000 40.712776 212 736 5000%", []),
        (
            "it",
            "+39 02 1234 5678/Fax +44 20 7946 0018Fax",
            ["+39 02 1234 5678", "+44 20 7946 0018"],
        ),
        ("fr", "Tél 01 40 20 50 50/Fax 01 40 20 50 51E-mail", ["01 40 20 50 50", "01 40 20 50 51"]),
        ("de", "030 1234 5678-Zentrale", ["030 1234 5678"]),
        ("de", "30901820 0309018", []),  # no trunk prefix; too short without separators
    ],
)
def test_telephone_numbers(language, text, numbers):
    assert found(text, language) == numbers


@pytest.mark.parametrize("language", [one.code for one in languages.all_languages()])
def test_regions_have_numbers_which_are_found_in_pages_of_the_language(language):
    for region in regions_of(language):
        example = phonenumbers.example_number(region)
        written = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
        assert found(f"tel. {written}.", language) == [written]


def test_unknown_languages_have_no_region():
    assert regions_of("und") == regions_of("eo") == regions_of("tlh") == ()


@given(st.lists(PIECES, max_size=25).map("".join), st.sampled_from(["sw", "en", "de", "id", "und"]))
def test_no_number_appears_beside_found_ones(text, language):
    spans = list(telephone_numbers(text, language))
    assert spans == sorted(spans)
    assert not list(telephone_numbers(blank_out(text, spans), language))


PLAIN = [
    (row["region"], form) for row in table_rows("data.curation", "national_numbers.tsv")
    for form in row["form"].split("|") if re.fullmatch(r"\\d\{\d+\}", form)
]  # fmt: skip


@pytest.mark.parametrize(
    "language, text, number",
    [
        ("pl", "PESEL 44051401359.", "44051401359"),
        ("fi", "hetu: 131052-308T", "131052-308T"),
        ("it", "CF RSSMRA85T10A562S,", "RSSMRA85T10A562S"),
        ("pt", "CPF 390.533.447-05", "390.533.447-05"),
        ("zh", "身份证360426199101010071号", "360426199101010071"),
        ("sv", "(880320-0016)", "880320-0016"),
        ("hi", "2024 2345 6789 0124", "2345 6789 0124"),
        ("ja", "2024 1234 5678 9018", "1234 5678 9018"),
    ],
)
def test_numbers_are_found(language, text, number):
    assert [text[span.begin : span.end] for span in national_numbers(text, language)] == [number]


@pytest.mark.parametrize("text", ["44051401358", "144051401359", "44051401359-1", "+44051401359"])
def test_numbers_with_a_wrong_check_digit_or_within_others_are_not(text):
    assert not list(national_numbers(text, "pl"))


def test_numbers_belong_to_the_regions_of_the_language():
    assert not list(national_numbers("44051401359", "en"))


@pytest.mark.parametrize("region, form", PLAIN)
def test_of_random_digits_without_separators_few_are_numbers(region, form):
    draw = random.Random(0)
    rows = table_rows("data.curation", "regions.tsv")
    code = next(row["code"] for row in rows if region in row["regions"].split())
    texts = (random_form(form, draw) for _ in range(500))
    assert sum(any(national_numbers(text, code)) for text in texts) < 0.05 * 500


VENEZUELAN = "V-12345678-1,V-12345695-1,V-12345712-5,"
SPANISH = "12345678Z,12345695P,12345712W,"


@pytest.mark.parametrize("some, count", [(VENEZUELAN, 3), (SPANISH, 3)])
def test_numbers_that_hide_one_another_are_found_in_work_that_grows_with_the_text(
    some, count, monkeypatch
):
    read, numbers = [], module._numbers_of_regions(regions_of("es"))

    class Read:
        def __init__(self, form):
            self.form = form

        def search(self, text, begin=0):
            found = self.form.search(text, begin)
            read.append((len(text) if found is None else found.end()) - begin)
            return found

    counting = tuple(one._replace(form=Read(one.form)) for one in numbers)
    monkeypatch.setattr(module, "_numbers_of_regions", lambda regions: counting)

    def work(times):
        read.clear()
        assert len(list(national_numbers(some * times, "es"))) == count * times
        return sum(read)

    once, twice = work(20), work(40)
    assert once < twice < 2.1 * once


def test_around_a_found_number_is_searched_as_the_whole_text_is():
    draw, numbers = random.Random(0), module._numbers_of_regions(regions_of("es"))
    valid = [national_number("es", draw) or "" for _ in range(20)]
    hidden = 0
    for _ in range(100):
        some = draw.choices(valid, k=draw.randint(2, 9))
        text = "".join(one + draw.choice(",- ./x1") + draw.choice(["", " "]) for one in some)
        expected, rest = [], text
        while found := disjoint_spans(module._numbers_near(0, len(rest), list(rest), numbers)):
            hidden += bool(expected)
            expected += found
            rest = blank_out(rest, found)
        assert sorted(national_numbers(text, "es")) == sorted(expected)
    assert hidden > 9


def test_no_form_is_longer_than_what_is_searched_again():
    rows = table_rows("data.curation", "national_numbers.tsv")
    widths = [_parser.parse(row["form"]).getwidth()[1] for row in rows]
    assert max(widths) == LONGEST


@pytest.mark.parametrize("language, most", [("hi", 0.13), ("ja", 0.13)])
def test_few_payment_cards_hold_a_number(language, most):
    draw = random.Random(0)
    cards = (random_form(r"[3-6]\d{3} \d{4} \d{4} \d{4}", draw) for _ in range(500))
    assert sum(any(national_numbers(card, language)) for card in cards) < most * 500
