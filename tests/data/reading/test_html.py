""" """

import functools
import gzip
import zlib
from collections import Counter

import brotli
import pytest
import webencodings
from damaged_archives import HTTP, bomb, member
from html_archives import html_archive
from hypothesis import given
from hypothesis import strategies as st
from web_pages import CRAWL, SMALL, pages_in

from data.reading import html as markup_limits
from data.reading.html import (
    LARGEST_HTML_BYTES,
    MOST_GZIP_MEMBERS,
    Html,
    decode_html,
    html_of,
    is_too_complex,
    text_of,
)
from data.reading.page import Defect, Page
from data.reading.web_archive import read_html

OF_PYTHON_ALONE = (
    "base64", "hex", "zlib", "bz2", "uu", "quopri", "rot13", "undefined", "unicode_escape",
    "raw_unicode_escape", "punycode", "idna", "utf-7", "utf-32", "cp037", "a\0b", "\ud800", "",
    "\N{KELVIN SIGN}oi8-r", "x" * 100_000,
)  # fmt: skip
TAIWAN = "臺灣位於亞洲東部，島上人口大多使用中文，這裡的天氣溫暖而潮濕，適合種植稻米。"
KOREA = "서울은 대한민국의 수도이며, 많은 사람들이 한강 주변에서 살고 있습니다."
OTHER_WEB = {  # encodings of the fixture's languages, as their pages were served
    "ja": "shift_jis", "ru": "windows-1251", "el": "iso-8859-7", "ar": "windows-1256",
    "th": "windows-874", "cs": "windows-1250", "uk": "koi8-u", "fr": "windows-1252",
}  # fmt: skip


@pytest.mark.parametrize("label", OF_PYTHON_ALONE)
def test_only_labels_of_the_web_name_an_encoding(label):
    assert decode_html("<p>Köszönöm".encode(), label) == "<p>Köszönöm"
    assert (
        decode_html(f"<meta charset='{label[:99]}'>é".encode("utf-8", "replace"), None)[-1] == "é"
    )


@pytest.mark.parametrize(
    "label, content, text",
    [
        ("gb2312", "朱镕基".encode("gbk"), "朱镕基"),
        ("GBK", b"\x80", "€"),
        ("shift_jis", "①日本".encode("cp932"), "①日本"),
        ("euc-jp", b"\xad\xa1\xc6\xfc\xcb\xdc", "①日本"),
        ("euc-jp", b"\xad\xea\xfc\xe2", "㈱髙"),
        ("euc-kr", "똠방각하".encode("cp949"), "똠방각하"),
        ("big5", "着".encode("big5hkscs"), "着"),
        ("iso-8859-1", b"\x93a\x94 \x80 \x81", "“a” € \x81"),
        ("ascii", b"caf\xe9", "café"),
        ("tis-620", b"\xa1\x85", "ก…"),
        ("iso-8859-9", b"\xfe\x93", "ş“"),
        (" 'UTF-8'\n", "é".encode(), "é"),
        ("unicode", "é".encode("utf-16-le"), "é"),
        ("windows-1253", b"\xc1\xaa\x81", "Α\ufffd\x81"),
        ("hz-gb-2312", b"~{VPND~}", ""),
    ],
)
def test_encodings_are_those_of_the_standard(label, content, text):
    assert decode_html(content, label) == text


@pytest.mark.parametrize(
    "label, content, text",
    [
        ("utf-8", b"caf\xe9 \xc3\xa9", "caf\ufffd é"),
        ("euc-kr", b"\xb0\xa1\xff\xff\xb3\xaa", "가\ufffd\ufffd나"),
        ("shift_jis", "日".encode("cp932") + b"\xfc\xfc" + b"a", "日\ufffda"),
        ("big5", b"\xa4", "\ufffd"),
    ],
)
def test_bytes_without_a_meaning_cost_one_character(label, content, text):
    assert decode_html(content, label) == text


