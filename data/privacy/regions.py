"""The regions in which a language is written, and so whose numbers its pages may hold."""

import csv
import functools
from importlib import resources

from data import languages


def regions_of(language: str) -> tuple[str, ...]:
    """Returns the ISO 3166 codes of a language's regions, the likeliest first.

    Args:
        language: code or alias. Languages that are not mC4's, "und" and Esperanto have no region.
    """
    found = languages.find(language)
    return () if found is None else _table()[found.code]


@functools.cache
def _table() -> dict[str, tuple[str, ...]]:
    return {row["code"]: tuple(row["regions"].strip("-").split()) for row in rows("regions.tsv")}


def rows(name: str) -> list[dict[str, str]]:
    """Returns the rows of a table beside this file."""
    text = resources.files("data.privacy").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
