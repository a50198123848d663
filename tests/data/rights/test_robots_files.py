import gzip
import json
from collections import Counter

import pytest

from data.errors import DataError
from data.rights.robots_files import MOST_BYTES, Robots, check_robots_file, read_robots

RULES = "User-agent: *\nDisallow: /é\n"


def archive(records) -> bytes:
    """Returns a WARC file of responses: address, status line, headers, body."""
    return b"".join(gzip.compress(record(*one)) for one in records)


def record(url, status, headers, body) -> bytes:
    http = "".join([f"HTTP/1.1 {status}\r\n", *(f"{name}: {value}\r\n" for name, value in headers)])
    message = http.encode() + b"\r\n" + body
    fields = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\n"
        f"WARC-Date: 2026-01-02T03:04:05Z\r\nContent-Length: {len(message)}\r\n\r\n"
    )
    return fields.encode() + message + b"\r\n\r\n"


def test_an_archive_holds_the_robots_txt_of_hosts(tmp_path):
    plain = [("Content-Type", "text/plain")]
    compressed = [*plain, ("Content-Encoding", "gzip")]
    records = [
        ("https://A.example:443/robots.txt", "200 OK", plain, RULES.encode()),
        ("http://b.example:8080/robots.txt?x", "200 OK", compressed, gzip.compress(RULES.encode())),
        ("https://c.example/robots.txt", "404 Not Found", plain, b"<html>"),
        ("https://d.example/robots.txt", "503 Busy", plain, b""),
        ("https://e.example/robots.txt", "301 Moved", [("Location", "/")], b""),
        ("https://f.example/a/robots.txt", "200 OK", plain, RULES.encode()),
        ("https://g.example/robots.txt", "200 OK", plain, b"Allow: /\xff"),
    ]
    path = tmp_path / "robots.warc.gz"
    path.write_bytes(archive(records))
    time = "2026-01-02T03:04:05.000000"
    assert list(read_robots(str(path))) == [
        Robots(time, False, RULES, "a.example"),
        Robots(time, False, RULES, "b.example:8080"),
        Robots(time, False, "", "c.example"),
        Robots(time, True, "", "d.example"),
        Robots(time, False, "Allow: /\ufffd", "g.example"),
    ]


def test_a_host_that_redirects_has_the_rules_it_leads_to(tmp_path):
    """RFC 9309, 2.3.1.2; by another scheme alone, both records are of one host."""

    def moved(url, target):
        return url, "301 Moved", [("Location", target)], b""

    hops = [
        moved(f"https://{n}.example/robots.txt", f"//{n + 1}.example/robots.txt") for n in range(7)
    ]
    records = [
        moved("https://blog.example/robots.txt", "https://www.example/robots.txt"),
        ("https://www.example/robots.txt", "200 OK", [], RULES.encode()),
        moved("https://b.example/robots.txt", "/en/robots.txt"),
        ("https://b.example/en/robots.txt", "200 OK", [], b"Allow: /"),
        moved("http://c.example/robots.txt", "https://c.example/robots.txt"),
        ("https://c.example/robots.txt", "404 Not Found", [], b""),
        moved("https://d.example/robots.txt", "https://elsewhere.example/"),
        moved("https://e.example/robots.txt", "http://[/"),
        moved("https://f.example/robots.txt", "https://g.example/robots.txt"),
        moved("https://g.example/robots.txt", "https://f.example/robots.txt"),
        *hops,
        moved("https://i.example/robots.txt", "https://h.example/robots.txt"),
        moved("http://h.example/robots.txt", "https://elsewhere.example/"),
        ("https://h.example/robots.txt", "200 OK", [], b"Allow: /h"),
        ("https://7.example/robots.txt", "200 OK", [], b"Allow: /7"),
    ]
    path = tmp_path / "robots.warc.gz"
    path.write_bytes(archive(records))
    skipped = Counter()
    found = {one.host: one.content for one in read_robots(str(path), skipped)}
    assert found == {
        "www.example": RULES,
        "blog.example": RULES,
        "b.example": "Allow: /",
        "c.example": "",
        "h.example": "Allow: /h",
        "i.example": "Allow: /h",
        **{f"{n}.example": "Allow: /7" for n in range(2, 8)},  # at most five redirects
    }
    assert skipped == {"redirect_elsewhere": 1}


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_long_file_may_have_any_ends_of_lines(tmp_path, end):
    path = tmp_path / "a.example" / "robots.txt"
    path.parent.mkdir()
    line = f"Disallow: /x{end}"
    path.write_bytes((line * (MOST_BYTES // len(line) + 9)).encode())
    (robots,) = read_robots(str(path))
    assert robots.content == line * (MOST_BYTES // len(line))
    path.write_bytes(b"Disallow: /" + b"x" * MOST_BYTES)
    (robots,) = read_robots(str(path))
    assert len(robots.content) == MOST_BYTES


def test_a_long_file_is_read_to_its_last_whole_line_within_the_limit(tmp_path):
    path = tmp_path / "robots.jsonl"
    line = "Disallow: /" + "x" * 88 + "\n"
    path.write_text(json.dumps({"host": "a.example", "robots": line * 6000}))
    (robots,) = read_robots(str(path))
    assert robots.content == line * (MOST_BYTES // 100)


def test_damaged_and_odd_lines_are_skipped_and_counted(tmp_path):
    lines = [
        b'{"host": "a.example", "robots": null, "status": 404}',
        b'{"host": "b.example", "robots": null, "status": 503, "time": 7}',
        b'{"host": "c.example", "robots": "Allow: /", "status": 301}',
        b"{",
        b"\xff",
        b'{"host": "d.example"}',
        b'{"host": "d.example", "robots": null}',
        b'{"host": "", "robots": ""}',
        b'{"host": "d.example", "robots": "", "status": "200"}',
        b'["d.example", ""]',
        b'{"host": "e.example", "robots": "Allow: /"}',
    ]
    path = tmp_path / "robots.jsonl"
    path.write_bytes(b"\n".join(lines))
    skipped = Counter()
    assert list(read_robots(str(path), skipped)) == [
        Robots("", False, "", "a.example"),
        Robots("", True, "", "b.example"),
        Robots("", False, "Allow: /", "e.example"),
    ]
    assert skipped == {"not_json": 1, "invalid_utf8": 1, "no_robots_txt": 6}
    assert len(list(read_robots(str(path)))) == 3


def test_damage_of_an_archive_is_counted(tmp_path):
    plain = [("Content-Type", "text/plain")]
    records = [
        (f"https://{host}.example/robots.txt", "200 OK", plain, b"Allow: /") for host in "ab"
    ]
    path = tmp_path / "robots.warc.gz"
    path.write_bytes(archive(records)[:-9])
    skipped = Counter()
    assert [robots.host for robots in read_robots(str(path), skipped)] == ["a.example"]
    assert skipped == {"truncated": 1}


@pytest.mark.parametrize("name", ["a.csv", "robots.txt", "a/robots.json", ".//robots.txt", ""])
def test_other_names_are_refused(tmp_path, name):
    path = f"{tmp_path}/{name}" if name.startswith("a") else name
    for check in (check_robots_file, lambda path: list(read_robots(path))):
        with pytest.raises(DataError, match="is none of these"):
            check(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.warc.gz", "a.example/robots.txt"])
def test_a_file_is_checked_before_it_is_read(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(DataError, match="does not exist"):
        check_robots_file(str(path))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    check_robots_file(str(path))
