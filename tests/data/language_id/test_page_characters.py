import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.language_id.page_characters import page_characters
from data.scripts import code_points


def counted(text: str):
    return page_characters(code_points(text))


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_letters_digits_and_printed_characters_are_unicodes(text):
    found = counted(text)
    kinds = [unicodedata.category(one) for one in text]
    # Letters that the `regex` package knows and this Python does not are unassigned here.
    unassigned = kinds.count("Cn")
    letters = sum(kind[0] in "LM" for kind in kinds)
    assert letters <= found.letters <= letters + unassigned
    numbers = sum(kind[0] == "N" for kind in kinds)
    assert numbers <= found.digits <= numbers + unassigned
    spaces = sum(one.isspace() or kind == "Cf" for one, kind in zip(text, kinds, strict=True))
    # str.isspace also holds for four separators, U+001C to U+001F.
    separators = sum("\x1c" <= one <= "\x1f" for one in text)
    assert len(text) - spaces <= found.printed <= len(text) - spaces + separators + unassigned


@pytest.mark.parametrize(
    "text, scripts",
    [
        ("Habari za asubuhi", "Latn"),
        ("Добро јутро", "Cyrl"),
        ("日本語のテキスト", "Jpan"),
        ("我们支持 Firefox", "Hans Latn"),
        ("Nano는 하드웨어 지갑이며", "Kore"),
        ("कखग", "Deva"),
        ("ꦱꦧꦼꦤ꧀", "Java"),
        ("ᏣᎳᎩ", "Zyyy"),
        ("Установите apt и dpkg", "Cyrl Latn"),
        ("123 ?!", ""),
        ("", ""),
    ],
)
def test_main_scripts_are_those_of_a_third_of_the_letters(text, scripts):
    assert counted(text).scripts == tuple(scripts.split())


def test_a_han_letter_is_worth_three():
    assert counted("我们支持浏览器" + " a" * 42).scripts == ("Latn", "Hans")
    assert counted("我们支持浏览器" + " a" * 43).scripts == ("Latn",)


def test_punctuation_of_every_script_is_no_symbol():
    prose = 'Он сказал: «Да!» — „ja“… ¿Qué? 「はい」、そうです。 हाँ। نعم، لا؟ እሺ፡ በል። "ok" (so)'
    assert counted(prose).symbols == 0
    assert counted("{a[0] += b * c & d}").symbols == 8
