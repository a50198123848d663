"""Every decoder has the standard's tables and cuts bytes where the standard does."""

import hashlib
import itertools
import sys

import encoding_standard
import pytest
from encoding_standard import DECODERS
from hypothesis import example, given
from hypothesis import strategies as st

from data.reading import charsets
from data.reading.html import decode_html

# The identifiers of the standard's indexes of 2024-09-18: the SHA-256 of the list in Python.
INDEXES = {
    "big5": "8dfc771062e7be0810919082c2c06baa2236147909e0ecc235b1cb9ad782ac82",
    "euc_kr": "1d97134cbf187263585bc8f593ca4196654ed4c7a673f5672eaad4f5d9fdc4ba",
    "gb18030": "ff1c9a923b5d24f9761b3a2de2c0f07b395f9f6f36519508944de4f0415be81c",
    "gb18030_ranges": "f963aaa1653f630c523e7b04729fb4e4458f35806c45eb5c179445623138f0c0",
    "jis0208": "cbaa91f3deb7d0841faf5c33041fc15a285da0e87e64ab802c4bf04b7c4da861",
    "jis0212": "83bf90dd1c591a4355730d8c4567efc499d74da7490531019ef22a879991cfb7",
}
ONE_BYTE = {
    "ibm866": "db6fe14a559d1601a7667338d83704773d5708dbc641e1ad3c5e21405770f05e",
    "iso-8859-2": "9569c67f22d0b57790e1c407c6eecf227e4562322dc296de43cdab7a0152ec73",
    "iso-8859-3": "af8f1e12df79b768322b5e83613698cdc619438270a2fc359554331c805054a3",
    "iso-8859-4": "72f29c92344d351fe9e74a946e7e0468d76d542c6894ff82982cb652ebe0feb7",
    "iso-8859-5": "fa9b1f3f5242df43e2e7bca80e9b6997c67944f20a4af91ee06bacc4e132d9c9",
    "iso-8859-6": "85bb7b5c2dc75975afebe5743935ba4ed5a09c1e9e34e9bfb2ff80293f5d8bbc",
    "iso-8859-7": "f53d8aeba36314ef950eef02ffcf11dff540638ce27dfe7a86b6ccc6875afb24",
    "iso-8859-8": "7657a9ca3fa875990da960d3f812eea28dcd0ae6ed55a18d5394303c86f5484b",
    "iso-8859-8-i": "7657a9ca3fa875990da960d3f812eea28dcd0ae6ed55a18d5394303c86f5484b",
    "iso-8859-10": "02c2b5590d8ccda9931008c471f6ee2c590b2c8fe5e6ccb3b08638115d778507",
    "iso-8859-13": "40736338e964ab520407cebcb01329f8d450abf6ce12bf88b74b655b60e43300",
    "iso-8859-14": "2c8651cfc08b1f35b17919ee5379f2fa006af3ec809f11b3b7f470785580542b",
    "iso-8859-15": "a560aba47bccd7510a6ac77f671fe75dca3800f05cf6d676910c311a8f8ff079",
    "iso-8859-16": "55676320d2d1b6e6909f5b3d741a7cf0cefc84e920aa4474afc091459111c2e3",
    "koi8-r": "c5497cd9071cb352c0e56b219154e539badf63de40b71578f09e2e11fe7d50ae",
    "koi8-u": "19a4da2c3f245118bbc8019326f45a07832949938ff903f03d62ac4da1f61f40",
    "macintosh": "f2c6a4f6406b3e86a50a5dba4d2b7dd48e2e33c0d82aefe764535c934ec11764",
    "windows-874": "b416583ce125e38474381b31b401a98b19ecf2e57e0998e78a1e18b14894905d",
    "windows-1250": "0669455a7a1c70ba6003ea737991e8ee9adc455125c13cfe6705a361358de5fa",
    "windows-1251": "7592ef921679ba168b00a9e9afa3b4eebd67bf13dc7e84c4b6e120de856826e0",
    "windows-1252": "e56d49d9176e9a412283cf29ac9bd613f5620462f2a080a84eceaf974cfa18b7",
    "windows-1253": "49fdc881a3488904dd1e8dfba9aef3258454249958b611bcded1d4c981ab5561",
    "windows-1254": "e80a27adf377438be8ba5bd223875ea56d6a4d47f958cce1c957a2c446825caa",
    "windows-1255": "cd7fb43c97eefa1651084d92d02af53ad668bd848528c18c3b1af5c06b499651",
    "windows-1256": "161bdb381f16408e8bebcc8f5310c4190af0e359de8d9bbaa3628ce2f0875509",
    "windows-1257": "cc7256bdd10a5b8dc7fb6f994659f307dfcae60def9aa6c29d811f85e2842c47",
    "windows-1258": "198bacedfcf24390e219240a7b776b6cec34cff070330b08a601a69c67f7eb24",
    "x-mac-cyrillic": "73e8e7642c6fa9de29d42819b47fba55b58666fb1e339faeb4a89a0bd7c24d43",
}
MULTI_BYTE = ("big5", "euc-kr", "shift_jis", "euc-jp", "gb18030")


