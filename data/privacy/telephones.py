"""Telephone numbers, as Google's libphonenumber decides (`phonenumbers`).

Numbers in international form are found in every page. Those in national form belong to the regions
of the page's language, and must be written as numbers of that region are: in its groups, or with
its trunk prefix. A plain integer is no telephone number.

libphonenumber takes a tenth of a millisecond per number and region. So digits in a row are first
compared with the region's numbering plan, which is one regular expression.
"""

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

from phonenumbers import Leniency, PhoneMetadata, PhoneNumberMatcher

from data.privacy.digits import NOT_IN_A_WORD
from data.privacy.regions import regions_of
from data.privacy.spans import PHONE, Span

# Neither within a word or an address (text/01/04140000.xhp) nor within a longer number.
CANDIDATE = re.compile(
    NOT_IN_A_WORD
    + r"(?<![/\\=#&%$€£*,~])(?:\+ ?\(?|(?<![0-9][-. ])\(?)[0-9](?:[-. ()/]{0,3}[0-9]){6,17}"
    r"(?![0-9A-Za-z_=%€]|[./\\-][0-9A-Za-z])"
)
# Dates, spans of years, postal codes of the form 02110-1301, decimal fractions.
NO_NUMBER = re.compile(
    r"\(?(?:19|20)[0-9]{2}(?:[-./ ]{1,3}[0-9]{1,2}(?![0-9])| ?[-/] ?(?:19|20)[0-9]{2}(?![0-9]))"
    r"|[0-3]?[0-9][-./][01]?[0-9][-./](?:19|20)[0-9]{2}"
    r"|[0-9]{5}-[0-9]{4}$|[0-9]{1,3}\.[0-9]{4,}$"
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
    plans = _plans(regions_of(language))
    done = 0
    while (candidate := CANDIDATE.search(text, done)) is not None:
        begin, end = candidate.span()
        found = _first_number(text[begin:end], plans)
        done = end
        if found is not None:
            done = begin + found[1]
            yield Span(begin + found[0], done, PHONE)


def _first_number(written: str, plans: tuple[Plan, ...]) -> tuple[int, int] | None:
    """Returns where the first number of a candidate begins and ends."""
    if written.startswith("+"):
        return _matched(written, None, Leniency.VALID)
    if NO_NUMBER.match(written):
        return None
    for plan in plans:
        if _may_be_of(plan, written):
            found = _matched(written, plan.region, Leniency.STRICT_GROUPING)
            if found is not None and _may_be_of(plan, written[found[0] : found[1]]):
                return found
    return None


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
