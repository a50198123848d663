"""Pages as a crawler stores them: WARC files of HTML responses, among records of every other kind.

Responses differ as servers do: in the charset and in who declares it, in the transfer encoding, and
in the compression of the content.
"""

import gzip
import html
import io
from collections.abc import Iterable

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from data.reading.page import Page

CHARSETS = {
    "ar": "windows-1256", "cs": "iso-8859-2", "el": "iso-8859-7", "fr": "windows-1252",
    "ja": "shift_jis", "ko": "euc-kr", "ru": "windows-1251", "th": "tis-620", "uk": "koi8-u",
}  # fmt: skip
ARC = b"""filedesc://live-web.arc.gz 127.0.0.1 20120127000000 text/plain 75
1 0 LiveWeb Capture
URL IP-address Archive-date Content-type Archive-length


http://a.example/ 127.0.0.1 20140216050221 text/html 66
HTTP/1.1 200 OK
Content-Type: text/html

<html><p>Habari ya leo.</html>
"""


def html_of(page: Page, charset: str, meta: bool) -> bytes:
    """Returns an HTML page whose first line is the title; what the charset lacks is escaped."""
    title, *paragraphs = html.escape(page.text).split("\n")
    declared = f'<meta charset="{charset}">' if meta else ""
    body = "".join(f"<p>{paragraph}</p>\n" for paragraph in paragraphs)
    content = (
        f"<html><head>{declared}<title>{title}</title><script>var a = 1;</script></head>"
        f"<body>\n{body}</body></html>"
    )
    return content.encode(charset, "xmlcharrefreplace")


def html_archive(pages: Iterable[Page]) -> bytes:
    """Returns a WARC file: per page a request, a response, metadata and a revisit."""
    content = io.BytesIO()
    writer = WARCWriter(content, gzip=True)
    writer.write_record(writer.create_warcinfo_record("x.warc.gz", {"software": "a crawler"}))
    for number, page in enumerate(pages):
        charset = CHARSETS.get(page.declared_language or "", "utf-8")
        meta = number % 2 == 0
        body = html_of(page, charset, meta)
        headers = [("Content-Type", f"text/html{'' if meta else f'; charset={charset}'}")]
        if number % 3 == 1:
            headers.append(("Content-Encoding", "gzip"))
            body = gzip.compress(body, mtime=0)
        if number % 4 == 3:
            headers.append(("Transfer-Encoding", "chunked"))
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        _write(writer, page, "request", b"GET / HTTP/1.1\r\n\r\n")
        _write(writer, page, "response", body, StatusAndHeaders("200 OK", headers, "HTTP/1.1"))
        _write(writer, page, "metadata", b'{"fetchTimeMs": 1}')
        _write(writer, page, "revisit", b"", StatusAndHeaders("200 OK", headers, "HTTP/1.1"))
    return content.getvalue()


def _write(
    writer: WARCWriter, page: Page, kind: str, body: bytes, http: StatusAndHeaders | None = None
) -> None:
    record = writer.create_warc_record(
        page.url, kind, io.BytesIO(body), len(body), http_headers=http,
        warc_headers_dict={"WARC-Date": page.timestamp},
    )  # fmt: skip
    writer.write_record(record)
