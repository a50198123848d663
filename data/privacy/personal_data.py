"""Where personal data stand in pages, and pages with other words in their place.

Kinds are e-mail addresses, public IP addresses, telephone numbers and national numbers of persons.
Names, postal addresses and everything else that only a reader recognizes are not found.

Digits of every script count. Spans do not overlap: an e-mail address goes before an IP address,
that before a national number, and a telephone number comes last. What stands beside a span may be
found only once that is masked, so the text around each is searched again until nothing more
appears. Masked pages hold no data of the masked kinds, so masking them again changes nothing.
"""

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Sequence

import pyarrow as pa
import regex

from data.privacy.addresses import LATIN, REPLACED_IPS, email_addresses, ip_addresses
from data.privacy.digits import dense_places, with_ascii_digits
from data.privacy.national_numbers import national_numbers
from data.privacy.spans import (
    EMAIL,
    IP,
    KINDS,
    NATIONAL_NUMBER,
    PHONE,
    Span,
    blanked,
    disjoint,
    with_margin,
)
from data.privacy.telephones import telephone_numbers

SPANS = pa.list_(pa.struct([("kind", pa.string()), ("begin", pa.int32()), ("end", pa.int32())]))
# Of datatrove's `PIIFormatter`, in turn; it has none for numbers, whose names are presidio's.
REPLACEMENTS = {
    EMAIL: ("email@example.com", "firstname.lastname@example.org"),
    IP: REPLACED_IPS,
    PHONE: ("<PHONE_NUMBER>",),
    NATIONAL_NUMBER: ("<NATIONAL_NUMBER>",),
}
REACH = 150  # characters; two telephone numbers in a row that hide one another have as many
_EMAILS = "|".join(map(re.escape, REPLACEMENTS[EMAIL]))
# Never given back: in `email@example.com.` repeated, each begin would try each end.
ROW_OF_EMAILS = regex.compile(rf"(?:{_EMAILS})(?:[.-]+({_EMAILS}))++")
DOMAIN_ENDS = regex.compile(rf"(?![{LATIN}]|[.-][{LATIN}])")


def personal_data(texts: Sequence[str], language: str) -> pa.ListArray:
    """Returns the personal data of each page, as spans of characters in order.

    Args:
        texts: pages of one language.
        language: its code, which decides whose national forms are looked for.
    """
    rows = [
        [
            {"kind": span.kind, "begin": span.begin, "end": span.end}
            for span in spans_of(text, language)
        ]
        for text in texts
    ]
    return pa.array(rows, SPANS)


def spans_of(text: str, language: str) -> list[Span]:
    """Returns the personal data of one page, in order."""
    found = _search(text, language)
    characters, last = list(text) if found else [], found
    while last:
        for begin, end, _ in last:
            characters[begin:end] = "<" * (end - begin)
        places = [(span.begin, span.end) for span in sorted(last)]
        last = [
            span
            for begin, end in with_margin(places, REACH, len(characters))
            for span in _uncovered(characters, begin, end, language)
        ]
        found += last
    return sorted(found)


def _uncovered(characters: Sequence[str], begin: int, end: int, language: str) -> Iterator[Span]:
    """Yields what a pass finds in a place, of a cut-out with `REACH` more characters around it."""
    first, last = max(begin - REACH, 0), min(end + REACH, len(characters))
    for span in _shifted(_search("".join(characters[first:last]), language), first):
        if begin <= span.begin and span.end <= end:
            yield span


def _search(text: str, language: str) -> list[Span]:
    """Returns what one pass over a text finds, in order."""
    shaped = []
    if "@" in text:
        # A replacement is not part of a name beside it: two may stand on both sides of a dot.
        shaped += email_addresses(blanked(text, list(_replaced_emails(text))))
    shaped += ip_addresses(blanked(text, [span for span, _ in shaped]))
    found = [span for span, is_personal in shaped if is_personal]
    return disjoint([*found, *_numbers(blanked(text, [span for span, _ in shaped]), language)])


def _replaced_emails(text: str) -> Iterator[Span]:
    """Yields rows of two replacements or more, up to the last that ends as a domain does."""
    for row in ROW_OF_EMAILS.finditer(text):
        ends = (end for end in reversed(row.ends(1)) if DOMAIN_ENDS.match(text, end))
        if (end := next(ends, None)) is not None:
            yield Span(row.start(), end, EMAIL)


def masked(texts: Sequence[str], spans: pa.ListArray, kinds: Collection[str] = KINDS) -> list[str]:
    """Returns the pages with replacements for personal data of some kinds.

    Args:
        texts: the pages.
        spans: what `personal_data` returned for them.
        kinds: kinds that are replaced.
    """
    return [
        _masked(text, row, kinds) if row else text
        for text, row in zip(texts, spans.to_pylist(), strict=True)
    ]


def _masked(text: str, spans: list[dict], kinds: Collection[str]) -> str:
    words = {kind: itertools.cycle(REPLACEMENTS[kind]) for kind in kinds}
    parts, done = [], 0
    for span in spans:
        if span["kind"] in words:
            parts += [text[done : span["begin"]], next(words[span["kind"]])]
            done = span["end"]
    return "".join([*parts, text[done:]])


def _numbers(text: str, language: str) -> Iterator[Span]:
    """Yields national numbers, and then the telephone numbers beside them."""
    for begin, end in dense_places(text):
        place = with_ascii_digits(text[begin:end])
        found = list(national_numbers(place, language))
        yield from _shifted(found, begin)
        yield from _shifted(telephone_numbers(blanked(place, found), language), begin)


def _shifted(spans: Iterable[Span], by: int) -> Iterator[Span]:
    return (Span(span.begin + by, span.end + by, span.kind) for span in spans)
