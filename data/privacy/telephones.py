"""Telephone numbers, as Google's libphonenumber decides (`phonenumbers`).

Numbers with a plus and a country's code are found in every page. Those in national form belong to
the regions of the page's language. They must stand in exactly the groups that libphonenumber writes
them in, or, ten digits or more in a row, begin with the region's trunk prefix. Other integers are
not telephone numbers. So German "030 901820" and "+49 30 901820" are found, and neither "0049 30
901820" nor "0171 123 45 67".

libphonenumber takes a tenth of a millisecond per number and region. So digits in a row are first
compared with the region's numbering plan, which is one regular expression.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from phonenumbers import Leniency, PhoneMetadata, PhoneNumberMatcher

from data.privacy.digits import NOT_GROUPED, NOT_IN_A_WORD
from data.privacy.regions import regions_of
from data.privacy.spans import PHONE, Span

DIGITS = "[0-9](?:[-. ()/]{0,3}[0-9]){6,17}"
AFTER = r"(?![0-9A-Za-z_=%€]|[./\\-][0-9A-Za-z])"
# Neither within a word or an address (text/01/04140000.xhp) nor within a longer number.
CANDIDATE = re.compile(
    NOT_IN_A_WORD
    + rf"(?<![/\\=#&%$€£*~]){NOT_GROUPED}((?:\+ ?\(?|(?<![0-9][-. ])\(?){DIGITS}){AFTER}"
)
# The same right behind a number, of which the lookbehinds must not take the last digit for a part.
NEXT = re.compile(rf"[-. ]{{0,3}}((?:\+ ?)?\(?{DIGITS}){AFTER}")
# What follows a number in its candidate. Without AFTER, which a number found there would change.
REST = re.compile(rf"[-. ]{{0,3}}(\(?{DIGITS})")
TWO = 150  # most characters of two candidates
GROUP_END = re.compile("(?<=[0-9])(?![0-9])")
# Dates, spans of years, postal codes of the form 02110-1301, decimal fractions, payment cards.
NO_NUMBER = re.compile(
    r"\(?(?:19|20)[0-9]{2}(?:[-./ ]{1,3}[0-9]{1,2}(?![0-9])| ?[-/] ?(?:19|20)[0-9]{2}(?![0-9]))"
    r"|[0-3]?[0-9][-./][01]?[0-9][-./](?:19|20)[0-9]{2}"
    r"|[0-9]{5}-[0-9]{4}$|[0-9]{1,3}\.[0-9]{4,}$|[3-6][0-9]{3}(?:[- ][0-9]{4}){3}(?![0-9])"
)
SEPARATED = re.compile("[0-9][-. ()/]+[0-9]")
FEWEST_DIGITS = 7
SHORTEST_PLAIN = 10  # digits of a number without separators
NOT_DIGITS = re.compile("[^0-9]+")


class Plan(NamedTuple):
    """The numbering plan of a region.

    Attributes:
        region: ISO 3166 code.
        numbers: the digits of all numbers in national form.
        trunk: prefix of calls within the region; "" where there is none.
    """

    region: str
    numbers: re.Pattern[str]
    trunk: str


def telephone_numbers(text: str, language: str) -> Iterator[Span]:
    """Yields the telephone numbers of a text, in order.

    Args:
        text: a text in which all digits are ASCII.
        language: code of the page's language.
    """
    yield from _between(text, 0, len(text), None, _plans(regions_of(language)))


def _between(
    text: str, begin: int, end: int, edge: int | None, plans: tuple[Plan, ...]
) -> Iterator[Span]:
    """Yields the numbers of a piece of text, where another one ends at `edge`.

    A found number is a boundary for what stands beside it. Before it, at most the candidate just
    before may then be another one, as AFTER reads two characters. So that one is tried again.
    """
    before = done = begin
    while (candidate := _candidate(text, done, end, edge)) is not None:
        found = _first_number(text, candidate, end, plans)
        if found is None:
            before, done = done, candidate[1]
            continue
        yield from _between(text, before, found[0], edge, plans)
        yield Span(*found, PHONE)
        before = done = edge = found[1]


def _candidate(text: str, begin: int, end: int, edge: int | None) -> tuple[int, int] | None:
    found = NEXT.match(text, begin, end) if begin == edge else None
    found = found or CANDIDATE.search(text, begin, end)
    return None if found is None else found.span(1)


def _first_number(
    text: str, candidate: tuple[int, int], end: int, plans: tuple[Plan, ...]
) -> tuple[int, int] | None:
    """Returns where the first number of a candidate begins and ends, in a text up to `end`."""
    begin, written = candidate[0], text[slice(*candidate)]
    if NO_NUMBER.match(written):
        return None
    found = _number(written, plans)
    if found is None:
        found = _first_of_two(text[begin : min(begin + TWO, end)], len(written), plans)
    return None if found is None else (begin + found[0], begin + found[1])


def _number(written: str, plans: Sequence[Plan]) -> tuple[int, int] | None:
    if written.startswith("+"):
        return _matched(written, None, Leniency.VALID)
    for plan in plans:
        if _may_be_of(plan, written):
            found = _matched(written, plan.region, Leniency.STRICT_GROUPING)
            if found is not None and _may_be_of(plan, written[found[0] : found[1]]):
                return found
    return None


def _first_of_two(text: str, end: int, plans: tuple[Plan, ...]) -> tuple[int, int] | None:
    """Returns the longest number that ends with a group before `end` and has another behind it.

    A number with other digits behind it is a piece of something longer, such as a payment card's.
    """
    ends = [place.start() for place in GROUP_END.finditer(text)]
    for cut in reversed(ends):
        rest = REST.match(text, cut) if cut < end else None
        if rest is not None and _is_number(text[:cut], plans):
            behind = (text[rest.start(1) : last] for last in ends if cut < last <= rest.end())
            if any(_is_number(written, plans) for written in behind):
                return 0, cut
    return None


def _is_number(written: str, plans: tuple[Plan, ...]) -> bool:
    """Returns whether this is one number from its first to its last character."""
    digits = NOT_DIGITS.sub("", written)
    if len(digits) < FEWEST_DIGITS or NO_NUMBER.match(written):
        return False
    likely = [plan for plan in plans if plan.numbers.fullmatch(digits)]
    return _number(written, likely) == (0, len(written))


def _may_be_of(plan: Plan, written: str) -> bool:
    """Returns whether this begins with a number of the plan, written as no plain integer is."""
    digits = NOT_DIGITS.sub("", written)
    is_plain = plan.trunk and digits.startswith(plan.trunk) and len(digits) >= SHORTEST_PLAIN
    is_written_so = is_plain or SEPARATED.search(written) is not None
    return bool(is_written_so and len(digits) >= FEWEST_DIGITS and plan.numbers.match(digits))


def _matched(written: str, region: str | None, leniency: int) -> tuple[int, int] | None:
    found = next(iter(PhoneNumberMatcher(written, region, leniency, max_tries=10)), None)
    return None if found is None else (found.start, found.end)


@functools.cache
def _plans(regions: tuple[str, ...]) -> tuple[Plan, ...]:
    return tuple(_plan(region) for region in regions)


def _plan(region: str) -> Plan:
    metadata = PhoneMetadata.metadata_for_region(region)
    assert metadata is not None, region
    assert metadata.general_desc is not None, region
    trunk = metadata.national_prefix or ""
    return Plan(
        region,
        re.compile(rf"(?:{trunk})?(?:{metadata.general_desc.national_number_pattern})"),
        trunk,
    )
