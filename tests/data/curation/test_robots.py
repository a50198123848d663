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
NO_X = "User-agent: *\nDisallow: /x"


def record(url, status, body=b"", headers="") -> bytes:
    """Returns a response as a member of a WARC file."""
    message = f"HTTP/1.1 {status}\r\n{headers}\r\n".encode() + body
    fields = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\n"
        f"WARC-Date: 2026-01-02T03:04:05Z\r\nContent-Length: {len(message)}\r\n\r\n"
    )
    return gzip.compress(fields.encode() + message + b"\r\n\r\n")


def moved(host, target, scheme="https") -> bytes:
    url = f"{scheme}://{host}.example/robots.txt"
    return record(url, "301 Moved", headers=f"Location: {target}\r\n")


def found_in(tmp_path, name, content, skipped=None) -> list[Robots]:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return list(read_robots(str(path), skipped))


def from_lines(tmp_path, *rows, hosts=("a.example",), agent="CCBot") -> RobotsOfHosts:
    """Returns the robots.txt of hosts from JSON Lines, whose rows are of a.example by default."""
    path = tmp_path / "robots.jsonl"
    path.write_text("\n".join(json.dumps({"host": "a.example"} | row) for row in rows))
    return RobotsOfHosts.read([str(path)], hosts, agent)


def test_an_archive_holds_the_robots_txt_of_hosts(tmp_path):
    zipped = gzip.compress(RULES.encode())
    records = [
        record("https://A.example:443/robots.txt", "200 OK", RULES.encode()),
        record(
            "http://b.example:8080/robots.txt?x", "200 OK", zipped, "Content-Encoding: gzip\r\n"
        ),
        record("https://c.example/robots.txt", "404 Not Found", b"<html>"),
        record("https://d.example/robots.txt", "503 Busy"),
        moved("e", "/"),
        record("https://f.example/a/robots.txt", "200 OK", RULES.encode()),
        record("https://g.example/robots.txt", "200 OK", b"Allow: /\xff"),
        record("https://h.example/robots.txt", "200 OK", b"Allow: /")[:-9],
    ]
    time, skipped = "2026-01-02T03:04:05.000000", Counter()
    assert found_in(tmp_path, "robots.warc.gz", b"".join(records), skipped) == [
        Robots(time, False, RULES, "a.example"),
        Robots(time, False, RULES, "b.example:8080"),
        Robots(time, False, "", "c.example"),
        Robots(time, True, "", "d.example"),
        Robots(time, False, "Allow: /\ufffd", "g.example"),
    ]
    assert skipped == {"redirect_elsewhere": 1, "truncated": 1}


def test_a_host_that_redirects_has_the_rules_it_leads_to(tmp_path):
    """RFC 9309, 2.3.1.2; by another scheme alone, both records are of one host."""
    records = [
        moved("blog", "https://www.example/robots.txt"),
        record("https://www.example/robots.txt", "200 OK", RULES.encode()),
        moved("b", "/en/robots.txt"),
        record("https://b.example/en/robots.txt", "200 OK", b"Allow: /"),
        moved("c", "https://c.example/robots.txt", "http"),
        record("https://c.example/robots.txt", "404 Not Found"),
        moved("d", "https://elsewhere.example/"),
        moved("e", "http://[/"),
        moved("f", "https://g.example/robots.txt"),
        moved("g", "https://f.example/robots.txt"),
        *(moved(str(n), f"//{n + 1}.example/robots.txt") for n in range(7)),
        moved("i", "https://h.example/robots.txt"),
        moved("h", "https://elsewhere.example/", "http"),
        record("https://h.example/robots.txt", "200 OK", b"Allow: /h"),
        record("https://7.example/robots.txt", "200 OK", b"Allow: /7"),
    ]
    skipped = Counter()
    found = found_in(tmp_path, "robots.warc.gz", b"".join(records), skipped)
    assert {one.host: one.content for one in found} == {
        "www.example": RULES,
        "blog.example": RULES,
        "b.example": "Allow: /",
        "c.example": "",
        "h.example": "Allow: /h",
        "i.example": "Allow: /h",
        **{f"{n}.example": "Allow: /7" for n in range(2, 8)},  # at most five redirects
    }
    assert skipped == {"redirect_elsewhere": 1}


