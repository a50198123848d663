"""Block lists and robots.txt files, asked about addresses of every kind."""

import gzip
import json
from pathlib import Path

from damaged_archives import record
from family import Family, Read
from robots_of_hosts import RobotsOfHosts

from data.curation.block_lists import BlockList
from data.curation.robots import ARCHIVES, JSON_LINES

URLS = (
    "https://www.a.example/private/x?y=1", "http://a.example:80/%7Eb/../c", "//a.example",
    "https://user@xn--bcher-kva.example/", "http://bücher.example/ß", "http://[::1/", "",
    "https://a.example/" + "d/" * 900, "http://" + "e." * 900 + "example/", "x\u0000\u202e",
)  # fmt: skip
HOSTS = ("a.example", "xn--bcher-kva.example", "www.a.example")
LIST = "# list\na.example\n*.b.example\n0.0.0.0 c.example\nhttps://a.example/d\nbücher.example/ß\n"
RULES = (
    b"User-agent: *\nDisallow: /private/\nAllow: /*.html$\n\nUser-agent: CCBot\nDisallow: /d*/*?*\n"
    b"Crawl-delay: 10\nSitemap: https://a.example/s.xml\n"
)
ROWS = [
    {"host": host, "robots": RULES.decode(), "status": status, "time": "2026-01-01T00:00:00Z"}
    for host, status in zip(HOSTS, (200, 404, 503), strict=True)
]
ROBOTS_LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
RESPONSE = record("a", b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n" + RULES, "response").replace(
    b"a.example/", b"a.example/robots.txt", 1
)


def block_list(path: Path) -> Read:
    found = BlockList.read([str(path)])
    found.reasons_of(URLS)
    return Read(found.domains.nbytes + found.urls.nbytes, bool(found.set_aside))


def robots(path: Path) -> Read:
    found = RobotsOfHosts.read([str(path)], HOSTS)
    found.reasons_of(URLS)
    return Read(sum(len(one.content) for one in found.of_host.values()), not found.of_host)


FAMILIES = (
    Family(
        name="block list", file="blocked.txt", read=block_list,
        seeds=(LIST.encode(), gzip.compress(LIST.encode())),
    ),
    Family(
        name="robots.txt, JSON lines", file=f"robots{JSON_LINES[0]}", read=robots,
        seeds=(ROBOTS_LINES,),
    ),
    Family(
        name="robots.txt, archive", file=f"robots{ARCHIVES[1]}", read=robots,
        seeds=(gzip.compress(RESPONSE),),
    ),
    Family(
        name="robots.txt of a host", file="a.example/robots.txt", read=robots,
        seeds=(RULES, b"\xef\xbb\xbf" + RULES, RULES.replace(b"\n", b"\r")),
    ),
)  # fmt: skip
