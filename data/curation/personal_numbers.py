"""Numbers of persons in pages: telephone numbers, and national numbers such as identity cards'.

Telephone numbers are those of Google's libphonenumber. Ones with a plus and a country's code are
found in every page; those in national form belong to the regions where the page's language is
written. These must stand in exactly the groups that libphonenumber writes them in, or, ten digits
or more in a row, begin with the region's trunk prefix. Other integers are not telephone numbers.
So German "030 901820" and "+49 30 901820" are found, and neither "0049 30 901820" nor
"0171 123 45 67".

National numbers are those that python-stdnum checks. `national_numbers.tsv` states per region its
module and the form in which people write the number. Most have check digits, dates or both. A
number of ten digits or fewer whose only evidence is one check digit, such as the Dutch BSN, counts
only with its separators: of random numbers every tenth passes.

Patterns are slow, so they are tried only where a page has digits. libphonenumber takes a tenth of a
millisecond per number and region, so digits in a row are first compared with the region's numbering
plan, which is one regular expression.

Numbers that stand side by side hide one another (`V-12345678-6,V-`): a found one is masked, and
what stands around it is searched again, until nothing more appears.
"""

import functools
import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import regex
from phonenumbers import Leniency, PhoneMetadata, PhoneNumberMatcher

from data import languages, scripts

EMAIL, IP, PHONE, NATIONAL_NUMBER = "email", "ip", "phone", "national_number"
KINDS = (EMAIL, IP, PHONE, NATIONAL_NUMBER)
# Six digits, as in the Mexican RFC; the most characters between two are the three of "12 - 34".
DENSE = regex.compile(r"\d(?:[^\d\n]{0,3}\d){5,}")
MARGIN = 20  # characters before and after: a plus, brackets, letters of a number
# No number begins right after a letter of a script with spaces. Thai, Lao, Burmese, Khmer and East
# Asian letters are left out: there a number follows without a space.
NOT_IN_A_WORD = (
    r"(?<![0-9A-Za-z_])(?<!(?=[^\W_])[\u00c0-\u0dff\u0f00-\u0fff\u10a0-\u177f\u1800-\u1fff])"
)
# Nor after the comma of 1,234,567. A comma behind a word or a longer number ends a cell of a table.
NOT_GROUPED = "".join(rf"(?<!(?<![0-9])[0-9]{{{count}}},)" for count in (1, 2, 3))
# Signs within numbers, one character for one, so that positions stay.
SAME = {
    "-": "‐‑‒–—―−－﹣",
    " ": "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u3000\t",
    "+": "＋﹢", "(": "（", ")": "）", ".": "．", "/": "／",
}  # fmt: skip
DIGITS = "[0-9](?:[-. ()/]{0,3}[0-9]){6,17}"
AFTER = r"(?![0-9A-Za-z_=%€]|[./\\-][0-9A-Za-z])"
# Neither within a word or an address (text/01/04140000.xhp) nor within a longer number. Behind one
# with a plus a word may follow (+44 20 7946 0018Fax).
CANDIDATE = re.compile(
    NOT_IN_A_WORD
    + rf"(?<![/\\=#&%$€£*~]){NOT_GROUPED}"
    + rf"(\+ ?\(?{DIGITS}(?![0-9]|[./\\-][0-9])|(?<![0-9][-. ])\(?{DIGITS}{AFTER})"
)
# A candidate with the digits that AFTER took from it: of 030 1234 5678/Fax it left 030 1234.
WHOLE = re.compile(rf"(?:\+ ?)?\(?{DIGITS}")
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
REST_OF_A_CARD = r"(?<=[3-6][0-9]{3}[ -])[0-9]{4}[ -][0-9]{4}[ -][0-9]{4}(?![0-9])"
BEFORE_NATIONAL = (
    NOT_IN_A_WORD + rf"(?<!\+)(?<![0-9][-./]){NOT_GROUPED}(?<!\+[ (])(?!{REST_OF_A_CARD})"
)
AFTER_NATIONAL = r"(?![0-9A-Za-z_]|[-.,/][0-9])"
LONGEST = 21  # characters of a form: the French one with its spaces
CONTEXT = 5  # most characters that BEFORE and AFTER read outside a number


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


class NumberingPlan(NamedTuple):
    """The numbering plan of a region.

    Attributes:
        region: ISO 3166 code.
        numbers: the digits of all numbers in national form.
        trunk: prefix of calls within the region; "" where there is none.
    """

    region: str
    numbers: re.Pattern[str]
    trunk: str


