"""What robots.txt refuses is what Protego refuses, in 10,000 generated cases read from files."""

import itertools
import json
import random

import pytest
from protego import Protego
from robots_of_hosts import RobotsOfHosts

from data.reading.timestamps import sortable
from data.rights.hosts import host_of
from data.rights.robots import MOST_PATTERNS, MOST_RULES, _parsed, refused_by
from data.rights.robots_files import Robots

AGENTS = (
    "CCBot",
    "*",
    "*",
    "c*bot",
    "**",
    "cc",
    "x: y",
    ": ccbot",
    "ccbot",
    "GPTBot",
    "Mozilla/5.0 (compatible; CCBot/2.0)",
    "bot",
    "",
)
FIELDS = (
    "Disallow",
    "Allow",
    "disalow",
    "Dissallow",
    "DISALLOW ",
    "Crawl-delay",
    "Sitemap",
    "Noindex",
)
PIECES = (
    "/", "a", "b", "index.html", "*", "$", "?", "=", "&", "%3D", "%2F", "%2f", "%C3%A9", "é",
    "中文", ".php", "~", "%", "+", " ", "//", "#x", ":8080",
    "http://example.org/", ";", "%41", "-", "A",
)  # fmt: skip
NAMES = ("User-agent", "User-Agent", "useragent", "user agent", "user  agent", " USER\tAGENT")
BETWEEN = (": ", ":", " ", " : ", "\t")


def some(draw: random.Random, pieces: tuple[str, ...], most: int) -> str:
    return "".join(draw.choices(pieces, k=draw.randint(0, most)))


def robots_txt(draw: random.Random) -> str:
    lines = []
    for _ in range(draw.randint(0, 4)):
        agents = draw.choices(AGENTS, k=draw.randint(0, 2))
        lines += [f"{draw.choice(NAMES)}{draw.choice(BETWEEN)}{agent}" for agent in agents]
        lines += [
            f"{draw.choice(FIELDS)}{draw.choice(BETWEEN)}/{some(draw, PIECES, 4)}"
            for _ in range(draw.randint(0, 5))
        ]
        lines.append(draw.choice(["", "# a comment", "what is this", "\ufffd:"]))
    return draw.choice(["\n", "\r\n", "\r"]).join(lines)


def url(draw: random.Random, host: str) -> str:
    scheme, port = draw.choice([("http", ""), ("https", ""), ("http", ":80"), ("https", ":443")])
    host = draw.choice([host, host.upper(), f"user:word@{host}", f"{host}."])
    return f"{scheme}://{host}{port}{draw.choice(['', '/' + some(draw, PIECES, 6)])}"


def test_equals_protego_in_ten_thousand_cases(tmp_path):
    draw, agent = random.Random(25), "CCBot"
    content = {f"host{number}.example": robots_txt(draw) for number in range(1000)}
    rows = [json.dumps({"host": host, "robots": text}) for host, text in content.items()]
    (tmp_path / "robots.jsonl").write_text("\n".join(rows))
    pairs = [(host, url(draw, host)) for host in content for _ in range(10)]
    assert all(host_of(address) == host for host, address in pairs)
    draw.shuffle(pairs)  # parsed files leave the cache and come back
    robots = RobotsOfHosts.read([str(tmp_path / "robots.jsonl")], set(content), agent)
    found = robots.refused([address for _, address in pairs])
    for (host, address), reason in zip(pairs, found, strict=True):
        may = Protego.parse(content[host]).can_fetch(address, agent)
        assert reason == (None if may else "robots_txt"), (content[host], address)
    assert 0.1 < sum(map(bool, found)) / len(found) < 0.9


def test_a_line_of_blanks_is_read_once():
    """For each blank all that follow would be tried: three hours for this file."""
    content = f"user-agent{' ' * 400_000}a: b\nUser-agent: *\nDisallow: /x"
    robots = Robots("", False, content, "a.example")
    assert refused_by(robots, ["a.example/x", "a.example/y"]) == ["robots_txt", None]


@pytest.mark.parametrize("name", ["CCBot/2.0", "ccbot/2.0 (https://commoncrawl.org/faq/)", "CCBOT"])
def test_a_crawler_is_named_with_its_version_too(name):
    content = f"User-agent: {name}\nDisallow: /x\nUser-agent: *\nAllow: /"
    robots = Robots("", False, content, "a.example")
    assert refused_by(robots, ["a.example/x", "a.example/y"]) == ["robots_txt", None]


def test_rules_that_a_group_repeats_are_tried_once_and_too_many_refuse_everything():
    """41,000 repeats took 0.3 s for each long address, and 34,000 rules as long."""
    repeated = Robots("", False, "User-agent: *\n" + "Disallow: /*x\n" * 40_000, "a.example")
    assert refused_by(repeated, ["a.example/x", "a.example/y"]) == ["robots_txt", None]
    for form, most in (("Allow: /*b{}", MOST_PATTERNS), ("Allow: /b{}", MOST_RULES)):
        for rules, reason in ((most, None), (most + 1, "robots_txt")):
            lines = "\n".join(form.format(number) for number in range(rules))
            names = "User-agent: x\nUser-agent: *\nUser-agent: y"
            robots = Robots("", False, f"{names}\n{lines}", "a.example")
            assert refused_by(robots, ["a.example/"]) == [reason]


def test_what_is_no_rule_for_the_crawler_does_not_count():
    many = range(MOST_PATTERNS + 1)
    others = "".join(f"Disallow: /*b{n}\n" for n in many)
    comments = "".join(f"# /*** {n} ***/\n" for n in many)
    content = f"User-agent: Googlebot\n{others}User-agent: *\n{comments}Disallow: /x"
    robots = Robots("", False, content, "a.example")
    assert refused_by(robots, ["a.example/x", "a.example/b1"]) == ["robots_txt", None]


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


def test_rules_are_kept_for_names_of_the_crawler_alone():
    names = "".join(f"User-agent: bot{number}\n" for number in range(200))
    rules = "".join(f"Disallow: /{number}$\n" for number in range(100))
    parsed = _parsed(f"{names}{rules}User-agent: ccbot\nUser-agent: *\n{rules}", "CCBot")
    kept = [len(one._rules) for one in parsed._user_agents.values()]
    assert kept == [200, 200]  # a dollar is an anchor or a character
    assert not parsed.can_fetch("https://a.example/7", "CCBot")


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
