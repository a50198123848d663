"""National numbers of persons, as python-stdnum checks them.

`national_numbers.tsv` states per region the module of python-stdnum and the form in which people
write the number. Most have check digits, dates or both. A number of ten digits or fewer whose only
evidence is one check digit, such as the Dutch BSN, counts only with its separators: of random
numbers every tenth passes.

Numbers that stand side by side hide one another (`V-12345678-6,V-`): a found one is masked, and
what stands around it is searched again, until nothing more appears.
"""

import functools
import importlib
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from data.privacy.digits import NOT_GROUPED, NOT_IN_A_WORD
from data.privacy.regions import regions_of, rows
from data.privacy.spans import NATIONAL_NUMBER, Span, disjoint

REST_OF_A_CARD = r"(?<=[3-6][0-9]{3}[ -])[0-9]{4}[ -][0-9]{4}[ -][0-9]{4}(?![0-9])"
BEFORE = NOT_IN_A_WORD + rf"(?<!\+)(?<![0-9][-./]){NOT_GROUPED}(?<!\+[ (])(?!{REST_OF_A_CARD})"
AFTER = r"(?![0-9A-Za-z_]|[-.,/][0-9])"
LONGEST = 21  # characters of a form: the French one with its spaces
CONTEXT = 5  # most characters that BEFORE and AFTER read outside a number


class NationalNumber(NamedTuple):
    """A kind of number.

    Attributes:
        form: how it is written.
        is_valid: whether digits and letters of that form are such a number.
    """

    form: re.Pattern[str]
    is_valid: Callable[[str], bool]


def national_numbers(text: str, language: str) -> Iterator[Span]:
    """Yields the numbers of a language's regions, which do not overlap, as they are found.

    Args:
        text: a text in which all digits are ASCII.
        language: code of the page's language.
    """
    numbers = _numbers(regions_of(language))
    characters, places = list(text), [(0, len(text))]
    while places:
        found = disjoint(
            span for place in places for span in _touching(*place, characters, numbers)
        )
        yield from found
        for begin, end, _ in found:
            characters[begin:end] = "<" * (end - begin)
        places = [(span.begin, span.end) for span in found]


def _touching(
    begin: int, end: int, characters: list[str], numbers: tuple[NationalNumber, ...]
) -> Iterator[Span]:
    """Yields the numbers that a change between two places can have uncovered, form by form."""
    first = max(begin - LONGEST - 2 * CONTEXT, 0)
    text = "".join(characters[first : end + LONGEST + 2 * CONTEXT])
    for number in numbers:
        found = number.form.search(text)
        while found is not None:
            span = Span(first + found.start(), first + found.end(), NATIONAL_NUMBER)
            is_near = span.begin <= end + CONTEXT and span.end >= begin - CONTEXT
            if is_near and _is_valid(number, found[0]):
                yield span
            # Not from its end: "2024 2345 6789 0124" holds an Indian number behind another group.
            found = number.form.search(text, found.start() + 1)


def _is_valid(number: NationalNumber, written: str) -> bool:
    try:
        return number.is_valid(written)
    except LookupError:  # `cn.ric` of python-stdnum 2.2, for a county without a name
        return False


@functools.cache
def _numbers(regions: tuple[str, ...]) -> tuple[NationalNumber, ...]:
    found = {
        (row["module"], row["form"]): NationalNumber(
            re.compile(f"{BEFORE}(?:{row['form']}){AFTER}"),
            importlib.import_module(f"stdnum.{row['module']}").is_valid,
        )
        for row in rows("national_numbers.tsv")
        if row["region"] in regions
    }
    return tuple(found.values())
