"""The text of an HTML response, as in WET files: body, charset, then the title and all text.

**Body** (RFC 9110 and 9112). Media types are compared without regard to case. Chunks may have
extensions. The content codings are gzip (of several members), deflate (zlib's or the raw format
that some servers send) and br, up to four in a row. Many archives keep the headers of a coding but
store the page without it, so content that cannot be coded is returned unchanged. Where a transfer
was cut short, the beginning of the page is returned. Decoding stops just after the longest page,
however much a small body holds.

**Charset** (WHATWG's standards). The encoding is that of the byte-order mark, else of the server's
label, else of the page's own declaration, else a guess. Only labels of the standard count
(`webencodings`), so `base64`, `zlib` or `punycode`, which Python knows too, never name an encoding.
Bytes that the encoding does not define become U+FFFD; no page is read by two encodings. The
decoders (`charsets.py`) are the standard's.

A guess is made where nothing is declared and more than a few bytes are not UTF-8. Of 1,718 pages of
34 languages, encoded as the web of each language is, chardet 7.7 reads 1,715; chardetng reads
1,654, uchardet (in Resiliparse) 1,488 and charset-normalizer 1,245.

**Work** of parsing is bounded. An HTML parser compares an attribute with the others of its tag, a
name with other names, and an end tag with the open elements. It also recreates unclosed formatting
elements in every later block. Parsing 350 kB can therefore take minutes. These steps are counted
here in one pass over the tags. The count is mostly too high, because elements that HTML closes
without a tag stay open. The limit applies to the count, so whether a page is read never depends on
the machine. The count can also be too low: for markup that a parser nests in another order than
that of its tags, and for a page that hides tags in two ways at once, as in
`<!-- <svg><b a=" --><svg><style>`. Small pages are not counted, as the worst of them takes about a
second.

**Text.** Resiliparse parses and lays out the page, without bullets, alternative texts of images and
the content of `noscript`. Lines are stripped and blank ones dropped, as WET files are read.
"""

import io
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import chardet
import webencodings
from fastwarc.stream_io import BrotliReader
from fastwarc.warc import WarcRecord, WarcRecordType
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree
from tinyhtml5.inputstream import EncodingParser

from data.reading import charsets
from data.reading.page import Defect

PRESCAN_BYTES = 8192  # the standard asks for 1,024 and heeds later declarations while it parses
DETECTED_BYTES = 1 << 16
XML_DECLARATION = re.compile(rb"<\?xml\s[^>]*?encoding\s*=\s*[\"']([\w.:-]{1,40})[\"']")
AS_ANOTHER = {  # HTML, "prescan a byte stream": a page read as ASCII is none of these
    "utf-16le": "utf-8",
    "utf-16be": "utf-8",
    "x-user-defined": "windows-1252",
}
DETECTABLE = {  # chardet's names: the labels that browsers guess
    "utf-8": "utf-8", "ascii": "utf-8",
    "gb18030": "gb18030", "big5hkscs": "big5", "cp949": "euc-kr",
    "cp932": "shift_jis", "euc_jis_2004": "euc-jp", "iso2022_jp_2": "iso-2022-jp",
    "koi8-r": "koi8-r", "koi8-u": "koi8-u", "cp866": "ibm866", "cp874": "windows-874",
    **{f"cp{number}": f"windows-{number}" for number in range(1250, 1259)},
    **{f"iso8859-{number}": f"iso-8859-{number}" for number in (2, 4, 5, 6, 7, 8)},
}  # fmt: skip
BEYOND_ASCII = bytes(range(128, 256))
MOST_DAMAGED = 0.02  # of the characters beyond ASCII; other encodings fail on nearly each of them
ESCAPE = b"\x1b"  # begins a character set of ISO-2022-JP, which is ASCII otherwise


def decode_html(html: bytes, label: str | None) -> str:
    """Returns the page's characters; `label` is the server's charset parameter, if there is one."""
    encoding = _labelled_encoding(label) or _declared_encoding(html) or _guess_encoding(html)
    return charsets.decode(html, encoding)


def _labelled_encoding(label: str | None) -> str | None:
    if not label or not label.isascii():
        return None
    encoding = webencodings.lookup(label.strip("\"' "))
    return encoding and encoding.name


def _declared_encoding(html: bytes) -> str | None:
    head = html[:PRESCAN_BYTES]
    encoding = EncodingParser(head).get_encoding() if b"charset" in head.lower() else None
    if encoding is not None:
        name = encoding.name
    else:
        declaration = XML_DECLARATION.match(head)
        name = _labelled_encoding(declaration[1].decode() if declaration else "")
    return name and AS_ANOTHER.get(name, name)


