import functools
import gzip
import zlib

import brotli
import pytest
from damaged_archives import HTTP, bomb
from hypothesis import given
from hypothesis import strategies as st

from data.reading.http_response import LARGEST_HTML_BYTES, MOST_GZIP_MEMBERS, Html, html_of
from data.reading.page import Defect

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