def identifier(index: object) -> str:
    return hashlib.sha256(str(index).encode()).hexdigest()


@pytest.mark.parametrize("name", INDEXES)
def test_characters_of_several_bytes_are_those_of_the_index(name):
    assert identifier(getattr(encoding_standard, name)()) == INDEXES[name]


@pytest.mark.parametrize("name", ONE_BYTE)
def test_characters_of_one_byte_are_those_of_the_index(name):
    points = [encoding_standard.code_point(name, bytes((byte,))) for byte in range(256)]
    assert points[:128] == list(range(128))
    assert identifier(points[128:]) == ONE_BYTE[name]


JAPANESE = "日本語のページです。"


@pytest.mark.parametrize(
    "name, content, text",
    [
        ("euc-jp", b"\xa0" + JAPANESE.encode("euc_jp"), "\ufffd" + JAPANESE),
        *(("euc-jp", bytes((b, 0xA1, 0xA1)), "\ufffd\u3000") for b in range(0x80, 0x8E)),
        ("euc-jp", b"\x8f\xa1\xa1<", "\ufffd<"),
        ("euc-jp", b"\x8f\xa2<p>", "\ufffd<p>"),
        ("euc-jp", b"\xc6<p>", "\ufffd<p>"),
        ("euc-jp", b"~\x8f\xa2\xb7~\xa1\xc1", "~～~～"),
        ("euc-jp", b"\xa4\x8f\xa2\xb7", "\ufffd\ufffd"),
        ("big5", b"\xff" + "臺灣".encode("big5"), "\ufffd臺灣"),
        ("big5", b"\xa1\xfe\xa2\x41\xa2\x42\xa2\x40", "／∕﹨＼"),
        ("big5", b"\xa1\xa2\x41\x87\x7a", "﹜A㡵"),
        ("euc-kr", b"\xff" + "한강".encode("euc_kr"), "\ufffd한강"),
        ("euc-kr", b"\x81\x5b<", "\ufffd[<"),
        ("gb18030", b"\xff" + "中国".encode("gb18030"), "\ufffd中国"),
        ("gbk", b"\x80\xff\xd6\xd0", "€\ufffd中"),
        ("gb18030", b"\xe3\x32\x9a\x36\x81\x30", "\ufffd\ufffd"),
        ("gb18030", b"\xe3\x32\x9a\x36\x81\x40", "\ufffd丂"),
        ("gb18030", b"\xe3\xff\x9a\x33<", "\ufffd\ufffd3<"),
        ("gb18030", b"\xff\x32\x9a\x33<", "\ufffd2\ufffd3<"),
        ("gb18030", b"\xe3\x32\x9a<", "\ufffd2\ufffd<"),
        ("gb18030", b"\xa8\xbc\x81\x35\xf4\x37", "\u1e3f\ue7c7"),
        ("shift_jis", b"\xa0\x93\xfa\x96\x7b", "\ufffd日本"),
        ("shift_jis", b"\xfc\x4c\xfd\xfe\xff", "\ufffdL\ufffd\ufffd\ufffd"),
        ("iso-2022-jp", b"\x1b(I\x36\x40\x36\x45\x1b(BA", "ｶﾀｶﾅA"),
        ("iso-2022-jp", b"\x1b$A", "\ufffd$A"),
        ("iso-2022-jp", b"\x1b$B\x46\x7c\x4b\x5c\x1b(J\\~\x1b(B\\", "日本¥‾\\"),
        ("iso-2022-jp", b"\x1b(B\x1b(J\x1b(BA", "\ufffd\ufffdA"),
        ("iso-2022-jp", b"\x1b$B\x46\x1b$A\x1b", "\ufffd\ufffdち\ufffd"),
        ("koi8-u", b"\xae\xbe", "ўЎ"),
        ("windows-1255", b"\xca\x81\xff", "\u05ba\x81\ufffd"),
        ("x-user-defined", b"a\x80\xff", "a\uf780\uf7ff"),
        ("replacement", b"a", ""),
        ("big5", b"\xef\xbb\xbf\xc3\xa9", "é"),
    ],
)
def test_damage_stays_where_it_is(name, content, text):
    assert charsets.decode(content, name) == text
    assert decode_html(content, name if name != "replacement" else "iso-2022-kr") == text