@pytest.mark.parametrize(
    "html, label, text",
    [
        ("\ufeffé<meta charset=koi8-r>".encode(), "windows-1252", "é<meta charset=koi8-r>"),
        ("\ufeffé".encode("utf-16-le"), "utf-8", "é"),
        ("\ufeffé".encode("utf-16-be"), None, "é"),
        ("<meta charset=utf-8>П".encode("koi8-r"), "koi8-r", "П"),
        ("<meta charset=koi8-r>П".encode("koi8-r"), "base64", "П"),
        ("<META http-equiv='Content-Type' CONTENT='a; charset=koi8-r'>П".encode("koi8-r"), "", "П"),
        ("<meta content='a; charset=koi8-r'><meta charset=utf-8>é".encode(), None, "é"),
        ("<!-- <meta charset=koi8-r> --><meta charset=utf-8>é".encode(), None, "é"),
        (b"<x" * 2000 + "><meta charset=koi8-r>П".encode("koi8-r"), None, "П"),
        ("<meta charset=utf-16>é".encode(), None, "é"),
        ("<?xml version='1.0' encoding='koi8-r'?>П".encode("koi8-r"), None, "П"),
        ("<?xml encoding='koi8-r'?><meta charset=utf-8>é".encode(), None, "é"),
    ],
)
def test_mark_then_server_then_page(html, label, text):
    assert decode_html(html, label).removesuffix(text) != decode_html(html, label)


@pytest.mark.parametrize(
    "text, encoding",
    [(TAIWAN, "big5"), (KOREA, "euc-kr"), (KOREA, "cp949"), (TAIWAN, "gb18030"), (KOREA, "utf-8")],
)
def test_an_encoding_that_nobody_declared_is_found(text, encoding):
    assert decode_html(f"<title>A</title><p class=a>{text}".encode(encoding), None).endswith(text)


def test_real_pages_without_a_declaration_are_read_in_the_encoding_of_their_language():
    pages = [one for one in pages_in(SMALL) if one.declared_language in OTHER_WEB]
    assert len({page.declared_language for page in pages}) > 4
    for page in pages:
        encoding = webencodings.lookup(OTHER_WEB[str(page.declared_language)])
        assert encoding is not None
        html = webencodings.encode(f"<p>{page.text}", encoding, "xmlcharrefreplace")
        assert decode_html(html, None) == webencodings.decode(html, encoding)[0]


def test_a_damaged_byte_does_not_change_the_encoding_of_a_page():
    text = "Первый абзац о погоде. " * 9
    assert decode_html(text.encode() + b"\xff" + text.encode(), None) == f"{text}\ufffd{text}"
    assert decode_html(text.strip().encode()[:-2], None) == text.strip()[:-2] + "\ufffd"


@given(st.binary(max_size=60), st.none() | st.text(max_size=12) | st.sampled_from(OF_PYTHON_ALONE))
def test_any_bytes_are_text_under_any_label(html, label):
    decode_html(html, label).encode("utf-8")


@given(st.lists(st.sampled_from(
    ["<meta", " charset", "=", '"', "'", ">", "<!--", "-->", "utf-8", "/", "<", "</", "\0", "é",
     " http-equiv", "content-type", " content", "<?xml encoding='", "<!", "charset=", ";", "a"]
)))  # fmt: skip
def test_any_markup_is_text(parts):
    decode_html("".join(parts).encode("latin-1"), None).encode("utf-8")


