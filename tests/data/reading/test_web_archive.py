"""Damage as in real crawls: good records survive, losses are counted, memory is bounded.

Records as ISO 28500 defines them: each case was read otherwise, or lost, before.
"""

import gzip
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from damaged_archives import BAD, GOOD, HTTP, bomb, member, record
from html_archives import ARC, html_archive
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from web_pages import BESIDE, SMALL, pages_in

from data.reading import records, web_archive
from data.reading.page import BrokenRecord, Page
from data.reading.web_archive import read as read_archive_records
from data.reading.web_archive import read as read_web_archive
from data.reading.web_archive import read_html, text_of
from data.rules.english_lines import too_long


def read(path: Path) -> list[Page | BrokenRecord]:
    return list(web_archive.read(path))


@settings(max_examples=80)
@given(st.lists(st.sampled_from([*BAD, 0, 1, 2, 3]), max_size=9))
def test_good_records_survive_whatever_lies_between_them(tmp_path_factory, parts):
    path = tmp_path_factory.getbasetemp() / "between.warc.wet.gz"
    path.write_bytes(b"".join(BAD[part] if isinstance(part, str) else GOOD[part] for part in parts))
    found = read(path)
    urls = [one.url for one in found if isinstance(one, Page) and "good" in one.url]
    cut_before = {at + 1 for at, part in enumerate(parts) if part == "cut"}
    wanted = [
        f"http://good{part}.example/"
        for at, part in enumerate(parts)
        if isinstance(part, int) and at not in cut_before
    ]
    assert set(wanted) <= set(urls)


@settings(max_examples=100)
@given(st.binary(max_size=300), st.sampled_from([".wet.gz", ".warc.gz", ".jsonl.gz", ".parquet"]))
def test_random_bytes_never_raise(tmp_path_factory, content, suffix):
    reader = {".wet.gz": web_archive.read, ".warc.gz": web_archive.read_html,
              ".jsonl.gz": records.read_json_lines,
              ".parquet": records.read_parquet}[suffix]  # fmt: skip
    path = tmp_path_factory.getbasetemp() / f"random{suffix}"
    for prefix in (b"", b"\x1f\x8b\x08", b"WARC/1.0\r\n", b"PAR1"):
        path.write_bytes(prefix + content)
        assert not any(isinstance(one, Page) for one in reader(path))


@pytest.mark.parametrize(
    "body, characters",
    [
        (b"x" * 5_000_000, 5_000_000),
        ("\n".join(f"line {number}" for number in range(270_000)).encode(), 3_128_889),
        (b"a\x00b \x00\x00 c", 8),
    ],
)
def test_pages_of_any_shape_are_pages(tmp_path, body, characters):
    path = tmp_path / "x.wet.gz"
    path.write_bytes(GOOD[0] + member("big", body) + GOOD[1])
    first, big, last = read(path)
    assert isinstance(big, Page)
    assert len(big.text) == characters
    assert (too_long(big) == "too_long") == (characters > 190_000)
    assert [one.url for one in (first, last) if isinstance(one, Page)] == [
        "http://good0.example/",
        "http://good1.example/",
    ]