class NationalNumber(NamedTuple):
    """A kind of number.

    Attributes:
        form: how it is written.
        is_valid: whether digits and letters of that form are such a number.
    """

    form: re.Pattern[str]
    is_valid: Callable[[str], bool]


def dense_places(text: str) -> Iterator[tuple[int, int]]:
    """Returns where six digits or more stand close together, with a margin; in order, disjoint."""
    return with_margin((match.span() for match in DENSE.finditer(text)), MARGIN, len(text))


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


def with_ascii_digits(text: str) -> str:
    """Returns the text with ASCII digits, hyphens and spaces for those of other scripts.

    No character is added or removed.
    """
    return text if text.isascii() else text.translate(_ascii())


@functools.cache
def _ascii() -> dict[int, str]:
    digits = map(chr, scripts.characters_with(r"\p{Nd}").tolist())  # from 0 to 9 in each script
    signs = {other: sign for sign, others in SAME.items() for other in others}
    values = {digit: str(number % 10) for number, digit in enumerate(digits)}
    return str.maketrans(values | signs)


def national_numbers(text: str, language: str) -> Iterator[Span]:
    """Yields the numbers of a language's regions, which do not overlap, as they are found.

    Args:
        text: a text in which all digits are ASCII.
        language: code of the page's language.
    """
    numbers = _numbers_of_regions(regions_of(language))
    characters, places = list(text), [(0, len(text))]
    while places:
        spans = disjoint_spans(
            span for place in places for span in _numbers_near(*place, characters, numbers)
        )
        yield from spans
        for begin, end, _ in spans:
            characters[begin:end] = "<" * (end - begin)
        places = [(span.begin, span.end) for span in spans]


def disjoint_spans(spans: Iterable[Span]) -> list[Span]:
    """Returns the spans in order, each without those that begin within it."""
    kept: list[Span] = []
    for span in sorted(spans):
        if not kept or span.begin >= kept[-1].end:
            kept.append(span)
    return kept


def _numbers_near(
    begin: int, end: int, characters: list[str], numbers: tuple[NationalNumber, ...]
) -> Iterator[Span]:
    """Yields the numbers that a change between two places can have uncovered, form by form."""
    first = max(begin - LONGEST - 2 * CONTEXT, 0)
    text = "".join(characters[first : end + LONGEST + 2 * CONTEXT])
    for number in numbers:
        match = number.form.search(text)
        while match is not None:
            span = Span(first + match.start(), first + match.end(), NATIONAL_NUMBER)
            is_near = span.begin <= end + CONTEXT and span.end >= begin - CONTEXT
            if is_near and _is_valid(number, match[0]):
                yield span
            # Not from its end: "2024 2345 6789 0124" holds an Indian number behind another group.
            match = number.form.search(text, match.start() + 1)


def _is_valid(number: NationalNumber, written: str) -> bool:
    try:
        return number.is_valid(written)
    except LookupError:  # `cn.ric` of python-stdnum 2.2, for a county without a name
        return False


@functools.cache
def _numbers_of_regions(regions: tuple[str, ...]) -> tuple[NationalNumber, ...]:
    numbers = {
        (row["module"], row["form"]): NationalNumber(
            re.compile(f"{BEFORE_NATIONAL}(?:{row['form']}){AFTER_NATIONAL}"),
            importlib.import_module(f"stdnum.{row['module']}").is_valid,
        )
        for row in languages.table_rows("data.curation", "national_numbers.tsv")
        if row["region"] in regions
    }
    return tuple(numbers.values())


def telephone_numbers(text: str, language: str) -> Iterator[Span]:
    """Yields the telephone numbers of a text, in order.

    Args:
        text: a text in which all digits are ASCII.
        language: code of the page's language.
    """
    yield from _between(text, 0, len(text), None, _plans(regions_of(language)))


def _between(
    text: str, begin: int, end: int, edge: int | None, plans: tuple[NumberingPlan, ...]
) -> Iterator[Span]:
    """Yields the numbers of a piece of text, where another one ends at `edge`.

    A found number is a boundary for what stands beside it. Before it, at most the candidate just
    before may then be another one, as AFTER reads two characters. So that one is tried again.
    """
    before = done = begin
    while (candidate := _candidate(text, done, end, edge)) is not None:
        number = _first_number(text, candidate, end, plans)
        if number is None:
            before, done = done, candidate[1]
            continue
        yield from _between(text, before, number[0], edge, plans)
        yield Span(*number, PHONE)
        before = done = edge = number[1]


