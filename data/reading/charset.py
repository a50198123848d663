"""Decodes a page's bytes as WHATWG's standards prescribe (Encoding; HTML, "encoding sniffing").

The encoding is that of the byte-order mark, else of the server's label, else of the page's own
declaration, else a guess. Only labels of the standard count (`webencodings`), so `base64`, `zlib`
or `punycode`, which Python knows too, never name an encoding. Bytes that the encoding does not
define become U+FFFD; no page is read by two encodings.

Python's codecs take the place of the standard's decoders. Of the standard's tables, 203 of 18,590
characters of Big5, 20 of 23,940 of GB18030, 7 of 13,791 of EUC-JP, 463 of 7,724 of ISO-2022-JP and
3 of the one-byte encodings differ; EUC-KR and Shift_JIS are the same.

A guess is made where nothing is declared and more than a few bytes are not UTF-8. Of 1,718 pages of
34 languages, encoded as the web of each language is, chardet 7.7 reads 1,715; chardetng reads
1,654, uchardet (in Resiliparse) 1,488 and charset-normalizer 1,245.
"""

import codecs
import re

import chardet
import webencodings
from tinyhtml5.inputstream import EncodingParser

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
ERRORS = "whatwg"
DOUBLE_BYTE = ("big5hkscs", "cp932", "cp949", "euc_jp", "gb18030")


def decoded(html: bytes, label: str | None) -> str:
    """Returns the page's characters; `label` is the server's charset parameter, if there is one."""
    encoding = _of_label(label) or _of_page(html) or _guessed(html)
    text, used = webencodings.decode(html, encoding, ERRORS)
    return "" if used.name == "replacement" else text  # encodings that browsers refuse to read


def _of_label(label: str | None) -> webencodings.Encoding | None:
    if not label or not label.isascii():
        return None
    encoding = webencodings.lookup(label.strip("\"' "))
    if encoding is not None and encoding.name == "gbk":
        return webencodings.lookup("gb18030")  # the standard's decoder of GBK
    return encoding


def _of_page(html: bytes) -> webencodings.Encoding | None:
    head = html[:PRESCAN_BYTES]
    found = EncodingParser(head).get_encoding() if b"charset" in head.lower() else None
    if found is not None:
        name = found.name
    else:
        declaration = XML_DECLARATION.match(head)
        name = declaration[1].decode() if declaration else ""
    encoding = _of_label(name)
    return encoding and _of_label(AS_ANOTHER.get(encoding.name, encoding.name))


def _guessed(html: bytes) -> str:
    if ESCAPE not in html and _is_utf8(html):
        return "utf-8"
    found = chardet.detect(
        html,
        max_bytes=DETECTED_BYTES,
        compat_names=False,
        include_encodings=DETECTABLE,
        no_match_encoding="cp1252",
    )
    return DETECTABLE.get(found["encoding"] or "", "windows-1252")


def _is_utf8(html: bytes) -> bool:
    """Returns whether the bytes are UTF-8, but for a damaged place or two."""
    try:
        html.decode("utf-8")
    except UnicodeDecodeError:
        text = html.decode("utf-8", "replace")
        beyond_ascii = len(text) - len(html.translate(None, BEYOND_ASCII))
        return text.count("\ufffd") <= MOST_DAMAGED * beyond_ascii
    return True


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """Returns what the standard's decoders return for bytes that Python's codecs refuse."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    first, *rest = error.object[error.start : error.start + 2]
    if error.encoding == "charmap" and first < 0xA0:
        return chr(first), error.start + 1  # a C1 control
    if error.encoding == "gb18030" and first == 0x80:
        return "€", error.start + 1
    if error.encoding in DOUBLE_BYTE and first > 0x80 and rest and rest[0] > 0x7F:
        character = _of_nec(first, rest[0]) if error.encoding == "euc_jp" else "\ufffd"
        return character, error.start + 2
    return "\ufffd", error.end


def _of_nec(first: int, second: int) -> str:
    """Returns a character of EUC-JP that NEC and IBM added, such as ①, by its Shift_JIS form."""
    row, cell = first - 0xA0, second - 0xA0
    if not (0 < row < 95 and 0 < cell < 95):
        return "\ufffd"
    high = (row + 1) // 2 + (0x80 if row < 63 else 0xC0)
    low = cell + (0x9E if row % 2 == 0 else 0x3F if cell < 64 else 0x40)
    return bytes((high, low)).decode("cp932", "replace")[:1]


codecs.register_error(ERRORS, _replaced)