@pytest.mark.parametrize("suffix", [".wet", ".wet.gz"])
def test_a_plain_archive_is_read_under_either_name(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(record("a", b"Habari") + record("b", b"Karibu"))
    assert [one.url for one in read(path) if isinstance(one, Page)] == [
        "http://a.example/",
        "http://b.example/",
    ]
    path.write_bytes(b"")
    lost = [(0, "truncated")] if suffix == ".wet.gz" else []  # no gzip file is empty
    assert [(one.offset, one.reason) for one in read(path)] == lost


def test_lines_that_look_like_headers_do_not_end_a_page(tmp_path):
    path = tmp_path / "x.wet.gz"
    path.write_bytes(
        member("a", b"Habari\nWARC/1.1 is a format\nWARC-Date: 1999\nContent-Length: 3\nya")
    )
    (page,) = read(path)
    assert isinstance(page, Page)
    assert (page.text, page.timestamp) == ("Habari\nya", "2026")


@pytest.mark.parametrize(
    "head, body, reason",
    [
        (HTTP, b"<p>Habari", None),
        (HTTP + b"Content-Encoding: gzip\r\n", gzip.compress(b"<p>Habari", mtime=0), None),
        (HTTP + b"Content-Encoding: gzip\r\n", b"<p>Habari", None),
        (HTTP + b"Content-Encoding: br\r\n", b"\x8b\x07\x80<p>Habari\x03", "unknown_encoding"),
        (HTTP + b"Transfer-Encoding: chunked\r\n", b"9\r\n<p>Habari\r\n0\r\n\r\n", None),
        (HTTP.replace(b"200 OK", b"404 No"), b"<p>Habari", "not_found"),
        (HTTP.replace(b"text/html", b"image/png"), b"<p>Habari", "not_html"),
        (HTTP, b"<script>1</script>", "no_text"),
        (b"HTTP/1.1\r\n", b"", "not_html"),
        (b"", b"", "not_html"),
        (HTTP, b"<p>" + b"x" * (6 << 20), "too_large"),
    ],
)
def test_responses_that_are_no_page_are_counted(tmp_path, head, body, reason):
    path = tmp_path / "x.warc.gz"
    good = member("good", HTTP + b"\r\n<p>Karibu", "response")
    path.write_bytes(good + member("a", head + b"\r\n" + body, "response") + good)
    first, found, last = web_archive.read_html(path)
    assert isinstance(first, Page)
    assert last == first
    assert (found.reason if isinstance(found, BrokenRecord) else found.text) == (reason or "Habari")


@pytest.mark.parametrize("kind", ["resource", "conversion"])
def test_documents_that_are_no_responses_are_counted(tmp_path, kind):
    path = tmp_path / "x.warc.gz"
    good = member("good", HTTP + b"\r\n<p>Karibu", "response")
    path.write_bytes(member("i", b"", "warcinfo") + member("a", b"<p>Habari", kind) + good)
    found, page = web_archive.read_html(path)
    assert isinstance(found, BrokenRecord)
    assert (found.reason, found.detail) == ("not_a_response", kind)
    assert isinstance(page, Page)


MEASURE = """
import resource, sys, tracemalloc
from pathlib import Path
from data.reading.records import read_json_lines as read_lines
from data.reading.page import Page
from data.reading.web_archive import read, read_html
path = Path(sys.argv[1])
reader = read_lines if "json" in path.name else read_html if "html" in path.name else read
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = [one.url if isinstance(one, Page) else one.reason for one in reader(path)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, *found)
"""


def encoded() -> bytes:
    return member("b", HTTP + b"Content-Encoding: gzip\r\n\r\n" + bomb(b"<p>"), "response")


# Made when they are read: every worker collects these tests.
BOMBS = {
    "declared.wet.gz": (lambda: bomb(record("b", b"", length=300 << 20)[:-4]), "too_large"),
    "hidden.wet.gz": (lambda: bomb(record("b", b"Habari")), "longer_than_declared"),
    "header.wet.gz": (lambda: bomb(b"WARC/1.0\r\nX: ", b"a" * (1 << 20)), "unreadable"),
    "line.json.gz": (lambda: bomb(b'{"text": "'), "too_large"),
    "encoded.html.warc.gz": (encoded, "too_large"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_little_memory_and_its_neighbours_survive(tmp_path, name):
    content, reason = BOMBS[name]
    good = {
        "json": gzip.compress(b'\n{"text": "Karibu", "url": "u"}\n', mtime=0),
        "html": member("good", HTTP + b"\r\n<p>Karibu", "response"),
    }
    neighbour = next((good[kind] for kind in good if kind in name), GOOD[0])
    path = tmp_path / name
    path.write_bytes(neighbour + content() + neighbour)
    command = [sys.executable, "-c", MEASURE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kilobytes, *found = done.stdout.split()
    assert reason in found
    assert found[0] == found[-1] != reason
    assert int(kilobytes) < 150_000


def test_an_archive_that_is_cut_while_it_is_read_is_truncated(tmp_path):
    path = tmp_path / "x.wet.gz"
    whole = b"".join(GOOD * 900)
    path.write_bytes(whole)
    pages = web_archive.read(path)
    assert isinstance(next(pages), Page)
    os.truncate(path, len(whole) // 2 + 7)  # inside a member
    assert [one for one in pages if isinstance(one, BrokenRecord)][-1].reason == "truncated"


def test_a_member_that_was_cut_does_not_cost_its_neighbour(tmp_path):
    """Decompression runs on into the next member, which is found all the same."""
    path = tmp_path / "x.wet.gz"
    for size in range(20, len(GOOD[0])):
        path.write_bytes(GOOD[0][:size] + GOOD[1] + GOOD[2])
        kept = [page.url for page in read(path) if isinstance(page, Page)]
        assert kept == ["http://good1.example/", "http://good2.example/"], size


PLAIN = record("a", b"Habari")


def outcome(path: Path, content: bytes) -> list[str]:
    path.write_bytes(content)
    return [
        one.reason if isinstance(one, BrokenRecord) else one.text
        for one in read_archive_records(path)
    ]


def changed(old: bytes, new: bytes) -> bytes:
    assert old in PLAIN
    return PLAIN.replace(old, new)


@pytest.mark.parametrize("suffix", [".wet", ".wet.gz"])
@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        changed(b"\r\n", b"\n"),
        changed(b"Content-Length", b"content-length"),
        changed(b"WARC-Target-URI", b"warc-TARGET-uri"),
        changed(b"WARC-Type: conversion", b"warc-type:  Conversion "),
        changed(b"WARC-Date", b"WARC-DATE"),
        changed(b"http://a.example/", b"<http://a.example/>"),
        changed(b"WARC/1.0", b"WARC/1.1"),
        changed(b"WARC/1.0", b"WARC/1.12"),
        changed(b"WARC/1.0", b"WARC/0.18"),
        changed(b": 2026", b": 2026-01-31T12:00:00.123456789Z"),
        changed(b"Content-Type: text", b"Content-Type: text;\r\n  charset=utf-8"),
    ],
)
def test_every_spelling_of_the_standard_is_the_same_page(tmp_path, content, suffix):
    written = gzip.compress(content) if suffix == ".wet.gz" else content
    assert outcome(tmp_path / f"x{suffix}", written * 2) == ["Habari", "Habari"]
    pages = [one for one in read_archive_records(tmp_path / f"x{suffix}") if isinstance(one, Page)]
    assert [one.url for one in pages] == ["http://a.example/"] * 2


@pytest.mark.parametrize(
    "date", ["zzz", "9999-99-99", "2026-13-01", "2026-02-30T00:00:00Z", "26", "２０２６", "2026Z"]
)
def test_what_is_no_date_is_refused(tmp_path, date):
    bad = gzip.compress(changed(b": 2026", f": {date}".encode()))
    found = outcome(tmp_path / "x.wet.gz", GOOD[0] + bad + GOOD[1])
    assert found[1] == "invalid_timestamp"
    assert len(found) == 3


@pytest.mark.parametrize("version", [b"WARC/1.0", b"WARC/1.1", b"WARC/1.9"])
def test_a_wrong_length_never_joins_two_pages(tmp_path, version):
    joined = record("b", b"Karibu" * 9, length=300) + record("c", b"Kwaheri" * 99)
    content = (joined + PLAIN).replace(b"WARC/1.0", version)
    assert outcome(tmp_path / "x.wet", content)[0] == "holds_another_record"
    assert outcome(tmp_path / "x.wet", content)[-1] == "Habari"


@pytest.mark.parametrize(
    "length", [b"", b" ", b"-6", b"6.0", b"0x6", b"6 6", b"\xd9\xa6", b"9" * 30]
)
def test_a_length_that_is_no_number_is_none(tmp_path, length):
    bad = gzip.compress(changed(b"Content-Length: 6", b"Content-Length: " + length))
    found = outcome(tmp_path / "x.wet.gz", GOOD[0] + bad + GOOD[1])
    assert found[1] == "no_content_length"
    assert len(found) == 3


def test_two_lengths_are_none(tmp_path):
    twice = changed(b"Content-Length: 6", b"Content-Length: 6\r\ncontent-length: 5")
    assert outcome(tmp_path / "x.wet.gz", gzip.compress(twice)) == ["no_content_length"]
    same = changed(b"Content-Length: 6", b"Content-Length: 6\r\nContent-Length: 6")
    assert outcome(tmp_path / "x.wet.gz", gzip.compress(same)) == ["Habari"]


def test_a_page_whose_checksum_fails_is_no_page(tmp_path):
    damaged = GOOD[1][:-8] + bytes([GOOD[1][-8] ^ 1]) + GOOD[1][-7:]
    found = outcome(tmp_path / "x.wet.gz", GOOD[0] + damaged + GOOD[2])
    assert [found[0][:8], found[1], found[2][:8]] == ["Habari 0", "unreadable", "Habari 2"]


def test_an_archive_cut_in_the_last_checksum_is_truncated(tmp_path):
    found = outcome(tmp_path / "x.wet.gz", GOOD[0] + GOOD[1][:-3])
    assert found[1:] == ["truncated"]


def body(seed: int) -> bytes:
    letters = random.Random(seed)
    return "".join(letters.choice("абвгд ежзик\n") for _ in range(2000)).encode()


def record_web_archive(
    name: str, *, content: bytes = b"", length: int | str | None = None, **headers
) -> bytes:
    content = content or body(ord(name[0]))
    fields = {
        "WARC-Type": "conversion",
        "WARC-Target-URI": f"http://{name}.example/",
        "WARC-Date": "2026-01-01T00:00:00Z",
        "Content-Length": len(content) if length is None else length,
    } | {key.replace("_", "-"): value for key, value in headers.items()}
    lines = "".join(f"{key}: {value}\r\n" for key, value in fields.items() if value is not None)
    return f"WARC/1.0\r\n{lines}\r\n".encode() + content + b"\r\n\r\n"


def member_web_archive(*args, **kwargs) -> bytes:
    return gzip.compress(record_web_archive(*args, **kwargs), mtime=0)


A, B, C = member_web_archive("a"), member_web_archive("b"), member_web_archive("c")


def outcome_web_archive(path: Path, content: bytes) -> list[str | tuple[int, str]]:
    path.write_bytes(content)
    return [
        one.url[7] if isinstance(one, Page) else (one.offset, one.reason)
        for one in read_web_archive(path)
    ]


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
        (A + member_web_archive("b", length=10**6) + C, ["a", (len(A), "truncated"), "c"]),
        (
            A + member_web_archive("b", length=10) + C,
            ["a", "b", (len(A), "longer_than_declared"), "c"],
        ),
        (
            A + member_web_archive("b", Content_Length=None) + C,
            ["a", (len(A), "no_content_length"), "c"],
        ),
        (A + member_web_archive("b", WARC_Target_URI=None) + C, ["a", (len(A), "no_url"), "c"]),
        (A + member_web_archive("b", WARC_Date=None) + C, ["a", (len(A), "no_timestamp"), "c"]),
        (
            A + member_web_archive("b", WARC_Type="response") + C,
            ["a", (len(A), "not_a_conversion"), "c"],
        ),
        (A + member_web_archive("b", content=b"caf\xe9") + C, ["a", (len(A), "invalid_utf8"), "c"]),
        (A + member_web_archive("b", content=b" \n \n") + C, ["a", (len(A), "no_text"), "c"]),
        (member_web_archive("i", WARC_Type="warcinfo") + A, ["a"]),
        (gzip.compress(record_web_archive("a") + record_web_archive("b"), mtime=0), ["a", "b"]),
        (b"no archive at all\n", [(0, "unreadable")]),
        (b"", [(0, "truncated")]),
    ],
)
def test_a_loss_is_one_broken_record_and_the_rest_survives(tmp_path, content, expected):
    assert outcome_web_archive(tmp_path / "x.wet.gz", content) == expected


@pytest.mark.parametrize(
    "parts, expected",
    [
        ([record_web_archive("a"), record_web_archive("b")], ["a", "b"]),
        (
            [record_web_archive("a"), b"garbage\r\n\r\n", record_web_archive("b")],
            ["a", "unreadable", "b"],
        ),
        ([record_web_archive("a"), record_web_archive("b")[:-500]], ["a", "truncated"]),
        (
            [
                record_web_archive("a"),
                record_web_archive("b", length=len(body(98)) + 700),
                record_web_archive("c"),
                record_web_archive("d"),
            ],
            ["a", "holds_another_record", "unreadable", "d"],  # c lies in what b claims
        ),
    ],
)
def test_plain_files_survive_too(tmp_path, parts, expected):
    found = outcome_web_archive(tmp_path / "x.wet", b"".join(parts))
    assert [one if isinstance(one, str) else one[1] for one in found] == expected


@settings(max_examples=60)
@given(st.integers(0, len(A + B + C) - 1), st.integers(1, 255), st.booleans())
def test_damaged_bytes_never_raise_and_harm_only_their_record(tmp_path_factory, at, flip, cut):
    whole = A + B + C
    # A bit of the last codes may make a member run on into the next one, to an end that fits there.
    assume(cut or not any(end - 100 <= at < end for end in (len(A), len(A + B))))
    damaged = whole[:at] if cut else whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :]
    path = tmp_path_factory.getbasetemp() / "damaged.wet.gz"
    urls = [one for one in outcome_web_archive(path, damaged) if isinstance(one, str)]
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
    path.write_bytes(member_web_archive("a", WARC_Identified_Content_Language=header))
    (page,) = read_web_archive(path)
    assert isinstance(page, Page)
    assert page.declared_language == code


