"""The charsets of the web: bytes to characters as the Encoding standard says, on Python's codecs.

A decoder of the standard reads one sequence after the other: an ASCII byte, or a lead byte and what
follows it. A sequence without a character is one U+FFFD, and gives back an ASCII byte at its end,
so that damage takes no `<` along. A byte that begins no sequence is U+FFFD alone, so that what
follows stays aligned. In EUC-JP:

    c6fc cbdc    日本          a0 c6fc cbdc    U+FFFD 日本
    c6 3c        U+FFFD <      8fa1a1          U+FFFD (a place of JIS X 0212 without a character)

Python's codecs are written in C, and accept no sequence that the standard cuts elsewhere. So a
codec decodes, and the standard takes over at each sequence that it refuses. Where the tables
differ, the standard's characters stand here: for 203 sequences of Big5, 464 of EUC-JP, 22 of
GB18030, 4 of Shift_JIS, 3 of the one-byte charsets, and none of EUC-KR. ISO-2022-JP has escapes
between parts of other charsets, and each part is decoded as such.

Source: WHATWG, Encoding, with the indexes of 2024-09-18, BSD-3-Clause. The tests compare each table
with the digest that its index carries, and each decoder with the standard's steps, byte by byte.
"""

import codecs
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import webencodings

REPLACEMENT = "\ufffd"
MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16le", b"\xfe\xff": "utf-16be"}
DIFFERENT_BYTES = {
    ("koi8-u", 0xAE): "ў", ("koi8-u", 0xBE): "Ў", ("windows-1255", 0xCA): "\u05ba",
}  # fmt: skip
Decoder = Callable[[bytes], str]


def decode(content: bytes, name: str) -> str:
    """Returns the characters of bytes; none is refused.

    Args:
        content: bytes; a byte-order mark at their beginning names another charset.
        name: name of a charset in the standard, not any label.
    """
    for mark, marked in MARKS.items():
        if content.startswith(mark):
            return _decoder(marked)(content[len(mark) :])
    return _decoder(name)(content)


@functools.cache
def _decoder(name: str) -> Decoder:
    if name in DECODERS:
        return DECODERS[name]
    encoding = webencodings.lookup(name)
    assert encoding is not None, name
    return functools.partial(_one_byte, "".join(_character(encoding, byte) for byte in range(256)))


def _one_byte(table: str, content: bytes) -> str:
    """Returns the characters that a table of at most 256 has for bytes."""
    return codecs.charmap_decode(content, "strict", table)[0]  # pyright: ignore[reportArgumentType]


def _character(encoding: webencodings.Encoding, byte: int) -> str:
    """Returns a byte's character; bytes that Windows leaves free are C1 controls."""
    if (encoding.name, byte) in DIFFERENT_BYTES:
        return DIFFERENT_BYTES[encoding.name, byte]
    try:
        return encoding.codec_info.decode(bytes([byte]), "strict")[0]
    except UnicodeDecodeError:
        return chr(byte) if byte < 0xA0 else REPLACEMENT


@dataclass(frozen=True, kw_only=True)
class _MultiByte:
    """A decoder of a charset with sequences of several bytes.

    Attributes:
        codec: Python's codec of the charset.
        sequence: a sequence whose first byte is not ASCII, as the standard cuts it. Its group is an
            ASCII byte that a sequence without a character gives back.
        refused: characters of the sequences that the codec refuses.
        exchanged: characters that the codec returns in place of others, and nowhere else.
        confused: characters of the sequences for which the codec returns a character that other
            sequences have in the standard too.
    """

    codec: str
    sequence: re.Pattern[bytes]
    refused: Mapping[bytes, str]
    exchanged: Mapping[str, str]
    confused: Mapping[bytes, str]

    def __post_init__(self):
        codecs.register_error(self._errors, self._replace)

    def __call__(self, content: bytes) -> str:
        """Returns the characters of bytes."""
        for sequence in self.confused:
            if sequence in content:
                return "".join(self._between_confused(content))
        return self._decode(content)

    @property
    def _errors(self) -> str:
        return f"whatwg {self.codec}"

    def _decode(self, content: bytes) -> str:
        text = content.decode(self.codec, self._errors)
        for character, other in self.exchanged.items():
            text = text.replace(character, other)
        return text

    def _between_confused(self, content: bytes) -> Iterator[str]:
        start = 0
        for match in self.sequence.finditer(content):
            if match[0] in self.confused:
                yield self._decode(content[start : match.start()])
                yield self.confused[match[0]]
                start = match.end()
        yield self._decode(content[start:])

    def _replace(self, error: UnicodeError) -> tuple[str, int]:
        """Returns the characters of a refused sequence, and where the next one begins."""
        if not isinstance(error, UnicodeDecodeError):
            raise error
        match = self.sequence.match(error.object, error.start)
        assert match is not None, error
        text = self.refused.get(match[0]) or REPLACEMENT + (match[1] or b"").decode()
        return text, match.end()