def sequences(name: str) -> list[bytes]:
    """Returns all of one and two bytes, and the longer ones that the charset has."""
    found = [bytes(pair) for pair in itertools.product(range(0x80, 256), range(256))]
    if name == "euc-jp":
        found += [bytes((0x8F, *pair)) for pair in itertools.product(range(0xA0, 256), range(256))]
    if name == "gb18030":
        edges, digits = (0x7F, 0x80, 0x81, 0xF4, 0xFE, 0xFF), b"/07:"
        firsts = (0x81, 0x84, 0x85, 0x90, 0xE3, 0xE4, 0xFE)
        found += map(bytes, itertools.product(firsts, range(0x2F, 0x3B), edges, digits))
    return found


@pytest.mark.parametrize("end", [b"\n", b"\xa4\xa4\n"])
@pytest.mark.parametrize("name", MULTI_BYTE)
def test_every_sequence_is_cut_as_the_standard_cuts_it(name, end):
    """A line end is not a part of any sequence, so each sequence is decoded by itself."""
    content = b"".join(sequence + end for sequence in sequences(name))
    texts = charsets.decode(content, name).split("\n")
    for sequence, text in zip(content.split(b"\n"), texts, strict=True):
        assert text == encoding_standard.decode(name, sequence + b"\n")[:-1], sequence


PIECES = {
    "iso-2022-jp": [
        b"\x1b", *(b"\x1b" + escape for escape in encoding_standard.STATES), b"$", b"(", b"A",
        b"\\", b"\x0e", b"\x0f", b"\x80", b"!", b"0!", b"-!", b"~",
    ],
    "utf-16le": [b"\x00", b"\xd8", b"\xdc", b"a"], "utf-16be": [b"\x00", b"\xd8", b"\xdc", b"a"],
    "utf-8": [bytes((byte,)) for byte in b"\xe0\xa0\x9f\xed\xf0\xf4\x90\x8f\xc1a"],
    "big5": [b"\xa2A", b"\xa2", b"\xa1\xfe", b"\x88\x62"],
    "euc-jp": [b"\x8f\xa2\xb7", b"\x8f", b"\x8e", b"\xa1\xc1", b"\xad\xa1", b"~"],
    "gb18030": [b"\x81\x35\xf4\x37", b"\x81", b"5", b"\xa8\xbc", b"\xe3\x32\x9a\x36", b"\x80"],
    "shift_jis": [b"\xa0", b"\xfc", b"\x81"], "euc-kr": [b"\x81", b"["],
}  # fmt: skip


def pieces(name: str) -> st.SearchStrategy[bytes]:
    known = st.sampled_from([*PIECES[name], b"<", b"\xff", b"\xa4\xa4"])
    return st.lists(known | st.binary(min_size=1, max_size=3), max_size=20).map(b"".join)


@given(st.sampled_from(sorted(DECODERS)).flatmap(lambda n: st.tuples(st.just(n), pieces(n))))
@example(("utf-16le", b"\x00\xd8\x00"))
@example(("iso-2022-jp", b"\x1b$B\x1b$@\x1b"))
def test_any_bytes_are_decoded_as_by_the_standard(case):
    name, content = case
    if not content.startswith(tuple(charsets.MARKS)):
        assert charsets.decode(content, name) == encoding_standard.decode(name, content)


@given(st.sampled_from(MULTI_BYTE), st.binary(max_size=60))
def test_markup_that_is_no_part_of_a_pair_survives(name, content):
    """No pair of any charset ends below 0x30."""
    if not content.startswith(tuple(charsets.MARKS)):
        kept = [ord(character) for character in charsets.decode(content, name) if character < "0"]
        assert kept == [byte for byte in content if byte < 0x30]


@pytest.mark.parametrize(
    "name, unit",
    [
        ("euc-jp", b"\xff"), ("euc-jp", b"\xa1 "), ("euc-jp", b"\x8f\xa2\xb7\xff"),
        ("big5", b"\xa2\x41\xff"), ("gb18030", b"\xe3\x32\x9a\x36"), ("gb18030", b"\x81\x31\xff"),
        ("shift_jis", b"\x81\x00"), ("iso-2022-jp", b"\x1b$B!\xff\x1b"),
    ],
)  # fmt: skip
def test_the_worst_pages_of_any_length_take_one_step_per_byte(name, unit):
    """Counts the lines of Python that run; a codec's own steps are linear."""
    few, many = (lines_run(name, unit * count) for count in (300, 3000))
    assert few < 60 * 300 * len(unit)
    assert many < 10.5 * few


def lines_run(name: str, content: bytes) -> int:
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        if frame.f_globals.get("__name__") == charsets.__name__:
            count += event == "line"
            return trace
        return None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        charsets.decode(content, name)
    finally:
        sys.settrace(before)
    return count
