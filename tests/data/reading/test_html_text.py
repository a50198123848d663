from collections import Counter

import pytest
from html_archives import html_archive
from web_pages import CRAWL, SMALL, pages_in

from data.reading.html_text import text_of
from data.reading.page import Page
from data.reading.web_archive import read_html

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
def test_visible_text_one_paragraph_per_line_in_any_encoding(encoding, declared, meta):
    text = text_of(PAGE.format(meta=meta).encode(encoding), declared)
    assert text.split("\n")[:4] == ["T", *LINES]
    assert "var a" not in text


def test_no_bytes_raise():
    for html in (b"", b"\xff" * 99, b"<" * 9999, b"<div>" * 5000, b"\x00<p>a\x00b"):
        assert isinstance(text_of(html, None), str)
        text_of(html, "no-such-charset").encode("utf-8")


def test_html_in_every_encoding_gives_the_text_that_the_extracted_archive_has(tmp_path):
    pages, path = pages_in(SMALL), tmp_path / "x.warc.gz"
    path.write_bytes(html_archive(pages))
    found = list(read_html(path))
    assert found == [page._replace(declared_language=None) for page in pages]


if CRAWL.exists():  # beside the checkout

    def test_html_of_a_crawl_gives_the_text_that_its_extracted_archive_has():
        archive = CRAWL.with_name(CRAWL.name.replace(".warc.wet.gz", ".warc.gz"))
        texts = {page.url: page.text for page in pages_in((CRAWL,))}
        pages = [page for page in read_html(archive) if isinstance(page, Page)]
        assert {page.url for page in pages} == set(texts)
        lines = Counter(line for page in pages for line in page.text.split("\n"))
        extracted = Counter(line for text in texts.values() for line in text.split("\n"))
        # The extracted text also has the notices for browsers without scripts.
        assert (lines & extracted).total() > 0.85 * extracted.total()