def _candidate(text: str, begin: int, end: int, edge: int | None) -> tuple[int, int] | None:
    match = NEXT.match(text, begin, end) if begin == edge else None
    match = match or CANDIDATE.search(text, begin, end)
    return match and match.span(1)


def _first_number(
    text: str, candidate: tuple[int, int], end: int, plans: tuple[NumberingPlan, ...]
) -> tuple[int, int] | None:
    """Returns begin and end of the first number of a candidate, in a text up to `end`."""
    begin, written = candidate[0], text[slice(*candidate)]
    if NO_NUMBER.match(written):
        return None
    whole = WHOLE.match(text, begin, end)
    if whole is not None and whole.end() > candidate[1] and _is_number(whole[0], plans):
        return whole.span()
    number = _number(written, plans)
    if number is None:
        number = _first_of_two(text[begin : min(begin + TWO, end)], len(written), plans)
    return None if number is None else (begin + number[0], begin + number[1])


def _number(written: str, plans: Sequence[NumberingPlan]) -> tuple[int, int] | None:
    if written.startswith("+"):
        return _match(written, None, Leniency.VALID)
    for plan in plans:
        if _may_be_in_plan(plan, written):
            number = _match(written, plan.region, Leniency.STRICT_GROUPING)
            if number is not None and _may_be_in_plan(plan, written[slice(*number)]):
                return number
    return None


def _may_be_in_plan(plan: NumberingPlan, written: str) -> bool:
    """Returns whether this begins with a number of the plan, written as no plain integer is."""
    digits = NOT_DIGITS.sub("", written)
    is_plain = plan.trunk and digits.startswith(plan.trunk) and len(digits) >= SHORTEST_PLAIN
    is_written_so = is_plain or SEPARATED.search(written) is not None
    return bool(is_written_so and len(digits) >= FEWEST_DIGITS and plan.numbers.match(digits))


def _match(written: str, region: str | None, leniency: int) -> tuple[int, int] | None:
    match = next(iter(PhoneNumberMatcher(written, region, leniency, max_tries=10)), None)
    return None if match is None else (match.start, match.end)


def _first_of_two(text: str, end: int, plans: tuple[NumberingPlan, ...]) -> tuple[int, int] | None:
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


def _is_number(written: str, plans: tuple[NumberingPlan, ...]) -> bool:
    """Returns whether this is one number from its first to its last character."""
    digits = NOT_DIGITS.sub("", written)
    if len(digits) < FEWEST_DIGITS or NO_NUMBER.match(written):
        return False
    likely = [plan for plan in plans if plan.numbers.fullmatch(digits)]
    return _number(written, likely) == (0, len(written))


@functools.cache
def _plans(regions: tuple[str, ...]) -> tuple[NumberingPlan, ...]:
    return tuple(_plan(region) for region in regions)


def _plan(region: str) -> NumberingPlan:
    metadata = PhoneMetadata.metadata_for_region(region)
    assert metadata is not None, region
    assert metadata.general_desc is not None, region
    trunk, numbers = metadata.national_prefix or "", metadata.general_desc.national_number_pattern
    return NumberingPlan(region, re.compile(rf"(?:{trunk})?(?:{numbers})"), trunk)


def regions_of(language: str) -> tuple[str, ...]:
    """Returns the ISO 3166 codes of a language's regions, the likeliest first.

    Args:
        language: code or alias. Languages without a row in `regions.tsv`, such as one that a user
            added, "und" and Esperanto have no region.
    """
    entry = languages.find(language)
    return () if entry is None else _regions().get(entry.code, ())


@functools.cache
def _regions() -> dict[str, tuple[str, ...]]:
    rows = languages.table_rows("data.curation", "regions.tsv")
    return {row["code"]: tuple(row["regions"].strip("-").split()) for row in rows}


def blank_out(text: str, spans: Sequence[Span]) -> str:
    """Returns a text of the same length, in which angle brackets stand for the spans."""
    if not spans:
        return text
    parts, done = [], 0
    for begin, end, _ in sorted(spans):
        parts += [text[done:begin], "<" * (end - max(begin, done))]
        done = max(end, done)
    return "".join([*parts, text[done:]])
