"""What robots.txt refuses: a table of verdicts, most of them published, and files of attackers."""

import gzip
import itertools
import json
from collections import Counter

import pytest
from robots_of_hosts import RobotsOfHosts

from data.curation.robots import (
    MOST_BYTES,
    MOST_WILDCARDS,
    Robots,
    check_robots_file,
    read_robots,
    refused_by,
    rules_for,
)
from data.errors import DataError
from data.reading.page import sortable

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


@pytest.mark.parametrize(
    ("mark", "text"),
    [
        (b"\xef\xbb\xbf", RULES), (b"\xef\xbb", RULES), (b"\xef", RULES),
        (b"\xef\x11\xbf", f"\x11\ufffd{RULES}"), (b"\xbb\xbf", f"\ufffd\ufffd{RULES}"),
    ],
)  # fmt: skip
def test_a_byte_order_mark_may_lack_its_end(tmp_path, mark, text):
    """As in Google's test `ID_UTF8ByteOrderMarkIsSkipped`."""
    path = tmp_path / "a.example" / "robots.txt"
    path.parent.mkdir()
    path.write_bytes(mark + RULES.encode())
    (robots,) = read_robots(str(path))
    assert robots.content == text


def test_a_text_at_the_end_of_redirects_is_yielded_once_per_host(tmp_path):
    """Each of its records was yielded for each host."""
    moved = [
        (f"https://{n}.example/robots.txt", "301 Moved", [("Location", "//x.example/r")], b"")
        for n in range(30)
    ]
    texts = [("https://x.example/r", "200 OK", [], b"Disallow: /%02d" % n) for n in range(40)]
    path = tmp_path / "robots.warc.gz"
    path.write_bytes(archive([*texts[:20], *moved, *texts[20:]]))
    found = list(read_robots(str(path)))
    assert {one.host: one.content for one in found} == {
        f"{n}.example": "Disallow: /39" for n in range(30)
    }
    assert len(found) == 30
    assert len({id(one.content) for one in found}) == 1  # held once


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


def allowed(content: str, page: str, robot: str = "FooBot") -> bool:
    robots = Robots("", False, content, "foo.bar")
    return refused_by(robots, [f"http://foo.bar{page}"], robot) == [None]


# From the tests of Google's robots.txt parser, and the examples of RFC 9309.
GROUPS = (
    "allow: /foo/bar/\n\nuser-agent: FooBot\ndisallow: /\nallow: /x/\nuser-agent: BarBot\n"
    "disallow: /\nallow: /y/\n\n\nallow: /w/\nuser-agent: BazBot\n\nuser-agent: FooBot\n"
    "allow: /z/\ndisallow: /\n"
)
RFC_AGENTS = (
    "User-Agent: *\nDisallow: *.gif$\nDisallow: /example/\nAllow: /publications/\n\n"
    "User-Agent: foobot\nDisallow:/\nAllow:/example/page.html\nAllow:/example/allowed.gif\n\n"
    "User-Agent: barbot\nUser-Agent: bazbot\nDisallow: /example/page.html\n\n"
    "User-Agent: quxbot\n"
)
GENERAL = "user-agent: *\nallow: /x/page.html\ndisallow: /x/\n\nuser-agent: FooBot\n"


def rules(*lines: str) -> str:
    return "\n".join(("user-agent: FooBot", "disallow: /", *lines))


