"""Damage as in real crawls: good records survive, losses are counted, memory is bounded."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
from damaged_archives import BAD, GOOD, HTTP, bomb, member, record
from hypothesis import given, settings
from hypothesis import strategies as st

from data.reading import json_lines, parquet_pages, web_archive
from data.reading.page import BrokenRecord, Page
from data.rules.text_rules import too_long


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
              ".jsonl.gz": json_lines.read, ".parquet": parquet_pages.read}[suffix]  # fmt: skip
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
def test_a_plain_archive_is_read_under_either_name_and_an_empty_one_is_empty(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(record("a", b"Habari") + record("b", b"Karibu"))
    assert [one.url for one in read(path) if isinstance(one, Page)] == [
        "http://a.example/",
        "http://b.example/",
    ]
    path.write_bytes(b"")
    assert read(path) == []


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


MEASURE = """
import resource, sys, tracemalloc
from pathlib import Path
from data.reading.json_lines import read as read_lines
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
