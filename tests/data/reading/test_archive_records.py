"""Records as ISO 28500 defines them: each case was read otherwise, or lost, before."""

import gzip
from pathlib import Path

import pytest
from damaged_archives import GOOD, record

from data.reading.page import BrokenRecord, Page
from data.reading.web_archive import read

PLAIN = record("a", b"Habari")


def outcome(path: Path, content: bytes) -> list[str]:
    path.write_bytes(content)
    return [one.reason if isinstance(one, BrokenRecord) else one.text for one in read(path)]


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
    pages = [one for one in read(tmp_path / f"x{suffix}") if isinstance(one, Page)]
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