@pytest.mark.parametrize(
    ("content", "page", "robot", "verdict"),
    [
        ("", "/x", "FooBot", True),
        ("user-agent: FooBot\ndisallow: /", "/x", "FooBot", False),
        ("foo: FooBot\nbar: /", "/x", "FooBot", True),
        ("user-agent FooBot\ndisallow /", "/x", "FooBot", False),  # without colons
        ("USER-AGENT: FooBot\nDisALLOW: /", "/x", "FooBot", False),
        ("user-agent: FOO BAR\ndisallow: /x", "/x", "Foo", False),  # a name ends at a blank
        ("user-agent: foo bar\ndisallow: /x", "/x", "bar", True),
        ("user-agent: *\ndisallow: /\nuser-agent: Foo Bar\nallow: /", "/x", "Foo", True),
        ("user-agent: * baz\ndisallow: /", "/x", "FooBot", False),
        ("disallow: /\nuser-agent: FooBot", "/x", "FooBot", True),  # a rule before all names
        (GROUPS, "/x/b", "FooBot", True),
        (GROUPS, "/z/d", "FooBot", True),
        (GROUPS, "/y/c", "FooBot", False),
        (GROUPS, "/y/c", "BarBot", True),
        (GROUPS, "/w/a", "BarBot", True),
        (GROUPS, "/z/d", "BarBot", False),
        (GROUPS, "/z/d", "BazBot", True),
        (GROUPS, "/foo/bar/", "FooBot", False),
        # Lines of others do not end a group's names.
        ("User-agent: BarBot\nSitemap: y\nUser-agent: *\nDisallow: /", "/x", "BarBot", False),
        ("User-agent: FooBot\nInvalid: x\nUser-agent: *\nDisallow: /", "/x", "FooBot", False),
        ("User-agent: FooBot\nCrawl-delay: 9\nUser-agent: a\nDisallow: /", "/x", "FooBot", False),
        ("User-agent: FooBot\nDisallow:\nUser-agent: a\nDisallow: /", "/x", "FooBot", True),
        # A group of the crawler's own, even without rules, is asked and not that of *.
        (GENERAL, "/x/page.html", "QuxBot", True),
        (GENERAL, "/x/y", "QuxBot", False),
        (GENERAL + "disallow: /y/", "/x/y", "FooBot", True),
        (GENERAL + "disallow: /y/", "/y/", "FooBot", False),
        (GENERAL, "/x/y", "FooBot", True),
        (RFC_AGENTS, "/example/allowed.gif", "FooBot", True),
        (RFC_AGENTS, "/example/other", "FooBot", False),
        (RFC_AGENTS, "/example/page.html", "BazBot", False),
        (RFC_AGENTS, "/example/x", "BarBot", True),
        (RFC_AGENTS, "/example/x", "QuxBot", True),
        (RFC_AGENTS, "/a.gif", "other", False),
        # The longest rule counts, and of equally long ones one that allows.
        ("user-agent: FooBot\ndisallow: /x/page.html\nallow: /x/", "/x/page.html", "FooBot", False),
        ("user-agent: FooBot\nallow: /x/page.html\ndisallow: /x/", "/x/page.html", "FooBot", True),
        ("user-agent: FooBot\ndisallow:\nallow:", "/x", "FooBot", True),
        ("user-agent: FooBot\ndisallow: /\nallow: /", "/x", "FooBot", True),
        ("user-agent: FooBot\ndisallow: /x\nallow: /x/", "/x", "FooBot", False),
        ("user-agent: FooBot\ndisallow: /x\nallow: /x/", "/x/", "FooBot", True),
        ("user-agent: FooBot\nallow: /page\ndisallow: /*.html", "/page.html", "FooBot", False),
        ("user-agent: FooBot\nallow: /x/page.\ndisallow: /*.html", "/x/page.html", "FooBot", True),
        ("user-agent: FooBot\ndisallow: /x/page\nallow: /x/*", "/x/page", "FooBot", False),
        ("user-agent: *\ndisallow: /*/x\nallow: /a/x", "/a/x", "FooBot", True),
        # Characters and their encodings.
        (rules("allow: /foo/bar?qux=taz&baz=http://foo.bar?tar&par"),
         "/foo/bar?qux=taz&baz=http://foo.bar?tar&par", "FooBot", True),
        (rules("allow: /foo/bar/ツ"), "/foo/bar/%E3%83%84", "FooBot", True),
        (rules("allow: /foo/bar/ツ"), "/foo/bar/ツ", "FooBot", True),
        (rules("allow: /foo/bar/%E3%83%84"), "/foo/bar/ツ", "FooBot", True),
        (rules("allow: /foo/bar/%62%61%7A"), "/foo/bar/baz", "FooBot", True),  # as RFC 9309, 2.2.2
        (rules("allow: /foo/bar/%62%61%7A"), "/foo/bar/%62%61%7A", "FooBot", True),
        (rules("allow: /a%3d"), "/a=", "FooBot", True),
        (rules("allow: /a%2fb"), "/a%2Fb", "FooBot", True),
        (rules("allow: /a%2Fb"), "/a/b", "FooBot", False),
        (rules("allow: /a%2A"), "/a*", "FooBot", True),
        (rules("allow: /a%2A"), "/ab", "FooBot", False),
        (rules("allow: /a%24"), "/a$", "FooBot", True),
        (rules("allow: /%ff"), "/%FF", "FooBot", True),
        (rules("allow: /%ff"), "/%FE", "FooBot", False),
        (rules("allow: /100%"), "/100%", "FooBot", True),
        (rules("allow: /SlashFOO"), "/slashfoo", "FooBot", False),
        # Wildcards.
        (rules("allow: /foo/bar*quz"), "/foo/bar/quz/x", "FooBot", True),
        (rules("allow: /foo/bar**quz"), "/foo/barquz", "FooBot", True),
        (rules("allow: /foo/bar*quz"), "/foo/bar/zuq", "FooBot", False),
        (rules("allow: /*a*b*c$"), "/xaybzcc", "FooBot", True),
        (rules("allow: /*a*b*c$"), "/xaybzcd", "FooBot", False),
        (rules("allow: /foo/bar$"), "/foo/bar", "FooBot", True),
        (rules("allow: /foo/bar$"), "/foo/bar/", "FooBot", False),
        (rules("allow: /foo$bar"), "/foo$bar", "FooBot", True),
        (rules("allow: /$"), "/", "FooBot", True),
        (rules("allow: /$"), "", "FooBot", True),
        (rules("allow: /$"), "/?x", "FooBot", False),
        (rules("allow: /foo/bar? # why"), "/foo/bar?", "FooBot", True),
        ("user-agent: FooBot\ndisallow: x", "/x", "FooBot", True),  # never begins a path
        # Who allows the index allows the folder.
        (rules("allow: /a/index.html"), "/a/", "FooBot", True),
        (rules("allow: /a/index.html"), "/a/b", "FooBot", False),
        (rules("allow: /index.html"), "", "FooBot", True),
        (rules(), "/robots.txt", "FooBot", True),
        # Ends of lines, misspellings, and names of crawlers with more than a name.
        ("user-agent: FooBot\rdisallow: /x\r\nallow: /x/y\n", "/x/z", "FooBot", False),
        ("useragent:FooBot\ndissallow : /", "/x", "FooBot", False),
        ("user agent: FooBot\ndisalow /", "/x", "FooBot", False),
        ("user-agent: FooBot/2.0 (https://foo.bar/faq)\ndisallow: /", "/x", "FooBot", False),
        ("user-agent: *FooBot*\ndisallow: /", "/x", "FooBot", False),
        ("user-agent: FooBot-News\ndisallow: /", "/x", "FooBot", True),
        ("user-agent: Foo\ndisallow: /", "/x", "FooBot", True),
        ("user-agent: Mozilla/5.0 (compatible; FooBot/2.0)\ndisallow: /", "/x", "FooBot", True),
        ("user-agent: AI2Bot\ndisallow: /", "/x", "AI2Bot", False),
    ],
)  # fmt: skip
def test_published_and_own_verdicts(content, page, robot, verdict):
    assert allowed(content, page, robot) is verdict


