"""National numbers of persons, as python-stdnum checks them.

`national_numbers.tsv` states per region the module of python-stdnum and the form in which people
write the number. Most have check digits, dates or both. A number of ten digits or fewer whose only
evidence is one check digit, such as the Dutch BSN, counts only with its separators: of random
numbers every tenth passes.
"""

import functools
import importlib
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from data.privacy.digits import NOT_IN_A_WORD
from data.privacy.regions import regions_of, rows
from data.privacy.spans import NATIONAL_NUMBER, Span

BEFORE = NOT_IN_A_WORD + r"(?<!\+)(?<![0-9][-.,/])(?<!\+[ (])"
AFTER = r"(?![0-9A-Za-z_]|[-.,/][0-9])"


class NationalNumber(NamedTuple):
    """A kind of number.

    Attributes:
        form: how it is written.
        is_valid: whether digits and letters of that form are such a number.
    """

    form: re.Pattern[str]
    is_valid: Callable[[str], bool]


def national_numbers(text: str, language: str) -> Iterator[Span]:
    """Yields the numbers of a language's regions, kind by kind.

    Args:
        text: a text in which all digits are ASCII.
        language: code of the page's language.
    """
    for number in _numbers(regions_of(language)):
        for found in number.form.finditer(text):
            if _is_valid(number, found[0]):
                yield Span(*found.span(), NATIONAL_NUMBER)


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
