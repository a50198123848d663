"""A web page on its way through cleaning, and the contract of the rules that judge it.

A rule is a pure function `Page -> reason | None`. A rejected page keeps its text and carries the
reason; reasons are stable snake_case names, because manifests and reports count them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from data.languages import UNDETERMINED

LONGEST_DETAIL = 200  # characters; a reader may quote a header of a megabyte


class Page(NamedTuple):
    """One page: immutable, so that a rule cannot quietly change what the next one sees.

    Attributes:
        url: address as the archive gives it.
        text: plain text, one paragraph a line.
        timestamp: when it was fetched, as the archive writes it.
        declared_language: mC4 code that the archive declares, or None.
        removed_lines: how many of its lines each line rule took away, as (rule, lines) pairs;
            "duplicate_line" took those that another page, or an earlier line of this one, holds.
        identified_language: the identifier's answer, "und" when it is not certain, "" before it is
            asked.
        language: mC4 code that counts from here on, "und", or "" before it is decided.
        language_probability: the identifier's for the language that counts; 0 before it is asked
            and where it names another language.
        split: "train", "validation", or "" before it is decided or where a file does not say.
        cluster_size: how many near-duplicates it stands for, itself among them; 1 where none were
            looked for.
    """

    url: str
    text: str
    timestamp: str = ""
    declared_language: str | None = None
    removed_lines: tuple[tuple[str, int], ...] = ()
    identified_language: str = ""
    language: str = ""
    language_probability: float = 0.0
    split: str = ""
    cluster_size: int = 1

    @property
    def counted_language(self) -> str:
        """Language under which the page is counted, also if it was rejected before the decision."""
        return self.language or self.declared_language or UNDETERMINED


class Rejected(NamedTuple):
    """A page that a rule turned down, with the rule's name."""

    page: Page
    reason: str


class NotAsked(NamedTuple):
    """A page of a language that the user did not ask for: it is counted and goes nowhere."""

    page: Page


Dropped = Rejected | NotAsked


class BrokenRecord(NamedTuple):
    """A part of an input file that could not be read as a page.

    Attributes:
        file: the file's name and its folder's: corpora hold one `udhr.jsonl.gz` a language.
        offset: of the record, or of where the damage begins: in bytes of an archive as it lies
            there, in bytes of the unpacked text of JSON lines, in rows of Parquet.
        reason: what is wrong, a stable name.
        detail: the beginning of what the reader said.
    """

    file: str
    offset: int
    reason: str
    detail: str = ""

    @classmethod
    def at(cls, path: Path, offset: int, reason: str, detail: str = "") -> "BrokenRecord":
        """Returns the record that is broken at this place."""
        return cls("/".join(path.parts[-2:]), offset, reason, detail[:LONGEST_DETAIL])


Rule = Callable[[Page], str | None]