@pytest.mark.parametrize(
    "content",
    [
        "".join(f"User-agent: a*{n}*ccbot\n" for n in range(6_000))
        + "".join(f"Disallow: /{n}$\n" for n in range(12_000)),
        "User-agent: ccbot\nUser-agent: *\nAllow: /\n" * 10_000,
        "User-agent: *\n" + "".join(f"Allow: /b{n}\n" for n in range(30_000)),
        "User-agent: *\nDisallow: /*x\n" + "Disallow: /*x\n" * 30_000,
        "User-agent: *\nAllow: /" + "**" * 200_000 + "b",
        f"user{' ' * 400_000}agent: *\nDisallow: /x",
        f"User-agent{' ' * 400_000}a: b\nUser-agent: *\nDisallow: /x",
    ],
    ids=["names", "groups", "prefixes", "repeats", "stars", "blanks", "blanks after"],
)
def test_what_is_kept_of_a_file_is_no_more_than_its_length(content):
    """Names times rules were kept, and 330 kB took 269 s and 5 GB."""
    found = rules_for(content, "CCBot")
    assert found is not None
    kept = sum(map(len, found.prefixes)) + sum(len("".join(one[2])) for one in found.wildcards)
    assert kept <= len(content)
    assert sum(len(pieces) for *_, pieces in found.wildcards) < 10


def test_rules_of_other_crawlers_are_not_kept():
    names = "".join(f"User-agent: c*{n}bot\n" for n in range(200))
    others = "".join(f"Disallow: /{n}\n" for n in range(100))
    content = f"{names}{others}User-agent: ccbot\nDisallow: /x\nUser-agent: *\n{others}"
    found = rules_for(content, "CCBot")
    assert found is not None
    assert found.prefixes == {"/x": False}


@pytest.mark.parametrize("form", ["Allow: /*b{}", "Allow: /*b*c{}$"])
def test_more_wildcards_than_can_be_tried_refuse_everything(form):
    most = MOST_WILDCARDS // form.count("*")
    for number, verdict in ((most, True), (most + 1, False)):
        lines = "\n".join(form.format(n) for n in range(number))
        assert allowed(f"User-agent: x\nUser-agent: *\nUser-agent: y\n{lines}", "/") is verdict
    comments = "".join(f"# /*** {n} ***/\n" for n in range(most))
    assert allowed(f"User-agent: x\n{lines}\nUser-agent: *\n{comments}", "/")


