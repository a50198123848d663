"""Why a page is refused: by its owner's robots.txt, by its owner's opting out, or by a list."""

from collections.abc import Sequence
from typing import NamedTuple

ROBOTS_TXT = "robots_txt"


class Reasons(NamedTuple):
    """Reasons for pages on a list: the domain is listed, or the page's own address."""

    domain: str
    url: str


BLOCKED = Reasons("blocked_domain", "blocked_url")
OPTED_OUT = Reasons("opted_out", "opted_out")


def first_reasons(*answers: Sequence[str | None]) -> list[str | None]:
    """Returns for each page the first reason that one of several answers has for it."""
    return [next(filter(None, reasons), None) for reasons in zip(*answers, strict=True)]