COSTLY = {  # each took 5 s or more at 512 kB, and four times as long at 1 MB
    "attributes of one tag": "<p " + "a{}=1 " * 60_000 + ">",
    "attributes of a script": "<script " + "a{}=1 " * 60_000 + ">",
    "attributes of many bodies": "<body a{}=1>" * 40_000,
    "end tags without a start": "<i>" * 50_000 + "</b>" * 80_000,
    "unclosed formatting": "<font a={}><p>x" * 30_000,
    "different formatting": "<b a{}>x" * 60_000,
    "nested elements": "<optgroup>x" * 46_000,
    "names of elements": "<t{0}></t{0}>" * 30_000,
    "names of attributes": "<p a{}>x" * 60_000,
    "after comments that end at once": "<!--><!--->x<!-- --!><p " + "a{}=1 " * 60_000 + ">",
    "a style that is no raw text": "<svg><style><p " + "a{}=1 " * 60_000 + ">",
    "a drawing in an attribute": '<p a="<svg>" ' + "a{}=1 " * 60_000 + ">",
    "a quote in a comment": '<svg></svg><!-- <b a=" --><p ' + "a{}=1 " * 60_000 + ">",
    "a quote in a program": '<svg></svg><script>x<y a="</script><p ' + "a{}=1 " * 60_000 + ">",
    "a title and a comment that hide it": (
        "<title><!--</title><math><title><p " + "a{}=1 " * 60_000 + ">"
    ),
}
ORDINARY = {
    "links": '<p class="a b"><a href="/x?{}"><b>x</b></a></p>' * 5_000,
    "paragraphs that nobody closes": "<p>a<br>b<li>" * 12_000,
    "cells": "<table>" + "<tr><td><font size=2>x" * 5_000 + "</table>",
    "anchors that nobody closes": "<a name=n{}>x<p>" * 6_000,
    "text": "a word < b & " * 12_000,
    "a comment": "<!--" + "<i a{}>" * 60_000 + "-->",
    "a program": "<script>" + "x<y{};" * 60_000 + "</script>",
    "a program after a drawing": "<svg></svg><script>" + "if (x < y) f(`<p>{}</p>`);" * 20_000,
}


def numbered(pattern: str) -> bytes:
    """Returns the pattern with a number in each place of one."""
    parts = pattern.replace("{0}", "{}").split("{}")
    pairs = pattern.count("{0}") > 0
    return "".join(f"{part}{n // 2 if pairs else n}" for n, part in enumerate(parts)).encode()


@pytest.mark.parametrize("name", COSTLY)
def test_markup_that_takes_a_parser_long_is_refused(name):
    assert is_too_complex(numbered(COSTLY[name]))


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_markup_of_any_length_is_read(name):
    assert not is_too_complex(numbered(ORDINARY[name]))


def test_a_page_that_is_too_complex_is_a_broken_record(tmp_path):
    page = HTTP + b"\r\n" + numbered(COSTLY["attributes of one tag"])
    (tmp_path / "x.warc.gz").write_bytes(member("a", page, "response"))
    (broken,) = read_html(tmp_path / "x.warc.gz")
    assert (broken.reason, broken.detail) == ("too_complex", "http://a.example/")


@given(st.lists(st.sampled_from(["<", "a", "/", ">", " ", "=", '"', "'", "b", "<!--", "-->",
                                 "<script", "</script>", "</", "\0", "font", "p"])))  # fmt: skip
def test_each_start_of_a_tag_is_counted_once_at_most(parts):
    html = "".join(parts).encode()
    found = [tag for tag in markup_limits.TAG.findall(html) if tag[0] or tag[2]]
    assert len(found) <= html.count(b"<")


gzipped = functools.partial(gzip.compress, mtime=0)
PAGE = "<p>Habari ya asubuhi, karibu é</p>".encode() * 9
RAW = zlib.compressobj(wbits=-15)
DEFLATED = RAW.compress(PAGE) + RAW.flush()
PARTS = gzipped(PAGE[:100]) + gzipped(b"") + gzipped(PAGE[100:])
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CODED = b"Content-Encoding: %s\r\n"


def found(body: bytes, head: bytes = b"", http: bytes = HTTP) -> bytes | str:
    one = html_of(http + head + b"\r\n" + body)
    return one.content if isinstance(one, Html) else one.reason


@pytest.mark.parametrize(
    "media_type, charset",
    [
        ("TEXT/HTML", None),
        ("Text/Html;Charset=KOI8-R", "koi8-r"),
        ("application/XHTML+xml ; charset=utf-8", "utf-8"),
        ('text/html; charset="utf-8"', '"utf-8"'),
    ],
)
def test_media_types_in_any_case(media_type, charset):
    http = HTTP.replace(b"text/html", media_type.encode())
    assert html_of(http + b"\r\n" + PAGE) == Html(PAGE, charset)


