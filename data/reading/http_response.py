"""The HTML of an HTTP response, decoded as RFC 9110 and 9112 prescribe.

Media types are compared without regard to case. Chunks may have extensions. The content codings are
gzip (of several members), deflate (zlib's or the raw format that some servers send) and br, up to
four in a row. Many archives keep the headers of a coding but store the page without it, so
content that cannot be coded is returned unchanged. Where a transfer was cut short, the beginning of
the page is returned. Decoding stops just after the longest page, however much a small body holds.
"""

import io
import re
import zlib
from typing import NamedTuple

from fastwarc.stream_io import BrotliReader
from fastwarc.warc import WarcRecord, WarcRecordType

from data.reading.page import Defect

# Where Common Crawl truncates pages; a parsed page takes 80 times as much.
LARGEST_HTML_BYTES = 5 << 20
HTML_TYPES = ("text/html", "application/xhtml+xml")

GZIP = b"\x1f\x8b\x08"
PART_BYTES = 1 << 16
MOST_GZIP_MEMBERS = 1000  # a body of 5 MB could hold 250,000 empty ones
MOST_CODINGS = 4
MOST_CHUNKS = 100_000
CHUNK_SIZE = re.compile(rb"(?:\r?\n)?([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")


class Html(NamedTuple):
    """The HTML of a response, and the label of the charset that the server declared, if any."""

    content: bytes
    charset: str | None


class Response(NamedTuple):
    """The status of a response, its content, and the address that a redirect leads to."""

    status: int
    content: bytes
    location: str


def html_of(message: bytes) -> Html | Defect:
    """Returns the HTML of a complete HTTP message, or why it has none."""
    response = _parsed(message)
    media_type = response.http_content_type
    if media_type is None or media_type.strip().lower() not in HTML_TYPES:
        return Defect("not_html", str(media_type))
    if response.http_headers is None or response.http_headers.status_code != 200:
        return Defect("not_found")
    content = _content(response)
    return content if isinstance(content, Defect) else Html(content, response.http_charset)


def response_of(message: bytes) -> Response | Defect:
    """Returns status and content of a complete HTTP message of any type, or why it has none."""
    response = _parsed(message)
    headers = response.http_headers
    if headers is None or headers.status_code is None:
        return Defect("no_status")
    content = _content(response)
    if isinstance(content, Defect):
        return content
    return Response(headers.status_code, content, headers.get("Location") or "")


def _content(response: WarcRecord) -> bytes | Defect:
    headers = response.http_headers or {}
    body, codings = response.reader.read(), headers.get("Content-Encoding") or ""
    try:
        if "chunked" in (headers.get("Transfer-Encoding") or "").lower():
            body = _joined_chunks(body)
        content = _decoded(body, codings)
    except (zlib.error, OSError) as error:
        return Defect("unknown_encoding", f"{codings}: {error}")
    return Defect("too_large") if len(content) > LARGEST_HTML_BYTES else content


def _parsed(message: bytes) -> WarcRecord:
    response = WarcRecord()
    response.init_headers(WarcRecordType.response)
    response.is_http = True
    response.set_bytes_content(message)
    response.parse_http(auto_decode="none", quirks_mode=True)  # lines may end in LF alone
    return response


def _joined_chunks(body: bytes) -> bytes:
    """Returns the content of the chunks, up to where they break off.

    Raises:
        OSError: if there are too many.
    """
    parts: list[bytes] = []
    position = 0
    while size := CHUNK_SIZE.match(body, position):
        position = size.end() + int(size[1], 16)
        parts.append(body[size.end() : position])
        if not parts[-1]:
            break  # the last chunk; trailers may follow
        if len(parts) > MOST_CHUNKS:
            raise OSError(f"more than {MOST_CHUNKS} chunks")
    return b"".join(parts) if parts else body  # perhaps it was stored without its chunks


def _decoded(body: bytes, codings: str) -> bytes:
    """Returns the content, up to just over the longest page.

    Raises:
        OSError, zlib.error: if it is damaged, or in a coding that is not known.
    """
    asked = [coding.strip().lower() for coding in codings.split(",")]
    if len(asked) > MOST_CODINGS:
        raise OSError(f"more than {MOST_CODINGS} codings")
    for coding in reversed(asked):
        body = _without(coding, body)
    return _gunzipped(body) if body.startswith(GZIP) else body


def _without(coding: str, body: bytes) -> bytes:
    if body.startswith(GZIP):
        return _gunzipped(body)
    if coding in ("", "gzip", "x-gzip", "identity") or body[:99].isascii():
        return body
    if coding == "deflate":
        return _inflated(body)
    if coding == "br":
        return BrotliReader(io.BytesIO(body)).read(LARGEST_HTML_BYTES + 1)
    raise OSError("no such coding")


def _inflated(body: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(body, LARGEST_HTML_BYTES + 1)
    except zlib.error:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, LARGEST_HTML_BYTES + 1)


def _gunzipped(body: bytes) -> bytes:
    """Returns the content of all members; what follows them and is not a member is ignored."""
    found, size, position = [], 0, 0
    for _ in range(MOST_GZIP_MEMBERS):
        member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        while not member.eof and position < len(body) and size <= LARGEST_HTML_BYTES:
            part = body[position : position + PART_BYTES]
            found.append(member.decompress(part, LARGEST_HTML_BYTES + 1 - size))
            size += len(found[-1])
            position += len(part) - len(member.unused_data)
        if not body.startswith(GZIP, position) or size > LARGEST_HTML_BYTES:
            return b"".join(found)
    raise OSError(f"more than {MOST_GZIP_MEMBERS} gzip members")
