from collections import Counter

import pytest

from data.demo.shipped_text import LARGEST_CATALOGUE, cut, pages_of, shipped_pages
from data.languages import all_languages, get
from data.reading.page import Page


@pytest.fixture(scope="module")
def shipped() -> list[Page]:
    return list(shipped_pages())


def test_every_language_has_some_short_pages(shipped):
    count = Counter(page.declared_language for page in shipped)
    assert len(count) == 101
    assert min(count.values()) >= 4
    assert max(count.values()) < 100


def test_addresses_are_unique_and_reserved(shipped):
    urls = [page.url for page in shipped]
    assert len(set(urls)) == len(urls)
    assert all(url.split("/")[2].endswith(".example") for url in urls)
    assert "https://sw.django.example/admin/3" in urls


def test_text_is_there_and_no_language_outweighs_the_rest(shipped):
    characters = Counter()
    for page in shipped:
        assert page.text.strip() == page.text != ""
        characters[page.declared_language] += len(page.text)
    assert max(characters.values()) < LARGEST_CATALOGUE + 3000


@pytest.mark.parametrize(
    "code, words",
    [
        ("sw", "haki za binadamu"),
        ("iw", "זכויות"),
        ("no", "menneskerettighetene"),
        ("zh", "人人生而自由"),
        ("en", "Enter a valid"),
        ("sd", "انسان"),
    ],
)
def test_text_is_in_its_language(code, words):
    assert any(words in page.text for page in pages_of(get(code)))


def test_script_variants_have_none():
    variants = [language for language in all_languages() if language.is_script_variant]
    assert not [page for language in variants for page in pages_of(language)]


@pytest.mark.parametrize(
    "text, pieces",
    [
        ("Moja mbili.", ["Moja mbili."]),
        ("Moja mbili tatu. Nne tano sita.", ["Moja mbili tatu.", "Nne tano sita."]),
        (
            "一二三四五六七、八九十一二三四五六。七八九十",
            ["一二三四五六七、", "八九十一二三四五六。", "七八九十"],
        ),
        ("moja mbili tatu nne tano sita", ["moja mbili", "tatu nne", "tano sita"]),
    ],
)
def test_cut(text, pieces):
    assert cut(text, 11) == pieces
