"""Personal data in pages: where e-mail addresses, public IP addresses and numbers of persons stand.

Kinds are e-mail addresses, public IP addresses, telephone numbers and national numbers of persons.
Names, postal addresses and everything else that only a reader recognizes are not found. Masking
puts other words in the place of what is found.

An e-mail address is one of RFC 5321 as people write it, in ASCII or internationalized (RFC 6531)
in scripts with spaces between words. In other scripts only its ASCII form is found, as no
space shows where a name begins. Addresses in domains that RFC 2606 reserves belong to nobody.

IP addresses are those of datatrove's formatter (`ipaddress`: public ones), of version 4 and also of
version 6, but none within a longer number: 1.2.3.4.5 is a version. Four numbers below 40 are
taken for a section or a version. The six public addresses that datatrove writes in place of others
do not count. Numbers of persons are those of `personal_numbers`.

Digits of every script count. Spans do not overlap: an e-mail address goes before an IP address,
that before a national number, and a telephone number comes last. What stands beside a span may be
found only once that is masked, so the text around each is searched again until nothing more
appears. Masked pages hold no data of the masked kinds, so masking them again changes nothing.
"""

import ipaddress
import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Sequence

import pyarrow as pa
import regex

from data.curation.personal_numbers import (
    EMAIL,
    IP,
    KINDS,
    NATIONAL_NUMBER,
    PHONE,
    Span,
    blank_out,
    dense_places,
    disjoint_spans,
    national_numbers,
    telephone_numbers,
    with_ascii_digits,
    with_margin,
)

LOCAL, DOMAIN = 64, 255  # longest parts, RFC 5321
LATIN = r"\p{Latin}0-9"
OTHER = (
    r"[[\p{L}\p{M}\p{Nd}]--[\p{Latin}\p{Han}\p{Hira}\p{Kana}\p{Bopo}\p{Line_Break=Complex_Context}"
    r"0-9]]"
)
NAME_BEFORE = regex.compile(
    rf"""(?: (?<![{LATIN}_]) [{LATIN}_][{LATIN}_.%+&'-]*+
           | (?<![{LATIN}_]|{OTHER}) {OTHER}(?:[_.-]|{OTHER})*+ ) (?<!\.)\Z""",
    regex.V1 | regex.X,
)
AT_DOMAIN = regex.compile(
    rf"""@ (?: (?: [{LATIN}](?:[{LATIN}-]*[{LATIN}])?\. )+
                 (?: xn--[a-z0-9-]{{2,59}} | \p{{Latin}}{{2,24}} ) (?![{LATIN}])
             | (?: {OTHER}(?:-|{OTHER})*+\. )+ {OTHER}{{2,}}+ (?![{LATIN}])
             | \[(?:[0-9]{{1,3}}\.){{3}}[0-9]{{1,3}}\] )""",
    regex.V1 | regex.X,
)
A_DOMAIN = regex.compile(r"@(?:\[|[\p{L}\p{N}][^\s@.]{0,62}\.)")  # its beginning; excludes "@user"
RESERVED = re.compile(r"[@.](?:example(?:\.(?:com|net|org))?|test|invalid|localhost|local)$", re.I)
# What follows the last dot where @ is part of a file's name: icon@2x.png.
FILES = re.compile(r"\.(?:png|jpe?g|gif|svg|webp|bmp|ico|pdf|css|js|html?|php)$", re.I)
REPLACED_IPS = (  # datatrove 0.10.1, `PIIFormatter`
    "22.214.171.124", "126.96.36.199", "188.8.131.52", "184.108.40.206", "220.127.116.11",
    "18.104.22.168",
)  # fmt: skip
# First a literal, then the whole: patterns that begin with one are searched ten times as fast.
MAY_HOLD_VERSION_4 = re.compile(r"\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]")
MAY_HOLD_VERSION_6 = re.compile(r":[0-9A-Fa-f]{0,4}:")
VERSION_4 = re.compile(
    r"[0-9](?<![0-9A-Za-z_.].)(?<![A-Za-z]-.)[0-9]{0,2}(?:\.[0-9]{1,3}){3}"
    r"(?![0-9A-Za-z_]|\.[0-9])"
)
VERSION_6 = re.compile(  # of "2600:1406::8888: is", the last colon belongs to the sentence
    r"[23](?<![0-9A-Za-z:.].)[0-9A-Fa-f]{3}:[0-9A-Fa-f:]{1,34}(?:[0-9A-Fa-f]|(?<=:):)"
    r"(?![0-9A-Za-z]|:[0-9A-Fa-f:])"
)
# IANA's registries of special addresses, as in Python 3.13; older patches of `ipaddress` differ.
_SPECIAL = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 "
    "192.0.2.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4 "
    "2001::/23 2001:db8::/32 2002::/16"
)
_PUBLIC_WITHIN = (
    "192.0.0.9/32 192.0.0.10/32 2001:1::1/128 2001:1::2/128 2001:3::/32 2001:4:112::/48 "
    "2001:20::/28 2001:30::/28"
)
SPECIAL, PUBLIC_WITHIN = (
    tuple(map(ipaddress.ip_network, networks.split())) for networks in (_SPECIAL, _PUBLIC_WITHIN)
)
# 6.3.4.2 is a section and 2.6.18.1 a version; of random addresses 1 in 1,700 is as small.
SMALL = 40
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
    rows = [[span._asdict() for span in find_spans(text, language)] for text in texts]
    return pa.array(rows, SPANS)


