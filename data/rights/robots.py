"""Which pages their sites' robots.txt refuses to a crawler, by RFC 9309.

    User-agent: CCBot          a group: the names of crawlers, and rules for them
    Disallow: /private
    Allow: /private/*.html$

Of these rules the longest that matches a path counts, and of equally long ones one that allows.
`/private/a.pdf` is refused, `/private/a.html` and `/a` are not. Groups that name the crawler
count together. If there is none, those of `*` count. So the rules of all other groups are passed
over, and a file is read in time and memory that grow with its length.

Paths and rules are compared in one form of percent-encoding: `%7E` is `~`, `%3d` is `=` and `é`
is `%C3%A9`, but `%2F` does not separate folders. Common misspellings of Disallow and lines without
a colon count, and a rule that allows `/index.html` allows `/`.

A host without a robots.txt, or with one that is answered by a status 4xx, refuses nothing. One that
is answered by 5xx refuses everything: its owner's wish is not known. So does one whose rules have
more than `MOST_WILDCARDS` wildcards, which are all tried on each page.

The robots.txt files of a whole crawl do not fit into memory. So they meet the pages by host
(`host_of`) in an engine's shuffle, where `refused_by` decides for each host.
"""

import functools
import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote

from data.rights.hosts import with_slashes
from data.rights.reasons import ROBOTS_TXT
from data.rights.robots_files import Robots

USER_AGENT = "CCBot"  # Common Crawl's, whose pages most corpora are made of
PRODUCT_TOKEN = re.compile("[A-Za-z0-9_-]+").fullmatch
CACHED = 1024  # parsed files; many hosts have the same one
LONGEST_CACHED = 8 << 10  # characters: rules take 20 times as much memory
MOST_WILDCARDS = 5_000  # 0.01 s per page; as many as fit into 500 kB would take 0.05 s
LINE = re.compile(
    r"(?:(?P<name>user-agent|useragent|user\s+agent)|(?P<allow>allow)"
    r"|disallow|dissallow|dissalow|disalow|diasllow|disallaw)(?:\s*:|\s|$)(?P<value>.*)",
    re.IGNORECASE | re.DOTALL,
).match
ENCODED = re.compile(rb"%[0-9a-fA-F]{2}")
KEPT_ENCODED = (b"%2F", b"%25", b"%2A")  # what a separator, the sign itself and a wildcard are not
INDEX = "/index.html"


class Rules(NamedTuple):
    """The rules for a crawler; a path is compared with `$` at its end.

    Attributes:
        prefixes: whether a rule without wildcards allows, by its beginning of paths.
        lengths: lengths of these, the longest first.
        wildcards: length of each rule with wildcards, whether it allows, and the pieces between
            its wildcards; the one that counts is first.
    """

    prefixes: dict[str, bool]
    lengths: list[int]
    wildcards: list[tuple[int, bool, list[str]]]

    def allow(self, url: str) -> bool:
        """Returns whether a page may be fetched."""
        path = path_of(url)
        if path.partition("?")[0] == "/robots.txt":
            return True
        path += "$"
        fitting = (n for n in self.lengths if n <= len(path) and path[:n] in self.prefixes)
        longest = next(fitting, 0)
        allows = self.prefixes.get(path[:longest], True)
        for length, wildcard_allows, pieces in self.wildcards:
            if (length, wildcard_allows) <= (longest, allows):
                break
            if matches(pieces, path):
                return wildcard_allows
        return allows


def refused_by(
    robots: Robots | None, urls: Sequence[str], user_agent: str = USER_AGENT
) -> list[str | None]:
    """Returns "robots_txt" for each address that a robots.txt refuses, None for the others.

    Args:
        robots: robots.txt of the addresses' host; None if it has none.
        urls: addresses on that host.
        user_agent: product token of the crawler that asks.
    """
    if robots is not None and robots.failed:
        return [ROBOTS_TXT] * len(urls)
    if robots is None or not robots.content:
        return [None] * len(urls)
    is_short = len(robots.content) <= LONGEST_CACHED
    rules = (_cached if is_short else rules_for)(robots.content, user_agent)
    if rules is None:
        return [ROBOTS_TXT] * len(urls)
    return [None if rules.allow(url) else ROBOTS_TXT for url in urls]


def rules_for(content: str, user_agent: str) -> Rules | None:
    """Returns the rules for a crawler; None if those with wildcards are too many to be tried."""
    own: dict[str, bool] | None = None  # of the groups that name the crawler
    general: dict[str, bool] = {}  # of those that name *
    applying: list[dict[str, bool]] = []  # which of the two the current group adds to
    is_named = re.compile(rf"{re.escape(user_agent)}(?![a-z_-])", re.IGNORECASE).match
    has_rules = True  # whether the next name begins a group
    for line in content.replace("\r", "\n").split("\n"):
        found = LINE(line.partition("#")[0].strip())
        if found is None:
            continue
        value = found["value"].strip()
        if found["name"]:
            applying, has_rules = [] if has_rules else applying, False
            if is_named(value.replace("*", "")):
                own = {} if own is None else own
                applying.append(own)
            elif value.split()[:1] == ["*"]:
                applying.append(general)
        else:
            has_rules = True
            if applying and value.startswith(("/", "*")):
                for path in _paths(value, allows=found["allow"] is not None):
                    for rules in applying:
                        rules[path] = rules.get(path, False) or found["allow"] is not None
    return _compiled(general if own is None else own)


def _paths(value: str, *, allows: bool) -> list[str]:
    """Returns the paths that a rule names, in the form in which they are compared."""
    path, anchor = (value[:-1], "$") if value.endswith("$") else (value, "")
    path = re.sub(r"\*+", "*", one_form(path, safe="*")) + anchor
    return [path, path.removesuffix(INDEX) + "/$"] if allows and path.endswith(INDEX) else [path]


def _compiled(rules: dict[str, bool]) -> Rules | None:
    prefixes = {path: allows for path, allows in rules.items() if "*" not in path}
    wildcards = [
        (len(path), allows, path.split("*")) for path, allows in rules.items() if "*" in path
    ]
    if sum(len(pieces) - 1 for *_, pieces in wildcards) > MOST_WILDCARDS:
        return None
    lengths = sorted({len(path) for path in prefixes}, reverse=True)
    return Rules(prefixes, lengths, sorted(wildcards, reverse=True))


def matches(pieces: Sequence[str], path: str) -> bool:
    """Returns whether a path begins with the first piece and has the others in this order.

    A piece that ends with $ is found at the end of the path alone, so the first place of each piece
    is as good as any other, and no place is tried twice.
    """
    if not path.startswith(pieces[0]):
        return False
    end = len(pieces[0])
    for piece in pieces[1:]:
        begin = path.find(piece, end)
        if begin < 0:
            return False
        end = begin + len(piece)
    return True


def path_of(url: str) -> str:
    """Returns path and query of an address in the form in which they are compared with rules."""
    rest = with_slashes(url).partition("#")[0].partition("//")[2]
    host = re.match("[^/?]*", rest)
    path = rest[host.end() if host else 0 :]
    return one_form(path if path.startswith("/") else f"/{path}", safe="")


def one_form(path: str, safe: str) -> str:
    """Returns a path in the one form of percent-encoding of those that are equal."""
    content = path.encode("utf-8", "surrogatepass")
    return quote(ENCODED.sub(_decoded, content), safe=f"/%={safe}")


def _decoded(encoded: re.Match[bytes]) -> bytes:
    known = encoded[0].upper()
    return known if known in KEPT_ENCODED else bytes([int(known[1:], 16)])


_cached = functools.lru_cache(CACHED)(rules_for)
