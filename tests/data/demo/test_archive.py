from collections import Counter

from data.demo.archive import FILES, write
from data.reading.page import BrokenRecord, Page
from data.reading.web_archive import read

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