def _guess_encoding(html: bytes) -> str:
    if ESCAPE not in html and _is_utf8(html):
        return "utf-8"
    guess = chardet.detect(
        html,
        max_bytes=DETECTED_BYTES,
        compat_names=False,
        include_encodings=DETECTABLE,
        no_match_encoding="cp1252",
    )
    return DETECTABLE.get(guess["encoding"] or "", "windows-1252")


def _is_utf8(html: bytes) -> bool:
    """Returns whether the bytes are UTF-8, but for a damaged place or two."""
    try:
        html.decode("utf-8")
    except UnicodeDecodeError:
        text = html.decode("utf-8", "replace")
        beyond_ascii = len(text) - len(html.translate(None, BEYOND_ASCII))
        return text.count("\ufffd") <= MOST_DAMAGED * beyond_ascii
    return True


MOST_STEPS = 100_000_000  # about a second; 5 MB of ordinary markup takes a million
SMALL_BYTES = 128 << 10
FEW_TAGS = 2000
STEPS_OF_A_COPY = 100  # of a formatting element in one more block
MOST_EQUAL = 3  # formatting elements that a parser remembers (HTML, "Noah's Ark clause")

NAMES_PER_STEP = 16  # names that are compared with a new one as fast as one element
NAME = rb"[^\s/>][^\s/>=]*+"
VALUE = rb"(?:\s*+=\s*+(?:\"[^\"]*+\"?|'[^']*+'?|[^\s>]*+))?+"
ATTRIBUTE = NAME + VALUE
ATTRIBUTES = rb"((?:[\s/]++|" + ATTRIBUTE + rb")*+)"
ONE_TAG = rb"<(/?[a-z][^\s/>]*+)" + ATTRIBUTES
TAG = re.compile(
    rb"<!--(?:-?>|.*?(?:--!?>|\Z))"
    rb"|<(script|style|textarea|title|xmp|iframe)(?=[\s/>])" + ATTRIBUTES + rb".*?(?:</\1|\Z)"
    rb"|" + ONE_TAG,
    re.DOTALL | re.IGNORECASE,
)
# Inside <svg> and <math> no element is raw text, and where these end depends on the whole tree. So
# a page with either is counted twice: as HTML, and with the tags in scripts and comments.
FOREIGN = re.compile(rb"<(?:svg|math)[\s/>]", re.IGNORECASE)
EVERY_TAG = re.compile(ONE_TAG, re.IGNORECASE)
EACH_ATTRIBUTE = re.compile(rb"(" + NAME + rb")" + VALUE)
FORMATTING = frozenset(b"b big code em font i s small strike strong tt u a nobr".split())
ONCE = frozenset((b"a", b"nobr"))  # each closes the one before
UNNESTED = frozenset(  # without content, or closed by the next of their kind
    b"area base basefont bgsound br col embed frame hr img input keygen link meta param source "
    b"track wbr p li dd dt option tr td th tbody thead tfoot caption colgroup rt rp html head body"
    b"".split()
)
MERGED = frozenset((b"html", b"body"))  # later ones add their attributes to the first


def is_too_complex(html: bytes) -> bool:
    """Returns whether parsing the page may take more than the allowed steps."""
    if len(html) <= SMALL_BYTES and html.count(b"<") <= FEW_TAGS:
        return False
    return _are_too_many(_tags(html)) or (
        FOREIGN.search(html) is not None and _are_too_many(_every_tag(html))
    )


def _are_too_many(tags: Iterable[tuple[bytes, bytes, bool]]) -> bool:
    count = _Steps()
    for name, attributes, is_raw in tags:
        count.add(name.lower(), attributes, is_raw=is_raw)
        if count.steps > MOST_STEPS:
            return True
    return False