def test_a_text_at_the_end_of_redirects_is_yielded_once_per_host(tmp_path):
    """Each of its records was yielded for each host."""
    redirects = [moved(str(n), "//x.example/r") for n in range(30)]
    texts = [record("https://x.example/r", "200 OK", b"Disallow: /%02d" % n) for n in range(40)]
    content = b"".join([*texts[:20], *redirects, *texts[20:]])
    found = found_in(tmp_path, "robots.warc.gz", content)
    assert [one.host for one in found] == [f"{n}.example" for n in range(30)]
    assert {one.content for one in found} == {"Disallow: /39"}
    assert len({id(one.content) for one in found}) == 1  # held once


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_long_file_is_read_to_its_last_whole_line_within_the_limit(tmp_path, end):
    line = f"Disallow: /x{end}"
    content = line * (MOST_BYTES // len(line) + 9)
    whole = line * (MOST_BYTES // len(line))
    (robots,) = found_in(tmp_path, "a.example/robots.txt", content.encode())
    assert robots.content == whole
    assert from_lines(tmp_path, {"robots": content}).of_host["a.example"].content == whole
    (robots,) = found_in(tmp_path, "a.example/robots.txt", b"Disallow: /" + b"x" * MOST_BYTES)
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
    (robots,) = found_in(tmp_path, "a.example/robots.txt", mark + RULES.encode())
    assert robots.content == text


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
    skipped = Counter()
    assert found_in(tmp_path, "robots.jsonl", b"\n".join(lines), skipped) == [
        Robots("", False, "", "a.example"),
        Robots("", True, "", "b.example"),
        Robots("", False, "Allow: /", "e.example"),
    ]
    assert skipped == {"not_json": 1, "invalid_utf8": 1, "no_robots_txt": 6}
    assert len(found_in(tmp_path, "robots.jsonl", b"\n".join(lines))) == 3


@pytest.mark.parametrize("name", ["/a.csv", "robots.txt", "/a/robots.json", ".//robots.txt", ""])
def test_other_names_are_refused(tmp_path, name):
    path = f"{tmp_path}{name}" if name.startswith("/") else name
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


@pytest.mark.parametrize(
    ("content", "page", "robots", "verdict"),
    [
        ("", "/x", "FooBot", True),
        ("foo: FooBot\nbar: /", "/x", "FooBot", True),
        ("user-agent: FOO BAR\ndisallow: /x", "/x", "Foo", False),  # a name ends at a blank
        ("user-agent: foo bar\ndisallow: /x", "/x", "bar", True),
        ("user-agent: *\ndisallow: /\nuser-agent: Foo Bar\nallow: /", "/x", "Foo", True),
        ("user-agent: * baz\ndisallow: /", "/x", "FooBot", False),
        ("disallow: /\nuser-agent: FooBot", "/x", "FooBot", True),  # a rule before all names
        (GROUPS, "/x/b", "FooBot", True),
        (GROUPS, "/z/d", "FooBot BazBot", True),
        (GROUPS, "/y/c", "FooBot", False),
        (GROUPS, "/y/c", "BarBot", True),
        (GROUPS, "/w/a", "BarBot", True),
        (GROUPS, "/z/d", "BarBot", False),
        (GROUPS, "/foo/bar/", "FooBot", False),
        # Lines of others do not end a group's names.
        ("User-agent: BarBot\nSitemap: y\nUser-agent: *\nDisallow: /", "/x", "BarBot", False),
        ("User-agent: FooBot\nCrawl-delay: 9\nUser-agent: a\nDisallow: /", "/x", "FooBot", False),
        ("User-agent: FooBot\nDisallow:\nUser-agent: a\nDisallow: /", "/x", "FooBot", True),
        # A group of the crawler's own, even without rules, is asked and not that of *.
        (GENERAL, "/x/page.html", "QuxBot", True),
        (GENERAL, "/x/y", "QuxBot", False),
        (GENERAL, "/x/y", "FooBot", True),
        (GENERAL + "disallow: /y/", "/x/y", "FooBot", True),
        (GENERAL + "disallow: /y/", "/y/", "FooBot", False),
        (RFC_AGENTS, "/example/allowed.gif", "FooBot", True),
        (RFC_AGENTS, "/example/other", "FooBot", False),
        (RFC_AGENTS, "/example/page.html", "BazBot", False),
        (RFC_AGENTS, "/example/x", "BarBot QuxBot", True),
        (RFC_AGENTS, "/a.gif", "other", False),
        # Ends of lines, misspellings, and names of crawlers with more than a name.
        ("user-agent: FooBot\rdisallow: /x\r\nallow: /x/y\n", "/x/z", "FooBot", False),
        ("user-agent FooBot\ndisallow /", "/x", "FooBot", False),  # without colons
        ("useragent:FooBot\ndissallow : /", "/x", "FooBot", False),
        ("USER AGENT: FooBot\ndisaLOW /", "/x", "FooBot", False),
        ("user-agent: FooBot/2.0 (https://foo.bar/faq)\ndisallow: /", "/x", "FooBot", False),
        ("user-agent: *FooBot*\ndisallow: /", "/x", "FooBot", False),
        ("user-agent: FooBot-News\ndisallow: /", "/x", "FooBot", True),
        ("user-agent: Foo\ndisallow: /", "/x", "FooBot", True),
        ("user-agent: Mozilla/5.0 (compatible; FooBot/2.0)\ndisallow: /", "/x", "FooBot", True),
        ("user-agent: AI2Bot\ndisallow: /", "/x", "AI2Bot", False),
    ],
)  # fmt: skip
def test_published_and_own_verdicts_for_crawlers(content, page, robots, verdict):
    assert {allowed(content, page, robot) for robot in robots.split()} == {verdict}


@pytest.mark.parametrize(
    ("rules", "free", "refused"),
    [
        ("disallow: /", "/robots.txt", "/x"),
        # The longest rule counts, and of equally long ones one that allows.
        ("disallow: /x/page.html\nallow: /x/", "/x/", "/x/page.html"),
        ("allow: /x/page.html\ndisallow: /x/", "/x/page.html", "/x/"),
        ("disallow:\nallow:", "/x", ""),
        ("disallow: /\nallow: /", "/x", ""),
        ("disallow: /x\nallow: /x/", "/x/", "/x"),
        ("allow: /page\ndisallow: /*.html", "/page", "/page.html"),
        ("allow: /x/page.\ndisallow: /*.html", "/x/page.html", "/page.html"),
        ("disallow: /x/page\nallow: /x/*", "/x/", "/x/page"),
        ("disallow: /*/x\nallow: /a/x", "/a/x", "/b/x"),
        ("disallow: x", "/x", ""),  # never begins a path
        # Characters and their encodings.
        ("disallow: /\nallow: /foo/bar?qux=taz&baz=http://foo.bar?tar&par",
         "/foo/bar?qux=taz&baz=http://foo.bar?tar&par", "/foo/bar"),
        ("disallow: /\nallow: /foo/bar/ツ", "/foo/bar/%E3%83%84 /foo/bar/ツ", "/foo/bar/"),
        ("disallow: /\nallow: /foo/bar/%E3%83%84", "/foo/bar/ツ", "/foo/bar/"),
        # As RFC 9309, 2.2.2.
        ("disallow: /\nallow: /foo/bar/%62%61%7A", "/foo/bar/baz /foo/bar/%62%61%7A", "/foo/bar/"),
        ("disallow: /\nallow: /a%3d", "/a=", "/a"),
        ("disallow: /\nallow: /a%2fb", "/a%2Fb", "/a/b"),
        ("disallow: /\nallow: /a%2A", "/a*", "/ab"),
        ("disallow: /\nallow: /a%24", "/a$", "/a"),
        ("disallow: /\nallow: /%ff", "/%FF", "/%FE"),
        ("disallow: /\nallow: /100%", "/100%", "/100"),
        ("disallow: /\nallow: /SlashFOO", "/SlashFOO", "/slashfoo"),
        # Wildcards.
        ("disallow: /\nallow: /foo/bar*quz", "/foo/bar/quz/x", "/foo/bar/zuq"),
        ("disallow: /\nallow: /foo/bar**quz", "/foo/barquz", "/foo/bar"),
        ("disallow: /\nallow: /*a*b*c$", "/xaybzcc", "/xaybzcd"),
        ("disallow: /\nallow: /foo/bar$", "/foo/bar", "/foo/bar/"),
        ("disallow: /\nallow: /foo$bar", "/foo$bar", "/foo"),
        ("disallow: /\nallow: /foo/bar? # why", "/foo/bar?", "/foo/bar"),
        # Who allows the index allows the folder.
        ("disallow: /\nallow: /a/index.html", "/a/", "/a/b"),
    ],
)  # fmt: skip
def test_published_and_own_verdicts_on_paths(rules, free, refused):
    content = f"user-agent: FooBot\n{rules}"
    assert [page for page in free.split() if not allowed(content, page)] == []
    assert [page for page in refused.split() if allowed(content, page)] == []


@pytest.mark.parametrize(("rule", "verdict"), [("/$", True), ("/index.html", True), ("/x", False)])
def test_an_address_without_a_path_is_the_first_page(rule, verdict):
    content = f"user-agent: FooBot\ndisallow: /\nallow: {rule}"
    assert allowed(content, "") is allowed(content, "/") is verdict
    assert not allowed(content, "/?x")


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


@pytest.mark.parametrize("scheme", ["", "http://", "https://"])
def test_rules_of_paths_count_for_addresses_with_and_without_a_scheme(scheme):
    robots = Robots("", False, NO_X, "a.example")
    urls = [f"{scheme}a.example/{path}" for path in ("x", "x/y?z=http://b.example/", "y", "")]
    assert refused_by(robots, urls) == ["robots_txt", "robots_txt", None, None]
    assert refused_by(robots._replace(failed=True, content=""), urls) == ["robots_txt"] * 4
    assert refused_by(robots._replace(content=""), urls) == refused_by(None, urls) == [None] * 4


def test_hosts_without_robots_refuse_nothing_and_others_do_not_speak_for_them(tmp_path):
    rows = [{"robots": "\ufeffUser-agent: *\nDisallow: /"}, {"host": "c.example", "robots": RULES}]
    robots = from_lines(tmp_path, *rows, hosts={"a.example", "b.example"})
    urls = ["http://a.example/x", "https://A.example./", "https://www.a.example/x", "b.example/x"]
    assert robots.reasons_of(urls) == ["robots_txt", "robots_txt", None, None]
    assert robots.of_host.keys() == {"a.example"}


def test_of_several_files_the_newest_counts(tmp_path):
    rows = [
        {"host": "A.example", "robots": NO_X, "time": "2026-02-01"},
        {"robots": "", "time": "2026-03-01T00:00:00+02:00"},
        {"robots": NO_X, "time": "2026-01-01"},
        {"robots": "", "status": 301, "time": "2026-04-01"},
        # A known time is newer than text that names none.
        *({"robots": None, "status": 500, "time": one} for one in ("soon", "9999-99-99", None, 9)),
    ]
    newest = Robots(sortable("2026-02-28T22:00:00Z"), False, "", "a.example")
    for some in (rows, rows[::-1]):
        assert from_lines(tmp_path, *some).of_host == {"a.example": newest}


@pytest.mark.parametrize("times", [("", ""), ("zzz", None), ("2026-03-01", "2026-03-01 00:00Z")])
def test_of_equally_old_files_the_stricter_counts(tmp_path, times):
    answers = [{"robots": "", "status": 404}, {"robots": NO_X}, {"robots": None, "status": 503}]
    urls = ["https://a.example/x", "https://a.example/y"]
    refused = [[None, None], ["robots_txt", None], ["robots_txt", "robots_txt"]]
    for pair in itertools.permutations(range(3), 2):
        rows = [answers[one] | {"time": time} for time, one in zip(times, pair, strict=True)]
        assert from_lines(tmp_path, *rows).reasons_of(urls) == refused[max(pair)]


def test_the_crawler_has_a_name(tmp_path):
    row = {"robots": "User-agent: CCBot\nDisallow: /"}
    for agent, reason in (("CCBot", "robots_txt"), ("mybot", None)):
        robots = from_lines(tmp_path, row, agent=agent)
        assert robots.reasons_of(["http://a.example/"]) == [reason]
