"""The manifest of a corpus, as its readers need it: pages kept and rejected per language.

A language's code becomes a directory's name, so it is checked as one.
"""

from typing import Annotated, Any

from msgspec import Meta, Struct

from data.files.json_files import Count, Digest, Name, RelativePath

Interval = Annotated[str, Meta(pattern=r"\A0\.[0-9][05]\Z")]  # its lower end; 20 intervals


def interval(probability: float) -> str:
    """Returns the lower end of the interval of 0.05 that holds a probability; 1 is in the last."""
    return f"{min(int(probability * 20), 19) / 20:.2f}"


class Disagreement(Struct, frozen=True, kw_only=True):
    """Kept pages whose declared language CLD3 contradicts, and what it answered."""

    disagrees: Count
    said: dict[str, Count] = {}


class LanguagePages(Struct, frozen=True, kw_only=True):
    """Counts of one language's pages.

    Attributes:
        kept: number of pages kept.
        held_out: number of kept pages that are held out.
        rejected: number of rejected pages by reason.
        characters: number of characters in the kept pages.
        removed_lines_by_rule: number of lines removed from pages, by rule.
        confidence: kept pages by interval of the identifier's probability.
        cld3: pages whose declared language CLD3 contradicts; None where none are counted.
        rejected_characters: number of characters in the rejected pages, by reason, where `select`
            counted them.
        rejected_bytes: number of UTF-8 bytes in the same pages.
        masked: number of passages that are masked in the kept pages, by kind.
        lines_gone: number of lines in the rejected pages, which `clean` left in no other page.
        copies_gone: number of near-duplicates that the rejected pages had represented.
    """

    kept: Count
    held_out: Count = 0
    rejected: dict[str, Count] = {}
    characters: Count = 0
    removed_lines_by_rule: dict[str, Count] = {}
    confidence: dict[Interval, Count] = {}
    cld3: Disagreement | None = None
    rejected_characters: dict[str, Count] = {}
    rejected_bytes: dict[str, Count] = {}
    masked: dict[str, Count] = {}
    lines_gone: Count = 0
    copies_gone: Count = 0


class RulesUsed(Struct, frozen=True, kw_only=True):
    """The rules that a corpus was cleaned with, and the late rules of each selection from it."""

    name: str = "not recorded"
    differences_from_mc4: tuple[str, ...] = ()
    late: tuple[dict[str, Any], ...] = ()

    @property
    def described(self) -> str:
        """Name of the rules, and whether late rules applied."""
        return f"{self.name}, selected" if self.late else self.name


class BrokenCount(Struct, frozen=True, kw_only=True):
    """Number of broken records with one reason, and their bytes as far as these are known."""

    count: Count
    bytes: Count = 0


class LeftOut(Struct, frozen=True, kw_only=True):
    """Pages and files that were not requested, by language."""

    pages: dict[str, Count] = {}
    files: dict[str, Count] = {}


class Input(Struct, frozen=True, kw_only=True):
    """What the command that wrote a corpus read: files, of `clean`."""

    files: Count = 0


class Files(Struct, frozen=True, kw_only=True):
    """The files of an artifact.

    Attributes:
        files: SHA-256 of each file but the cards, by its path below the corpus; none in a corpus of
            an earlier version.
    """

    files: dict[RelativePath, Digest] = {}


class CorpusManifest(Files, frozen=True, kw_only=True):
    """The manifest of a corpus, with the digests of its files.

    Attributes:
        languages: counts by language.
        rules: rules that judged the pages.
        not_asked: pages that are in no file, as their languages were not requested.
        broken_records: records that could not be read, by reason.
        input: what was read.
        declared: pages by language, and by the other code or name that they declare it with; of
            "und" what is not known. Empty where languages are identified.
        license: licence of the pages; None if it was not named.
        history: what earlier commands decided, of a selection.
        withdrawals: what was withdrawn.
    """

    languages: dict[Name, LanguagePages]
    rules: RulesUsed = RulesUsed()
    not_asked: LeftOut = LeftOut()
    broken_records: dict[str, BrokenCount] = {}
    input: Input = Input()
    declared: dict[Name, dict[str, Count]] = {}
    license: str | None = None
    history: tuple[dict[str, Any], ...] = ()
    withdrawals: tuple[dict[str, Any], ...] = ()
