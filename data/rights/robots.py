"""Which pages their sites' robots.txt refuses to a crawler, as Protego reads it (RFC 9309).

A host without a robots.txt, or with one that is answered by a status 4xx, refuses nothing. One that
is answered by 5xx refuses everything: its owner's wish is not known. So does one with more rules
than can be followed (`MOST_RULES`).

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
# Protego tries each rule with * or $ on each address, and all others where one of them matches:
# 0.05 s for 34,000 of the first kind, as many as fit into 500 kB, and 0.009 s for 30,000 of the
# second. With as many as these, a host's 100,000 pages hold a worker for five to ten minutes.
MOST_PATTERNS, MOST_RULES = 2_000, 20_000
OTHERS = "User-agent:"  # in place of another crawler's name
PRODUCT_TOKEN = re.compile("[a-z_-]+").match
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
    if rules is None:
        return [ROBOTS_TXT] * len(urls)
    # Without a scheme, Protego takes the host for a part of the path.
    whole = [with_slashes(url) for url in urls]
    return [None if rules.can_fetch(url, user_agent) else ROBOTS_TXT for url in whole]


def _parsed(content: str, user_agent: str) -> Protego | None:
    """Returns the rules for a crawler; None if they are too many to be followed."""
    lines, group, is_ours = [], set(), False
    rules = patterns = 0
    for line in content.splitlines():
        text = line.partition("#")[0].strip()
        name = _name(text)
        if name is not None:
            named = _without_others(text, name, user_agent.lower())
            is_ours = named != OTHERS or (is_ours and not group)  # names above one group of rules
            group.clear()
            lines.append(named)
        elif text and text not in group:  # a rule that a group repeats would be tried again
            group.add(text)
            lines.append(text)
            rules += is_ours
            patterns += is_ours and ("*" in text or "$" in text)
    if rules > MOST_RULES or patterns > MOST_PATTERNS:
        return None
    return Protego.parse("\n".join(lines))


def _name(text: str) -> str | None:
    """Returns the crawler that a line names in lower case; None for another line."""
    found = NAMED(text.lower())
    return None if found is None else (found[1] or found[2] or "").strip()


def _without_others(text: str, name: str, agent: str) -> str:
    """Returns a line without another crawler's name, so that it still ends a group.

    A name counts up to its first character that a product token cannot have (RFC 9309, 2.2.1).
    """
    token = PRODUCT_TOKEN(name)
    if token and token[0] == agent:
        return f"User-agent: {agent}"
    return text if name == "*" or name.replace("*", "") in agent else OTHERS


_cached = functools.lru_cache(CACHED)(_parsed)