@pytest.mark.parametrize(
    "head, body",
    [
        (b"", PAGE),
        (CODED % b"gzip", PAGE),  # stored without its coding
        (CODED % b"br", b"<p>Habari"),
        (CODED % b"gzip", gzipped(PAGE)),
        (b"", gzipped(PAGE)),
        (CODED % b"x-gzip", PARTS),
        (CODED % b"gzip", PARTS + b"\0\0 not a member"),
        (CODED % b"deflate", zlib.compress(PAGE)),
        (CODED % b"Deflate", DEFLATED),
        (CODED % b"br", brotli.compress(PAGE)),
        (CODED % b"deflate, gzip", gzipped(zlib.compress(PAGE))),
        (b"Transfer-Encoding: gzip, chunked\r\n", b"%x;a\r\n%s\r\n0\r\n" % (len(PARTS), PARTS)),
    ],
)
def test_content_codings(head, body):
    assert found(body, head) in (PAGE, b"<p>Habari")


@pytest.mark.parametrize(
    "body, content",
    [
        (b'4;a="b;c"\r\n<p>x\r\n0002 ;b\r\nyz\r\n0\r\nTrailer: x\r\n\r\n', b"<p>xyz"),
        (b"4\n<p>x\n0\n\n", b"<p>x"),
        (b"A\r\n<p>x", b"<p>x"),  # cut short
        (b"4\r\n<p>xZZ\r\nno size", b"<p>x"),
        (b"<p>stored without its chunks", b"<p>stored without its chunks"),
        (b"ffffffff\r\n<p>x", b"<p>x"),
        (b"fffffffff\r\n<p>x", b"fffffffff\r\n<p>x"),  # more than any size
        (b"", b""),
    ],
)
def test_chunks(body, content):
    assert found(body, CHUNKED) == content


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1))
def test_chunks_are_joined(parts):
    body = b"".join(b"%x;a=b\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    if not b"".join(parts).startswith(b"\x1f\x8b\x08"):
        assert found(body, CHUNKED) == b"".join(parts)


def test_lines_of_a_head_may_end_in_lf_alone():
    assert found(PAGE, http=HTTP.replace(b"\r\n", b"\n")) == PAGE


@pytest.mark.parametrize(
    "head, body",
    [
        (CODED % b"gzip", gzipped(PAGE)[:-8] + b"\xff" * 8),
        (CODED % b"gzip", gzipped(b"") * (MOST_GZIP_MEMBERS + 1)),
        (CODED % b"gzip, gzip, gzip, gzip, gzip", PAGE),
        (CODED % b"deflate", PAGE[-40:] + b"\xff" * 99),
        (CODED % b"br", b"\xff" * 99),
        (CODED % b"zstd", b"\x28\xb5\x2f\xfd" * 30),
        (CHUNKED, b"1\r\na\r\n" * 100_002),
    ],
)
def test_what_is_in_no_known_coding_is_counted(head, body):
    assert found(body, head) == "unknown_encoding"


@pytest.mark.parametrize(
    "coding, body",
    [
        (b"gzip", bomb(b"<p>", megabytes=50)),
        (b"gzip", gzipped(b"<p>") * 9 + bomb(b"", megabytes=50)),
        (b"deflate", zlib.compress(bytes(50 << 20))),
        (b"br", brotli.compress(bytes(50 << 20), quality=1)),
        (b"gzip, gzip", gzipped(bomb(b"", megabytes=50))),
    ],
)
def test_decoding_stops_after_the_longest_page(coding, body):
    assert len(body) < LARGEST_HTML_BYTES / 9
    assert found(body, CODED % coding) == "too_large"


@given(st.binary(), st.sampled_from([CHUNKED, b"", *(CODED % c for c in (b"gzip", b"deflate"))]))
def test_any_body_is_html_or_a_loss(body, head):
    assert isinstance(html_of(HTTP + head + b"\r\n" + body), Html | Defect)


PAGE_HTML_TEXT = (
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
    text = text_of(PAGE_HTML_TEXT.format(meta=meta).encode(encoding), declared)
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


def test_the_largest_page_and_four_codings_are_read():
    most = b"<p>" + b"x" * ((5 << 20) - 3)
    assert found(most) == most
    assert found(most + b"x") == "too_large"
    coded = PAGE
    for _ in range(4):
        coded = zlib.compress(coded)
    assert found(coded, CODED % b"deflate, deflate, deflate, deflate") == PAGE
