"""A span of personal data, and the choice among spans that overlap."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

EMAIL, IP, PHONE, NATIONAL_NUMBER = "email", "ip", "phone", "national_number"
KINDS = (EMAIL, IP, PHONE, NATIONAL_NUMBER)


class Span(NamedTuple):
    """A piece of personal data.

    Attributes:
        begin: index of its first character.
        end: index after its last character.
        kind: one of KINDS.
    """

    begin: int
    end: int
    kind: str


def blanked(text: str, spans: Sequence[Span]) -> str:
    """Returns a text of the same length, in which angle brackets stand for the spans."""
    if not spans:
        return text
    parts, done = [], 0
    for begin, end, _ in sorted(spans):
        parts += [text[done:begin], "<" * (end - max(begin, done))]
        done = max(end, done)
    return "".join([*parts, text[done:]])


def with_margin(
    places: Iterable[tuple[int, int]], margin: int, length: int
) -> Iterator[tuple[int, int]]:
    """Yields the text within a margin of each place, in order and disjoint.

    Args:
        places: begins and ends, in order and disjoint.
        margin: characters on both sides.
        length: characters of the text.
    """
    begin = end = 0
    for first, last in places:
        if first - margin > end:
            if end:
                yield begin, end
            begin = first - margin
        end = min(last + margin, length)
    if end:
        yield begin, end


def disjoint(spans: Iterable[Span]) -> list[Span]:
    """Returns the spans in order, each without those that begin within it."""
    kept: list[Span] = []
    for span in sorted(spans):
        if not kept or span.begin >= kept[-1].end:
            kept.append(span)
    return kept
