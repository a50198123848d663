""" """

from collections import Counter

import pytest

from data.demo import FILES, LARGEST_CATALOGUE, cut, pages_of, shipped_pages, write
from data.languages import all_languages, get
from data.reading.page import BrokenRecord, Page
from data.reading.web_archive import read


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


PAGES = [
    Page(
        url=f"https://sw.example/{number}",
        text=f"Ukurasa wa {number}\nHabari za asubuhi, mchana na jioni.",
        timestamp="2026-01-01T00:00:00Z",
        declared_language="sw",
    )
    for number in range(20)
]


def records(directory) -> list[Page | BrokenRecord]:
    return [record for path in write(directory, PAGES) for record in read(path)]


def test_every_page_comes_back(tmp_path):
    found = [record for record in records(tmp_path) if isinstance(record, Page)]
    assert set(PAGES) <= set(found)
    extra = [page.url for page in found if page not in PAGES]
    assert Counter(extra) == Counter(
        [PAGES[0].url, "https://crawl.example/mirror", "https://crawl.example/short"]
    )


def test_damage_is_there(tmp_path):
    broken = [record.reason for record in records(tmp_path) if isinstance(record, BrokenRecord)]
    assert sorted(broken) == ["invalid_utf8", "no_url", "truncated", "unreadable"]


def test_same_pages_same_bytes(tmp_path):
    first, second = write(tmp_path / "a", PAGES), write(tmp_path / "b", PAGES)
    assert len(first) == FILES
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