def _pairs(lead: bytes, *, before: bytes = b"") -> re.Pattern[bytes]:
    """Returns the sequences of a charset of pairs: a lead byte and any other, else one byte."""
    return re.compile(before + b"[" + lead + rb"](?:([\x00-\x7f])|[\x80-\xff])?|[\x80-\xff]")


def _runs(text: str) -> dict[bytes, str]:
    """Returns the characters of pairs of Big5; a run is its first pair and a character for each."""
    characters = {}
    for run in text.split():
        lead, trail = bytes.fromhex(run[:4])
        for character in run[4:]:
            characters[bytes((lead, trail))] = character
            trail = 0xA1 if trail == 0x7E else trail + 1
    return characters


# HKSCS-2008, and characters that HKSCS maps to other pairs: Python's codec has HKSCS-2004.
BIG5 = _MultiByte(
    codec="big5hkscs",
    sequence=_pairs(rb"\x81-\xfe"),
    refused=_runs("""
        877a㡵𡵓𣚞𦀡㻬 87a1𥣞㫵竼龗𤅡𨤍𣇪𠪊𣉞䌊蒄龖鐯䤰蘓墖靊鈘秐稲晠権袝瑌篅枂稬剏遆㓦珄
        87c0𥶹瓆鿇垳䤯呌䄱𣚎堘穲𧭥讏䚮𦺈䆁𥶙箮𢒼鿈𢓁𢓉𢓌鿉蔄𣖻䂴鿊䓡𪷿拁灮鿋
        8e69箸 8e6f簆 8e7e糎 8eab緒 8eb4縝 8ecd者 8ed0耨 8f57菁 8f69蒨 8f6e萏 8fcb覦覩 8ffe起
        906d都 907a銹 90dc靜 90f1響 91bf鼖 9244蔃 92af兙兛兝兞 92c8鍮 92d1瑹 9447浧 94ca禛 95d9邗
        9644靝 96ed瀞 96fc嬨 9b76爁 9b78矗 9b7b纇 9bc6駖 9bde釔 9bec惞 9bf6澶 9c42輶 9c53侻 9c62營
        9c68鄄 9c6b鷰 9c77菏 9cbc尐秣 9cd0婧 9d57輋 9d5a筑 9dc4拐 9ea9恢 9eef痹 9efd汊 9f60鬮
        9f66鼗 9fcb僭 9fd8弌 a063蠏 a077拎 a0d5瑨 a0df煢 a0e4牐
        a3c0␀␁␂␃␄␅␆␇␈␉␊␋␌␍␎␏␐␑␒␓␔␕␖␗␘␙␚␛␜␝␞␟␡€ c6cf廴 c6d3无 c6d5癶 c6d7隶 c6de〃仝
        fa5f倩 fa66偽 fabd包 fac5卄 fad5卿 fb48嘅 fbb8婷 fbf3幵 fbf9廐 fc4f彘 fc6c悤 fcb9撐 fce2晴
        fcf1杞 fdb7沜渝 fdbb港 fdf1煮 fe52猪 fe6f瑜 feaa瓩 fedd砉
    """),
    exchanged={
        "•": "‧", "､": "﹑", "‾": "¯", "∼": "～", "♁": "⊕", "☉": "⊙",
        "¥": "￥", "¢": "￠", "£": "￡",
    },
    confused={b"\xa2\x41": "∕", b"\xa2\x42": "﹨"},
)  # fmt: skip

EUC_KR = _MultiByte(
    codec="cp949", sequence=_pairs(rb"\x81-\xfe"), refused={}, exchanged={}, confused={}
)

SHIFT_JIS = _MultiByte(
    codec="cp932",
    sequence=_pairs(rb"\x81-\x9f\xe0-\xfc"),
    refused={},
    exchanged=dict.fromkeys("\uf8f0\uf8f1\uf8f2\uf8f3", REPLACEMENT),  # A0, FD, FE and FF alone
    confused={},
)


def _rows_of_nec_and_ibm() -> Iterator[tuple[bytes, str]]:
    """Yields the characters, such as ①, that JIS X 0208 lacks, by the form of Shift_JIS."""
    for row in (13, 89, 90, 91, 92):
        for cell in range(1, 95):
            lead = (row + 1) // 2 + (0x80 if row < 63 else 0xC0)
            trail = cell + (0x9E if row % 2 == 0 else 0x3F if cell < 64 else 0x40)
            character = SHIFT_JIS(bytes((lead, trail)))
            if REPLACEMENT not in character:
                yield bytes((row + 0xA0, cell + 0xA0)), character


