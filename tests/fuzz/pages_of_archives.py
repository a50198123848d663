"""Web archives: records, gzip members, HTTP, charsets and HTML."""

import gzip

from damaged_archives import BAD, GOOD, HTTP, member, record
from family import Family, read_pages
from html_archives import ARC, html_archive
from web_pages import SMALL, pages_in

from data.reading import web_archive

FORGED = record("forged", HTTP + b"\r\n<p>Habari za uongo", "response")
HTML = (
    b"<!DOCTYPE html><html lang=sw><head><meta charset=utf-8><title>Habari</title></head><body "
    b"class=a id='b'><p>Karibu &amp; kwaheri &#x1F600;<table><tr><td>moja<script>1</script></body>"
)


def response(head: bytes, body: bytes) -> bytes:
    return record("a", b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body, "response")


RESPONSES = (
    response(b"Content-Type: text/html; charset=utf-8\r\n", HTML),
    response(b"Content-Type: text/html; charset=gb2312\r\n", HTML + "汉字".encode("gbk")),
    response(b"Content-Type: TEXT/HTML\r\nContent-Encoding: gzip\r\n", gzip.compress(HTML)),
    response(b"Content-Type: text/html\r\nContent-Encoding: deflate\r\n", b"x\x9c" + HTML),
    response(
        b"Content-Type: text/html\r\nTransfer-Encoding: chunked\r\n",
        b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(HTML), HTML),
    ),
    response(
        b"Content-Type: application/xhtml+xml\r\n", b"\xff\xfe" + "<p>Habari".encode("utf-16-le")
    ),
    FORGED,
)
WET = (
    *GOOD[:2], *BAD.values(), b"".join(GOOD), gzip.decompress(GOOD[0]) * 3,
    record("a", b"Habari").replace(b"\r\n", b"\n"), member("a", FORGED),
    GOOD[0] + BAD["cut"] + GOOD[1],
)  # fmt: skip
FAMILIES = (
    Family(
        name="WET", file="x.warc.wet.gz", seeds=WET,
        read=lambda path: read_pages(web_archive.read(path)),
    ),
    Family(
        name="WARC, HTTP, HTML, charset", file="x.warc.gz",
        seeds=(
            *RESPONSES, *map(gzip.compress, RESPONSES), b"".join(RESPONSES), ARC,
            html_archive(pages_in(SMALL)[:9]),
        ),
        read=lambda path: read_pages(web_archive.read_html(path)),
    ),
)  # fmt: skip
