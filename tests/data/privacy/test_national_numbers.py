import random
import re
from re import _parser

import pytest
from planted_data import national_number, random_form

from data.privacy import national_numbers as module
from data.privacy.national_numbers import LONGEST, national_numbers
from data.privacy.regions import regions_of, rows
from data.privacy.spans import blanked, disjoint

PLAIN = [
    (row["region"], form) for row in rows("national_numbers.tsv")
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
    code = next(row["code"] for row in rows("regions.tsv") if region in row["regions"].split())
    texts = (random_form(form, draw) for _ in range(500))
    assert sum(any(national_numbers(text, code)) for text in texts) < 0.05 * 500


VENEZUELAN = "V-12345678-1,V-12345695-1,V-12345712-5,"
SPANISH = "12345678Z,12345695P,12345712W,"


@pytest.mark.parametrize("some, count", [(VENEZUELAN, 3), (SPANISH, 3)])
def test_numbers_that_hide_one_another_are_found_in_work_that_grows_with_the_text(
    some, count, monkeypatch
):
    read, numbers = [], module._numbers(regions_of("es"))

    class Read:
        def __init__(self, form):
            self.form = form

        def search(self, text, begin=0):
            found = self.form.search(text, begin)
            read.append((len(text) if found is None else found.end()) - begin)
            return found

    counting = tuple(one._replace(form=Read(one.form)) for one in numbers)
    monkeypatch.setattr(module, "_numbers", lambda regions: counting)

    def work(times):
        read.clear()
        assert len(list(national_numbers(some * times, "es"))) == count * times
        return sum(read)

    once, twice = work(20), work(40)
    assert once < twice < 2.1 * once


def test_around_a_found_number_is_searched_as_the_whole_text_is():
    draw, numbers = random.Random(0), module._numbers(regions_of("es"))
    valid = [national_number("es", draw) or "" for _ in range(20)]
    hidden = 0
    for _ in range(100):
        some = draw.choices(valid, k=draw.randint(2, 9))
        text = "".join(one + draw.choice(",- ./x1") + draw.choice(["", " "]) for one in some)
        expected, rest = [], text
        while found := disjoint(module._touching(0, len(rest), list(rest), numbers)):
            hidden += bool(expected)
            expected += found
            rest = blanked(rest, found)
        assert sorted(national_numbers(text, "es")) == sorted(expected)
    assert hidden > 9


def test_no_form_is_longer_than_what_is_searched_again():
    widths = [_parser.parse(row["form"]).getwidth()[1] for row in rows("national_numbers.tsv")]
    assert max(widths) == LONGEST


@pytest.mark.parametrize("language, most", [("hi", 0.13), ("ja", 0.13)])
def test_few_payment_cards_hold_a_number(language, most):
    draw = random.Random(0)
    cards = (random_form(r"[3-6]\d{3} \d{4} \d{4} \d{4}", draw) for _ in range(500))
    assert sum(any(national_numbers(card, language)) for card in cards) < most * 500