EUC_JP = _MultiByte(
    codec="euc_jp",
    sequence=_pairs(rb"\x8e\x8f\xa1-\xfe", before=rb"(?:\x8f(?=[\xa1-\xfe]))?"),
    refused=dict(_rows_of_nec_and_ibm()),
    exchanged={"〜": "～", "‖": "∥", "−": "－", "¢": "￠", "£": "￡", "¬": "￢"},
    confused={b"\x8f\xa2\xb7": "～"},
)

GB18030 = _MultiByte(
    codec="gb18030",
    sequence=re.compile(
        rb"[\x81-\xfe](?:[0-9](?:[\x81-\xfe](?:[0-9]|\Z)|\Z)|([\x00-/:-\x7f])|[\x80-\xff])?"
        rb"|[\x80\xff]"
    ),
    refused={b"\x80": "€"},
    exchanged=dict(  # GB18030-2022 has these outside of the private use area
        zip(
            "\ue5e5\ue78d\ue78e\ue78f\ue790\ue791\ue792\ue793\ue794\ue795\ue796\ue7c7"
            "\ue81e\ue826\ue82b\ue82c\ue832\ue843\ue854\ue864",
            "\u3000\ufe10\ufe12\ufe11\ufe13\ufe14\ufe15\ufe16\ufe17\ufe18\ufe19\u1e3f"
            "\u9fb4\u9fb5\u9fb6\u9fb7\u9fb8\u9fb9\u9fba\u9fbb",
            strict=True,
        )
    ),
    confused={b"\x81\x35\xf4\x37": "\ue7c7"},
)

ESCAPE = re.compile(rb"\x1b(\([BIJ]|\$[@B])")
BETWEEN, ALSO_NONE = b"\x0e", b"\x0f"  # neither is a character of any of the charsets
IN_ASCII = "".join(map(chr, range(128))).replace("\x0f", REPLACEMENT).ljust(256, REPLACEMENT)
IN_ROMAN = IN_ASCII.translate({0x5C: "¥", 0x7E: "‾"})
IN_KATAKANA = "".join(
    byte if byte in "\x0e\x1b" else chr(ord(byte) + 0xFF40) if "!" <= byte <= "_" else REPLACEMENT
    for byte in map(chr, range(256))
)
IN_EUC = bytes(
    byte if byte in b"\x0e\x1b" else byte | 0x80 if 0x21 <= byte <= 0x7E else 0xFF
    for byte in range(256)
)
CHARSETS: dict[bytes, Decoder] = {
    b"(B": functools.partial(_one_byte, IN_ASCII),
    b"(J": functools.partial(_one_byte, IN_ROMAN),
    b"(I": functools.partial(_one_byte, IN_KATAKANA),
    b"$@": lambda parts: EUC_JP(parts.translate(IN_EUC)),
    b"$B": lambda parts: EUC_JP(parts.translate(IN_EUC)),
}


def _iso_2022_jp(content: bytes) -> str:
    """Returns the characters of parts in several charsets, which begin behind an escape each.

    An unknown escape is U+FFFD and text of its part. So is a known one that another follows at
    once, as a part without text may hide something. The parts of a charset are decoded together.
    """
    pieces = ESCAPE.split(b"\x1b(B" + content.replace(BETWEEN, ALSO_NONE))
    escapes, parts = pieces[1::2], pieces[2::2]
    parts[1:-1] = [part or ALSO_NONE for part in parts[1:-1]]
    texts = {
        escape: iter(
            CHARSETS[escape](
                BETWEEN.join(
                    part for own, part in zip(escapes, parts, strict=True) if own == escape
                )
            ).split(BETWEEN.decode())
        )
        for escape in set(escapes)
    }
    return "".join(next(texts[escape]) for escape in escapes).replace("\x1b", REPLACEMENT)


DECODERS: dict[str, Decoder] = {  # all others have one byte per character
    "utf-8": lambda content: content.decode("utf-8", "replace"),
    "utf-16le": lambda content: content.decode("utf-16-le", "replace"),
    "utf-16be": lambda content: content.decode("utf-16-be", "replace"),
    "big5": BIG5, "euc-kr": EUC_KR, "shift_jis": SHIFT_JIS, "euc-jp": EUC_JP,
    "gb18030": GB18030, "gbk": GB18030, "iso-2022-jp": _iso_2022_jp,
    "replacement": lambda _: "",  # charsets that browsers refuse to read
}  # fmt: skip