def _tags(html: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yields name and attributes of each tag of HTML, and whether the element is raw text."""
    for match in TAG.finditer(html):
        raw, raw_attributes, name, attributes = match.groups(b"")
        if raw or name:
            yield raw or name, raw_attributes or attributes, bool(raw)


def _every_tag(html: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yields the same of what looks like a tag, wherever it stands; no element is raw text."""
    for match in EVERY_TAG.finditer(html):
        name, attributes = match.groups(b"")
        yield name, attributes, False


class _Steps:
    """The steps so far, and the elements that are open."""

    def __init__(self):
        self.steps = 0
        self._open: Counter[bytes] = Counter()
        self._depth = 0
        self._remembered: dict[bytes, list[bytes]] = {}
        self._formatting = 0
        self._merged = 0
        self._names: set[bytes] = set()

    def add(self, name: bytes, attributes: bytes, *, is_raw: bool) -> None:
        """Counts a tag; an end tag's name begins with a slash."""
        self._count_attributes(name, attributes)
        self.steps += self._depth
        if name.removeprefix(b"/") not in FORMATTING:
            self.steps += STEPS_OF_A_COPY * self._formatting
        if name not in self._names:
            self._count_names([name])
        if name.startswith(b"/"):
            self._close(name[1:])
        elif not is_raw and name not in UNNESTED:
            self._open_element(name, attributes)

    def _count_attributes(self, name: bytes, attributes: bytes) -> None:
        if len(attributes) < 2:
            return
        names = EACH_ATTRIBUTE.findall(attributes)
        number = len(names)
        self._count_names(names)
        if name in MERGED:
            self._merged += number
        self.steps += number * (number + self._merged)

    def _count_names(self, names: list[bytes]) -> None:
        before = len(self._names)
        self._names.update(names)
        self.steps += (len(self._names) - before) * before // NAMES_PER_STEP

    def _open_element(self, name: bytes, attributes: bytes) -> None:
        if name in ONCE and self._open[name]:
            return
        self._open[name] += 1
        self._depth += 1
        if name in FORMATTING:
            self.steps += 10 * self._formatting  # compared by all attributes
            remembered = self._remembered.setdefault(name, [])
            if remembered[-MOST_EQUAL:].count(attributes) < MOST_EQUAL:
                remembered.append(attributes)
                self._formatting += 1

    def _close(self, name: bytes) -> None:
        if not self._open[name]:
            return
        self._open[name] -= 1
        self._depth -= 1
        if self._open[name] < len(self._remembered.get(name, ())):
            self._remembered[name].pop()
            self._formatting -= 1


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
    response = _parse_message(message)
    media_type = response.http_content_type
    if media_type is None or media_type.strip().lower() not in HTML_TYPES:
        return Defect("not_html", str(media_type))
    if response.http_headers is None or response.http_headers.status_code != 200:
        return Defect("not_found")
    content = _content(response)
    return content if isinstance(content, Defect) else Html(content, response.http_charset)


def response_of(message: bytes) -> Response | Defect:
    """Returns status and content of a complete HTTP message of any type, or why it has none."""
    response = _parse_message(message)
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
            body = _join_chunks(body)
        content = _remove_codings(body, codings)
    except (zlib.error, OSError) as error:
        return Defect("unknown_encoding", f"{codings}: {error}")
    return Defect("too_large") if len(content) > LARGEST_HTML_BYTES else content


def _parse_message(message: bytes) -> WarcRecord:
    response = WarcRecord()
    response.init_headers(WarcRecordType.response)
    response.is_http = True
    response.set_bytes_content(message)
    response.parse_http(auto_decode="none", quirks_mode=True)  # lines may end in LF alone
    return response


def _join_chunks(body: bytes) -> bytes:
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


def _remove_codings(body: bytes, codings: str) -> bytes:
    """Returns the content, up to just over the longest page.

    Raises:
        OSError, zlib.error: if it is damaged, or in a coding that is not known.
    """
    names = [coding.strip().lower() for coding in codings.split(",")]
    if len(names) > MOST_CODINGS:
        raise OSError(f"more than {MOST_CODINGS} codings")
    for coding in reversed(names):
        body = _remove_coding(coding, body)
    return _gunzip(body) if body.startswith(GZIP) else body


def _remove_coding(coding: str, body: bytes) -> bytes:
    if body.startswith(GZIP):
        return _gunzip(body)
    if coding in ("", "gzip", "x-gzip", "identity") or body[:99].isascii():
        return body
    if coding == "deflate":
        return _inflate(body)
    if coding == "br":
        return BrotliReader(io.BytesIO(body)).read(LARGEST_HTML_BYTES + 1)
    raise OSError("no such coding")


def _inflate(body: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(body, LARGEST_HTML_BYTES + 1)
    except zlib.error:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, LARGEST_HTML_BYTES + 1)


def _gunzip(body: bytes) -> bytes:
    """Returns the content of all members; what follows them and is not a member is ignored."""
    parts, size, position = [], 0, 0
    for _ in range(MOST_GZIP_MEMBERS):
        member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        while not member.eof and position < len(body) and size <= LARGEST_HTML_BYTES:
            part = body[position : position + PART_BYTES]
            parts.append(member.decompress(part, LARGEST_HTML_BYTES + 1 - size))
            size += len(parts[-1])
            position += len(part) - len(member.unused_data)
        if not body.startswith(GZIP, position) or size > LARGEST_HTML_BYTES:
            return b"".join(parts)
    raise OSError(f"more than {MOST_GZIP_MEMBERS} gzip members")


def text_of(html: bytes, label: str | None) -> str:
    """Returns the page's text, one paragraph per line; `label` is the server's charset."""
    tree = HTMLTree.parse(decode_html(html, label))
    text = extract_plain_text(tree, main_content=False, alt_texts=False, list_bullets=False)
    lines = [tree.title or "", *text.splitlines()]
    return "\n".join(filter(None, map(str.strip, lines)))
