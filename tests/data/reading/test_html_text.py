from collections import Counter
from pathlib import Path

import pytest

from data.reading.html_text import text_of
from data.reading.page import BrokenRecord, Page
from data.reading.web_archive import read, read_html

WEB = Path(__file__).parents[3].parent / "shared/data/web"
PAGE = (
    "<html><head>{meta}<title>T</title><script>var a = {{}};</script></head><body><h1>Köszönöm</h1>"
    "<p>Első   bekezdés,\nfolytatva.</p><p>Második</p><ul><li>egy</li></ul></body></html>"
)
LINES = ["Köszönöm", "Első bekezdés, folytatva.", "Második"]


@pytest.mark.parametrize(
    "encoding, declared, meta",
    [
        ("utf-8", "utf-8", ""),
        ("utf-8", None, '<meta charset="utf-8">'),
        ("iso-8859-2", "iso-8859-2", ""),
        ("iso-8859-2", None, '<meta charset="iso-8859-2">'),
        ("utf-8-sig", "iso-8859-2", ""),
    ],
)
def test_visible_text_one_paragraph_a_line_in_any_encoding(encoding, declared, meta):
    text = text_of(PAGE.format(meta=meta).encode(encoding), declared)
    assert text.split("\n")[:4] == ["T", *LINES]
    assert "var a" not in text


def test_no_bytes_raise():
    for html in (b"", b"\xff" * 99, b"<" * 9999, b"<div>" * 5000, b"\x00<p>a\x00b"):
        assert isinstance(text_of(html, None), str)
        text_of(html, "no-such-charset").encode("utf-8")


def test_html_gives_the_text_that_its_extracted_archive_has():
    archive = WEB / "MSWITCH-DOCS-2026-11-00000.warc.gz"
    if not archive.exists():
        pytest.skip(f"no {archive}")
    wet = archive.with_name(archive.name.replace(".warc.gz", ".warc.wet.gz"))
    texts = {page.url: page.text for page in read(wet) if isinstance(page, Page)}
    pages = [page for page in read_html(archive) if isinstance(page, Page)]
    assert {page.url for page in pages} == set(texts)
    lines = Counter(line for page in pages for line in page.text.split("\n"))
    extracted = Counter(line for text in texts.values() for line in text.split("\n"))
    assert (
        lines & extracted
    ).total() > 0.85 * extracted.total()  # it has notices for browsers without scripts too


@pytest.mark.parametrize(
    "name, pages",
    [
        ("whirlwind.warc.gz", 1),
        ("warcio-example-iana.org-chunked.warc", 1),
        ("warcio-example.warc.gz", 1),
    ],
)
def test_real_archives(name, pages):
    if not WEB.exists():
        pytest.skip(f"no {WEB}")
    found = list(read_html(WEB / "fixtures" / name))
    assert sum(isinstance(one, Page) for one in found) >= pages
    assert all(isinstance(one, Page | BrokenRecord) for one in found)
