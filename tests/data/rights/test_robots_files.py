import gzip
import json

import pytest

from data.errors import DataError
from data.rights.robots_files import MOST_BYTES, Robots, read_robots

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
    time = "2026-01-02T03:04:05Z"
    assert list(read_robots(str(path))) == [
        Robots(time, 200, RULES, "a.example"),
        Robots(time, 200, RULES, "b.example:8080"),
        Robots(time, 404, "", "c.example"),
        Robots(time, 503, "", "d.example"),
        Robots(time, 200, "Allow: /\ufffd", "g.example"),
    ]


def test_a_long_file_is_read_to_its_last_whole_line_within_the_limit(tmp_path):
    path = tmp_path / "robots.jsonl"
    line = "Disallow: /" + "x" * 88 + "\n"
    path.write_text(json.dumps({"host": "a.example", "robots": line * 6000}))
    (robots,) = read_robots(str(path))
    assert robots.content == line * (MOST_BYTES // 100)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.csv", "", "is none of these"),
        ("a.jsonl", "{", "byte 0, should be JSON"),
        ("a.jsonl", '{"host": "a.example"}', "robots"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        list(read_robots(str(tmp_path / name)))
