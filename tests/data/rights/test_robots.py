"""What robots.txt refuses: a table of verdicts, most of them published, and files of attackers."""

import itertools
import json

import pytest
from robots_of_hosts import RobotsOfHosts

from data.reading.timestamps import sortable
from data.rights.robots import MOST_WILDCARDS, refused_by, rules_for
from data.rights.robots_files import Robots


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
    assert robots.refused(urls) == ["robots_txt", "robots_txt", None, None]
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
        assert robots.refused(["https://a.example/x"]) == [None]


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
        assert robots.refused(urls) == refused[max(first, second)]


def test_a_known_time_is_newer_than_what_is_no_time(tmp_path):
    rows = [
        {"host": "a.example", "robots": None, "status": 500, "time": time}
        for time in ("soon", "9999-99-99", None, 99)
    ]
    rows.insert(2, {"host": "a.example", "robots": "", "time": "2026-03-01T00:00:00+02:00"})
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    robots = RobotsOfHosts.read([str(tmp_path / "a.jsonl")], {"a.example"})
    assert robots.of_host["a.example"].time == sortable("2026-02-28T22:00:00Z")
    assert robots.refused(["http://a.example/"]) == [None]


def test_the_crawler_has_a_name(tmp_path):
    path = tmp_path / "robots.jsonl"
    path.write_text(json.dumps({"host": "a.example", "robots": "User-agent: CCBot\nDisallow: /"}))
    for agent, reason in (("CCBot", "robots_txt"), ("mybot", None)):
        robots = RobotsOfHosts.read([str(path)], {"a.example"}, agent)
        assert robots.refused(["http://a.example/"]) == [reason]
