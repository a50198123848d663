"""A web page during cleaning, and the contract of the rules.

A rule is a pure function `Page -> reason | None`. A rejected page keeps its text and has a reason.
Reasons are stable snake_case names, as manifests and reports count them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from data.errors import concerns_one_page
from data.languages import UNDETERMINED

LONGEST_DETAIL = 200  # characters; a reader's message may quote a header of a megabyte


class Page(NamedTuple):
    """One page; immutable, so that a rule cannot change the input of the next one.

    Attributes:
        url: address in the archive.
        text: plain text, one paragraph per line.
        timestamp: time of the crawl, as written in the archive.
        declared_language: mC4 code of the archive's declaration, or None.
        removed_lines: number of lines removed per line rule, as (rule, lines) pairs;
            "duplicate_line" counts lines kept in another page or earlier in this one.
        identified_language: the identifier's prediction, "und" below the threshold, "" before
            identification.
        language: mC4 code of the page, "und", or "" before it is decided.
        language_probability: the identifier's probability of `language`; 0 before identification,
            and if the identifier predicts another language.
        split: "train", "validation", or "" while undecided.
        cluster_size: number of near-duplicates that the page represents, itself included; 1 under
            rules without near-duplicate detection.
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
        """Language under which the page is counted, even if it is rejected before the decision."""
        return self.language or self.declared_language or UNDETERMINED


class Rejected(NamedTuple):
    """A page that a rule rejects, with the reason."""

    page: Page
    reason: str


class NotAsked(NamedTuple):
    """A page of a language that the user did not ask for; it is counted but not written."""

    page: Page


Dropped = Rejected | NotAsked


class BrokenRecord(NamedTuple):
    """A part of an input file that cannot be read as a page.

    Attributes:
        file: name of the file and of its folder, as corpora have one `udhr.jsonl.gz` per language.
        offset: offset of the record or of the damage: in bytes of an archive on disk, in bytes of
            the uncompressed JSON lines, in rows of Parquet.
        reason: kind of damage, a stable name.
        detail: beginning of the reader's message.
    """

    file: str
    offset: int
    reason: str
    detail: str = ""

    @classmethod
    def at(cls, path: Path, offset: int, reason: str, detail: str = "") -> "BrokenRecord":
        """Returns the broken record of a file and offset."""
        return cls("/".join(path.parts[-2:]), offset, reason, detail[:LONGEST_DETAIL])


class Defect(NamedTuple):
    """Why a complete record is not a page."""

    reason: str
    detail: str = ""

    @classmethod
    def of(cls, error: BaseException) -> "Defect":
        """Returns the defect of a page on which a parser failed; raises what concerns the job."""
        if not concerns_one_page(error):
            raise error
        return cls("unreadable_page", f"{type(error).__name__}: {error}")


Rule = Callable[[Page], str | None]
