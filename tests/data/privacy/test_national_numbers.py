import random
import re

import pytest
from planted_data import random_form

from data.privacy.national_numbers import national_numbers
from data.privacy.regions import rows

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
