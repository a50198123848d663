"""Which pages their sites' robots.txt refuses to a crawler, as Protego reads it (RFC 9309).

A host without a robots.txt, or with one that is answered by a status 4xx, refuses nothing. One that
is answered by 5xx refuses everything: its owner's wish is not known.

The robots.txt files of a whole crawl do not fit into memory. So they meet the pages by host
(`host_of`) in an engine's shuffle, where `refused_by` decides for each host.

Protego keeps each rule once for each name in its group: 500 kB with 20,000 names and as many rules
would be 400 million. So names that cannot be the crawler's are left out before.
"""

import functools
import re
from collections.abc import Sequence

from protego import Protego

from data.rights.hosts import with_slashes
from data.rights.reasons import ROBOTS_TXT
from data.rights.robots_files import Robots

USER_AGENT = "CCBot"  # Common Crawl's, whose pages most corpora are made of
CACHED = 1024  # parsed files; many hosts have the same one
LONGEST_CACHED = 8 << 10  # characters: rules take 40 times as much memory
# A line with a crawler's name as Protego knows it: before a colon, or else by its first words. The
# repeats give nothing back: a line of 500,000 blanks would take three hours.
NAMED = re.compile(
    r"\s*(?:user-agent|useragent|user agent)\s*:(.*)"
    r"|\s*(?:user-agent|useragent|user\s+agent)\s++([^:]*+(?::\S.*)?)",
    re.DOTALL,
).fullmatch


def refused_by(
    robots: Robots | None, urls: Sequence[str], user_agent: str = USER_AGENT
) -> list[str | None]:
    """Returns "robots_txt" for each address that a robots.txt refuses, None for the others.

    Args:
        robots: robots.txt of the addresses' host; None if it has none.
        urls: addresses on that host.
        user_agent: name of the crawler that asks.
    """
    if robots is not None and robots.failed:
        return [ROBOTS_TXT] * len(urls)
    if robots is None or not robots.content:
        return [None] * len(urls)
    is_short = len(robots.content) <= LONGEST_CACHED
    rules = (_cached if is_short else _parsed)(robots.content, user_agent)
    # Without a scheme, Protego takes the host for a part of the path.
    whole = [with_slashes(url) for url in urls]
    return [None if rules.can_fetch(url, user_agent) else ROBOTS_TXT for url in whole]


def _parsed(content: str, user_agent: str) -> Protego:
    lines = (_without_others(line, user_agent.lower()) for line in content.splitlines())
    return Protego.parse("\n".join(lines))


def _without_others(line: str, agent: str) -> str:
    """Returns a line without another crawler's name, so that it still ends a group."""
    found = NAMED(line.partition("#")[0].strip().lower())
    if found is None:
        return line
    name = (found[1] or found[2] or "").strip()
    return line if name == "*" or name.replace("*", "") in agent else "User-agent:"


_cached = functools.lru_cache(CACHED)(_parsed)