def find_spans(text: str, language: str) -> list[Span]:
    """Returns the personal data of one page, in order."""
    spans = _search(text, language)
    characters, latest = list(text) if spans else [], spans
    while latest:
        for begin, end, _ in latest:
            characters[begin:end] = "<" * (end - begin)
        places = [(span.begin, span.end) for span in sorted(latest)]
        latest = [
            span
            for begin, end in with_margin(places, REACH, len(characters))
            for span in _search_around(characters, begin, end, language)
        ]
        spans += latest
    return sorted(spans)


def _search_around(
    characters: Sequence[str], begin: int, end: int, language: str
) -> Iterator[Span]:
    """Yields the spans in a place, from a search with `REACH` more characters around it."""
    first, last = max(begin - REACH, 0), min(end + REACH, len(characters))
    for span in _shift(_search("".join(characters[first:last]), language), first):
        if begin <= span.begin and span.end <= end:
            yield span


def _search(text: str, language: str) -> list[Span]:
    """Returns the spans of one pass over a text, in order."""
    shaped = []
    if "@" in text:
        # A replacement is not part of a name beside it: two may stand on both sides of a dot.
        shaped += email_addresses(blank_out(text, list(_replaced_emails(text))))
    shaped += ip_addresses(blank_out(text, [span for span, _ in shaped]))
    personal = [span for span, is_personal in shaped if is_personal]
    rest = blank_out(text, [span for span, _ in shaped])
    return disjoint_spans([*personal, *_numbers(rest, language)])


def _replaced_emails(text: str) -> Iterator[Span]:
    """Yields rows of two replacements or more, up to the last that ends as a domain does."""
    for row in ROW_OF_EMAILS.finditer(text):
        ends = (end for end in reversed(row.ends(1)) if DOMAIN_ENDS.match(text, end))
        if (end := next(ends, None)) is not None:
            yield Span(row.start(), end, EMAIL)


def email_addresses(text: str) -> Iterator[tuple[Span, bool]]:
    """Yields texts in the form of an e-mail address, and whether it may be a person's."""
    done, at = 0, text.find("@")
    while at >= 0:
        name = domain = None
        if A_DOMAIN.match(text, at):
            name = NAME_BEFORE.search(text, max(at - LOCAL, done), at)
            domain = name and AT_DOMAIN.match(text, at, min(at + DOMAIN, len(text)))
        done = at + 1  # no name goes on over the next @
        if name and domain:
            done = domain.end()
            is_personal = not (RESERVED.search(domain[0]) or FILES.search(domain[0]))
            yield Span(name.start(), done, EMAIL), is_personal
        at = text.find("@", done)


def ip_addresses(text: str) -> Iterator[tuple[Span, bool]]:
    """Yields texts in the form of an IP address, and whether it is a public one.

    Digits of other scripts do not count, as `ipaddress` refuses them.
    """
    patterns = [
        pattern
        for prefilter, pattern in (
            (MAY_HOLD_VERSION_4, VERSION_4), (MAY_HOLD_VERSION_6, VERSION_6)
        ) if prefilter.search(text)
    ]  # fmt: skip
    for pattern in patterns:
        for match in pattern.finditer(text):
            is_public = _is_public(match[0])
            if is_public is not None:
                yield Span(*match.span(), IP), is_public and match[0] not in REPLACED_IPS


def _is_public(text: str) -> bool | None:
    """Returns whether an address is public; None if it is not an address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    is_special = any(address in network for network in SPECIAL)
    if is_special and not any(address in network for network in PUBLIC_WITHIN):
        return False
    return address.version == 6 or max(address.packed) >= SMALL


def _numbers(text: str, language: str) -> Iterator[Span]:
    """Yields national numbers, and then the telephone numbers beside them."""
    for begin, end in dense_places(text):
        place = with_ascii_digits(text[begin:end])
        numbers = list(national_numbers(place, language))
        yield from _shift(numbers, begin)
        yield from _shift(telephone_numbers(blank_out(place, numbers), language), begin)


def _shift(spans: Iterable[Span], by: int) -> Iterator[Span]:
    return (Span(span.begin + by, span.end + by, span.kind) for span in spans)


def mask(texts: Sequence[str], spans: pa.ListArray, kinds: Collection[str] = KINDS) -> list[str]:
    """Returns the pages with replacements for personal data of some kinds.

    Args:
        texts: the pages.
        spans: what `personal_data` returned for them.
        kinds: kinds that are replaced.
    """
    return [
        _mask_page(text, row, kinds) if row else text
        for text, row in zip(texts, spans.to_pylist(), strict=True)
    ]


def _mask_page(text: str, spans: list[dict], kinds: Collection[str]) -> str:
    words = {kind: itertools.cycle(REPLACEMENTS[kind]) for kind in kinds}
    parts, done = [], 0
    for span in spans:
        if span["kind"] in words:
            parts += [text[done : span["begin"]], next(words[span["kind"]])]
            done = span["end"]
    return "".join([*parts, text[done:]])
