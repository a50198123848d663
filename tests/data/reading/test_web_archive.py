import gzip
import random
from pathlib import Path

import pytest
from html_archives import ARC, html_archive
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from web_pages import BESIDE, SMALL, pages_in

from data.reading.page import BrokenRecord, Page
from data.reading.web_archive import read, read_html, text_of


def body(seed: int) -> bytes:
    letters = random.Random(seed)
    return "".join(letters.choice("абвгд ежзик\n") for _ in range(2000)).encode()


def record(name: str, *, content: bytes = b"", length: int | str | None = None, **headers) -> bytes:
    content = content or body(ord(name[0]))
    fields = {
        "WARC-Type": "conversion",
        "WARC-Target-URI": f"http://{name}.example/",
        "WARC-Date": "2026-01-01T00:00:00Z",
        "Content-Length": len(content) if length is None else length,
    } | {key.replace("_", "-"): value for key, value in headers.items()}
    lines = "".join(f"{key}: {value}\r\n" for key, value in fields.items() if value is not None)
    return f"WARC/1.0\r\n{lines}\r\n".encode() + content + b"\r\n\r\n"


def member(*args, **kwargs) -> bytes:
    return gzip.compress(record(*args, **kwargs), mtime=0)


A, B, C = member("a"), member("b"), member("c")


def outcome(path: Path, content: bytes) -> list[str | tuple[int, str]]:
    path.write_bytes(content)
    return [one.url[7] if isinstance(one, Page) else (one.offset, one.reason) for one in read(path)]


def flipped(content: bytes) -> bytes:
    return content[:600] + bytes([content[600] ^ 0xFF]) + content[601:]