@pytest.mark.parametrize("failed, reason", [(True, "robots_txt"), (False, None)])
def test_a_failure_refuses_everything_and_no_content_nothing(failed, reason):
    robots = Robots("", failed, "", "a.example")
    assert refused_by(robots, ["https://a.example/x", "https://a.example/"]) == [reason] * 2


def test_hosts_without_robots_refuse_nothing_and_others_do_not_speak_for_them(tmp_path):
    (tmp_path / "a.example").mkdir()
    path = tmp_path / "a.example/robots.txt"
    path.write_bytes("\ufeffUser-agent: *\nDisallow: /".encode())
    robots = RobotsOfHosts.read([str(path)], {"a.example", "b.example"})
    urls = ["http://a.example/x", "https://A.example./", "https://www.a.example/x", "b.example/x"]
    assert robots.reasons_of(urls) == ["robots_txt", "robots_txt", None, None]
    assert refused_by(None, urls) == [None] * 4


@pytest.mark.parametrize("scheme", ["", "http://", "https://"])
def test_rules_of_paths_count_for_addresses_with_and_without_a_scheme(scheme):
    robots = Robots("", False, "User-agent: *\nDisallow: /x", "a.example")
    urls = [f"{scheme}a.example/{path}" for path in ("x", "x/y?z=1", "y", "")]
    assert refused_by(robots, urls) == ["robots_txt", "robots_txt", None, None]


def test_an_address_within_an_address_is_no_scheme():
    robots = Robots("", False, "User-agent: *\nDisallow: /x", "a.example")
    assert refused_by(robots, ["a.example/x?to=http://b.example/"]) == ["robots_txt"]


def test_only_the_hosts_asked_for_are_kept_and_of_several_files_the_newest(tmp_path):
    lines = [
        {"host": "A.example", "robots": "User-agent: *\nDisallow: /", "time": "2026-02-01"},
        {"host": "a.example", "robots": "", "time": "2026-03-01"},
        {"host": "a.example", "robots": "User-agent: *\nDisallow: /", "time": "2026-01-01"},
        {"host": "a.example", "robots": "", "status": 301, "time": "2026-04-01"},
        {"host": "b.example", "robots": ""},
    ]
    for name, some_lines in (("x.jsonl", lines), ("y.jsonl", lines[::-1])):
        (tmp_path / name).write_text("\n".join(map(json.dumps, some_lines)))
        robots = RobotsOfHosts.read([str(tmp_path / name)], ["a.example"])
        assert robots.of_host == {
            "a.example": Robots(sortable("2026-03-01"), False, "", "a.example")
        }
        assert robots.reasons_of(["https://a.example/x"]) == [None]


@pytest.mark.parametrize("times", [("", ""), ("zzz", None), ("2026-03-01", "2026-03-01 00:00Z")])
def test_of_equally_old_files_the_stricter_counts(tmp_path, times):
    rules = "User-agent: *\nDisallow: /x"
    answers = [{"robots": "", "status": 404}, {"robots": rules}, {"robots": None, "status": 503}]
    urls = ["https://a.example/x", "https://a.example/y"]
    refused = [[None, None], ["robots_txt", None], ["robots_txt", "robots_txt"]]
    for first, second in itertools.permutations(range(3), 2):
        rows = [
            {"host": "a.example", "time": time, **answers[one]}
            for time, one in zip(times, (first, second), strict=True)
        ]
        (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
        robots = RobotsOfHosts.read([str(tmp_path / "a.jsonl")], {"a.example"})
        assert robots.reasons_of(urls) == refused[max(first, second)]


def test_a_known_time_is_newer_than_what_is_no_time(tmp_path):
    rows = [
        {"host": "a.example", "robots": None, "status": 500, "time": time}
        for time in ("soon", "9999-99-99", None, 99)
    ]
    rows.insert(2, {"host": "a.example", "robots": "", "time": "2026-03-01T00:00:00+02:00"})
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    robots = RobotsOfHosts.read([str(tmp_path / "a.jsonl")], {"a.example"})
    assert robots.of_host["a.example"].time == sortable("2026-02-28T22:00:00Z")
    assert robots.reasons_of(["http://a.example/"]) == [None]


def test_the_crawler_has_a_name(tmp_path):
    path = tmp_path / "robots.jsonl"
    path.write_text(json.dumps({"host": "a.example", "robots": "User-agent: CCBot\nDisallow: /"}))
    for agent, reason in (("CCBot", "robots_txt"), ("mybot", None)):
        robots = RobotsOfHosts.read([str(path)], {"a.example"}, agent)
        assert robots.reasons_of(["http://a.example/"]) == [reason]