def test_a_plain_archive_holds_the_pages_of_the_compressed_one(tmp_path):
    members = b"".join(member_web_archive(name) for name in "abc")
    packed, plain = tmp_path / "x.warc.wet.gz", tmp_path / "x.warc.wet"
    packed.write_bytes(members)
    plain.write_bytes(gzip.decompress(members))
    assert [one.url for one in read_web_archive(plain) if isinstance(one, Page)] == [
        f"http://{name}.example/" for name in "abc"
    ]
    assert list(read_web_archive(plain)) == list(read_web_archive(packed))


HTML = [html_archive(pages_in(SMALL)[:count]) for count in (1, 2)]
FORMATS = {
    "x.warc.gz": HTML[0],
    "x.warc": gzip.decompress(HTML[0]),
    "cut.warc": gzip.decompress(HTML[1])[:-900],  # in the second response
    "x.warc.wet": record_web_archive("a"),
    "x.warc.wat.gz": member_web_archive("a", WARC_Type="metadata", content=b'{"Container": {}}'),
    "x.arc.gz": gzip.compress(ARC, mtime=0),
} | {path.name: path.read_bytes() for path in (BESIDE / "web/fixtures").glob("*")}


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_holds_its_own_pages_and_does_the_other_reader_no_harm(tmp_path, name):
    (tmp_path / name).write_bytes(FORMATS[name])
    text, html = list(read_web_archive(tmp_path / name)), list(read_html(tmp_path / name))
    assert all(isinstance(one, Page | BrokenRecord) for one in [*text, *html])
    assert sum(isinstance(one, Page) for one in text) == (".wet" in name)
    assert sum(isinstance(one, Page) for one in html) == name.endswith((".warc", ".warc.gz"))