@pytest.mark.parametrize(
    "content, expected",
    [
        (A + B + C, ["a", "b", "c"]),
        (A + B + C[: len(C) // 2], ["a", "b", (len(A + B), "truncated")]),
        (A + B + C[:30], ["a", "b", (len(A + B), "truncated")]),
        (A + b"garbage\x00\n" * 9 + B + C, ["a", (len(A), "unreadable"), "b", "c"]),
        (A + gzip.compress(b"no record", mtime=0) + B, ["a", (len(A), "unreadable"), "b"]),
        (A + flipped(B) + C, ["a", (len(A), "unreadable"), "c"]),
        (flipped(A) + B, [(0, "unreadable"), "b"]),
        (A + member("b", length=10**6) + C, ["a", (len(A), "truncated"), "c"]),
        (A + member("b", length=10) + C, ["a", "b", (len(A), "longer_than_declared"), "c"]),
        (A + member("b", Content_Length=None) + C, ["a", (len(A), "no_content_length"), "c"]),
        (A + member("b", WARC_Target_URI=None) + C, ["a", (len(A), "no_url"), "c"]),
        (A + member("b", WARC_Date=None) + C, ["a", (len(A), "no_timestamp"), "c"]),
        (A + member("b", WARC_Type="response") + C, ["a", (len(A), "not_a_conversion"), "c"]),
        (A + member("b", content=b"caf\xe9") + C, ["a", (len(A), "invalid_utf8"), "c"]),
        (A + member("b", content=b" \n \n") + C, ["a", (len(A), "no_text"), "c"]),
        (member("i", WARC_Type="warcinfo") + A, ["a"]),
        (gzip.compress(record("a") + record("b"), mtime=0), ["a", "b"]),
        (b"no archive at all\n", [(0, "unreadable")]),
        (b"", []),
    ],
)
def test_a_loss_is_one_broken_record_and_the_rest_survives(tmp_path, content, expected):
    assert outcome(tmp_path / "x.wet.gz", content) == expected


@pytest.mark.parametrize(
    "parts, expected",
    [
        ([record("a"), record("b")], ["a", "b"]),
        ([record("a"), b"garbage\r\n\r\n", record("b")], ["a", "unreadable", "b"]),
        ([record("a"), record("b")[:-500]], ["a", "truncated"]),
        (
            [record("a"), record("b", length=len(body(98)) + 700), record("c"), record("d")],
            ["a", "holds_another_record", "unreadable", "d"],  # c lies in what b claims
        ),
    ],
)
def test_plain_files_survive_too(tmp_path, parts, expected):
    found = outcome(tmp_path / "x.wet", b"".join(parts))
    assert [one if isinstance(one, str) else one[1] for one in found] == expected


@settings(max_examples=60)
@given(st.integers(0, len(A + B + C) - 1), st.integers(1, 255), st.booleans())
def test_damaged_bytes_never_raise_and_harm_only_their_record(tmp_path_factory, at, flip, cut):
    whole = A + B + C
    # A bit of the last codes may make a member run on into the next one, to an end that fits there.
    assume(cut or not any(end - 24 <= at < end for end in (len(A), len(A + B))))
    damaged = whole[:at] if cut else whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :]
    path = tmp_path_factory.getbasetemp() / "damaged.wet.gz"
    urls = [one for one in outcome(path, damaged) if isinstance(one, str)]
    before = ["a", "b", "c"][: (at >= len(A)) + (at >= len(A + B))]
    after = [] if cut else ["a", "b", "c"][len(before) + 1 :]
    assert [url for url in urls if url in before] == before
    assert [url for url in urls if url in after] == after


@pytest.mark.parametrize(
    "content, text",
    [
        ("  Habari  \n\n\t\nza leo\n", "Habari\nza leo"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("WARC files\nContent-Type is\nCONTENT-X\nContents\nwarc", "Contents\nwarc"),
        ("a\u2028b\x85c\x0bd", "a\u2028b\x85c\x0bd"),  # only \r and \n end a line here
        ("\u00a0no-break\u00a0", "no-break"),
    ],
)
def test_text_is_the_reference_s(content, text):
    assert text_of(content) == text


@pytest.mark.parametrize(
    "header, code", [("swa,eng", "sw"), ("heb", "iw"), ("hrv", None), (None, None)]
)
def test_declared_language(tmp_path, header, code):
    path = tmp_path / "x.wet.gz"
    path.write_bytes(member("a", WARC_Identified_Content_Language=header))
    (page,) = read(path)
    assert isinstance(page, Page)
    assert page.declared_language == code


def test_a_plain_archive_holds_the_pages_of_the_compressed_one(tmp_path):
    members = b"".join(member(name) for name in "abc")
    packed, plain = tmp_path / "x.warc.wet.gz", tmp_path / "x.warc.wet"
    packed.write_bytes(members)
    plain.write_bytes(gzip.decompress(members))
    assert [one.url for one in read(plain) if isinstance(one, Page)] == [
        f"http://{name}.example/" for name in "abc"
    ]
    assert list(read(plain)) == list(read(packed))


HTML = [html_archive(pages_in(SMALL)[:count]) for count in (1, 2)]
FORMATS = {
    "x.warc.gz": HTML[0],
    "x.warc": gzip.decompress(HTML[0]),
    "cut.warc": gzip.decompress(HTML[1])[:-900],  # in the second response
    "x.warc.wet": record("a"),
    "x.warc.wat.gz": member("a", WARC_Type="metadata", content=b'{"Container": {}}'),
    "x.arc.gz": gzip.compress(ARC, mtime=0),
} | {path.name: path.read_bytes() for path in (BESIDE / "web/fixtures").glob("*")}


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_holds_its_own_pages_and_does_the_other_reader_no_harm(tmp_path, name):
    (tmp_path / name).write_bytes(FORMATS[name])
    text, html = list(read(tmp_path / name)), list(read_html(tmp_path / name))
    assert all(isinstance(one, Page | BrokenRecord) for one in [*text, *html])
    assert sum(isinstance(one, Page) for one in text) == (".wet" in name)
    assert sum(isinstance(one, Page) for one in html) == name.endswith((".warc", ".warc.gz"))
