"""Verdicts: what all pages together decided about the pages of a shard, and files that keep it.

Such files lie beside a corpus, one per kind and shard. Each has a digest: files of a shard in its
counts, counts in the settings, these in the manifest. Verdicts are those before an addition or
after it.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int, Shaped, UInt32
from msgspec import Meta, Struct

from data.errors import DataError
from data.files.digests import digest_of_contents, digest_of_value
from data.files.json_files import Count, Digest, Name, Place, read_json
from data.files.paths import exists, join_path
from data.language_id.thresholds import decide
from data.languages import all_languages
from data.numbers import is_among
from data.reading.page import BROKEN as BROKEN_COLUMNS
from pipeline.artifacts import MANIFEST
from pipeline.beam.workspace import Workspace, verdict_paths
from pipeline.corpus import spills
from pipeline.corpus.addresses import FindNewest
from pipeline.corpus.counts import Tally
from pipeline.corpus.judgements import (
    CLUSTER_SIZES,
    DecideThresholds,
    Rows,
    collected_thresholds,
)
from pipeline.corpus.keys import collected_numbers
from pipeline.corpus.lines import (
    CLAIMED,
    LINE_KEYS,
    FindDuplicateLines,
    claims_path,
    duplicate_lines,
)
from pipeline.corpus.near_duplicates import MINHASH_KEYS, ChoosePages
from pipeline.corpus.near_duplicates import SIZES as SIZES_OF_CLUSTERS
from pipeline.corpus.read import VERSIONS as VERSION_COLUMNS
from pipeline.corpus.spills import ROW, Columns, columns_of
from pipeline.corpus.write import PlannedFile

FOLDER = "growth"
FACTS = "growth.json"

PAGES = "pages"  # pages as they were read, one per address and chunk
VERSIONS = "versions"  # of the addresses of these pages
BROKEN = "broken"  # broken records
DESCRIBED = "described"  # pages after line rules, whose language was identified
ANSWERS = "answers"  # of the identifier, for the same pages
MINHASH = "minhash"  # keys of the pages that had a language
LINES = "lines"  # keys of lines, one per distinct line
REPEATS = "repeats"  # keys of the other lines
CLAIMS = "claims"  # pages whose lines these are
DUPLICATES = "duplicates"  # rows of pages with a newer version
LEAVES = "leaves"  # rows of near-duplicates
SIZES = "sizes"  # of what other candidates stand for
OUTCOMES = "outcomes"  # of the last rules
LOST = "lost"  # lines that another page keeps
SAME = (PAGES, DESCRIBED, ANSWERS)  # kinds that an addition keeps of the base corpus
TALLY = "tally"

ANSWERED = pa.schema(
    [
        (ROW, pa.uint32()),
        ("identified_language", pa.string()),
        ("language_probability", pa.float64()),
    ]
)

KINDS = {  # with the columns of each
    PAGES: spills.PAGES_SCHEMA,
    VERSIONS: VERSION_COLUMNS,
    BROKEN: BROKEN_COLUMNS,
    DESCRIBED: spills.PAGES_SCHEMA,
    ANSWERS: ANSWERED,
    MINHASH: MINHASH_KEYS,
    LINES: LINE_KEYS,
    REPEATS: LINE_KEYS,
    CLAIMS: CLAIMED,
    DUPLICATES: spills.NUMBERS,
    LEAVES: spills.NUMBERS,
    SIZES: CLUSTER_SIZES,
    OUTCOMES: spills.OUTCOME_SCHEMA,
    LOST: spills.NUMBERS,
}

Hex = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]


class InputRecord(Struct, frozen=True, array_like=True):
    """A file of the input, as the number of partitions follows from it."""

    path: Place
    size: Count


class ShareHeldOut(Struct, frozen=True, kw_only=True):
    """The user's settings of held-out pages."""

    share: float
    minimum: Count


class KeptBeside(Struct, frozen=True):
    """What a corpus's manifest records about the files.

    Attributes:
        kept_beside: size in bytes by kind.
        growth_sha256: digest of the settings; "" in a corpus of an earlier version.
    """

    kept_beside: dict[Name, Count]
    growth_sha256: str = ""


Kind = Annotated[str, Meta(pattern=rf"\A(?:{'|'.join(KINDS)})\Z")]


class KeptShard(Tally, kw_only=True):
    """The counts of all steps of a shard, and the digests of what is kept of it, by kind."""

    digests: dict[Kind, Digest]


class GrowthFacts(Struct, frozen=True, kw_only=True):
    """What a job must know to add to a corpus.

    Attributes:
        version: version of the job that kept the files.
        generation: number of additions so far.
        rules: name of the rule set.
        share: share of held-out pages, if the user named one.
        languages: requested languages, or None for all.
        bad_words: digest of the lists of bad words, if there are any.
        identifier: digest of the fastText model, if there is one.
        input: files of the input, by shard.
        files: files of the corpus.
        held_out_up_to: digest up to which pages of each language are held out, where a share is.
        thresholds: threshold of each language's probability, for `mswitch-web`.
        tallies: digest of the counts of each shard; none in a corpus of an earlier version.
        table: digest of the languages by which pages were judged (`digest_of_languages`).
    """

    version: int
    generation: Count
    rules: Name
    share: ShareHeldOut | None
    languages: tuple[str, ...] | None
    bad_words: Digest | None
    identifier: Digest | None
    input: tuple[tuple[InputRecord, ...], ...]
    files: tuple[PlannedFile, ...]
    held_out_up_to: dict[Name, Hex]
    thresholds: dict[str, float]
    tallies: tuple[Digest, ...] = ()
    table: str = ""


def digest_of_languages() -> str:
    """Returns the digest of all codes and aliases, as a user may add a language to the table."""
    return digest_of_value([list(language.names) for language in all_languages()])


@dataclass(frozen=True)
class GrowthFiles:
    """The files that are kept beside the corpus in the directory `corpus`."""

    corpus: str

    def path(self, kind: str, shard: int) -> str:
        """Returns the path of a shard's file of one kind."""
        return join_path(self.corpus, FOLDER, kind, f"{shard:05d}.arrow")

    @property
    def facts_path(self) -> str:
        """Path of the settings."""
        return join_path(self.corpus, FOLDER, FACTS)

    def facts(self) -> GrowthFacts:
        """Returns the settings.

        Raises:
            DataError: if nothing is kept beside the corpus, or the settings are damaged.
        """
        if not exists(self.facts_path):
            raise DataError(
                f"{self.corpus} cannot be added to, because it has no {FOLDER}/{FACTS}; "
                "clean its input with --growable, once, and name that corpus."
            )
        if digest := self.kept_beside().growth_sha256:
            check_digest(self.facts_path, digest)
        return read_json(self.facts_path, GrowthFacts)

    def kept_beside(self) -> KeptBeside:
        """Returns what the manifest of the corpus says about the files."""
        return read_json(join_path(self.corpus, MANIFEST), KeptBeside)

    def kept(self, shard: int) -> KeptShard:
        """Returns the counts of all steps of a shard, with the digests of its files."""
        return read_json(self.tally_path(shard), KeptShard)

    def check(self, shard: int) -> None:
        """Checks the files of a shard.

        Raises:
            DataError: if one differs from what was written, or has other columns than its kind.
        """
        check_digest(self.tally_path(shard), read_facts_once(self).tallies[shard])
        for kind, digest in self.kept(shard).digests.items():
            check_digest(self.path(kind, shard), digest)
            spills.check(self.path(kind, shard), KINDS[kind])

    def tally_path(self, shard: int) -> str:
        """Returns the path of a shard's counts."""
        return join_path(self.corpus, FOLDER, TALLY, f"{shard:05d}.json")

    def numbers(self, kind: str, shard: int) -> np.ndarray:
        """Returns the rows or lines that a file lists, sorted."""
        return spills.read_numbers([self.path(kind, shard)])


@functools.lru_cache(maxsize=1)
def read_facts_once(growth: GrowthFiles) -> GrowthFacts:
    """Returns the settings, which a process reads once."""
    return growth.facts()


def check_digest(path: str, digest: str) -> None:
    """Checks that a file is what was written.

    Raises:
        DataError: if it is not.
    """
    if digest_of_contents(path) != digest:
        raise DataError(
            f"{path} is damaged: its SHA-256 is not the one that was recorded; restore it, or "
            "clean all input again with --growable."
        )


class Verdicts(NamedTuple):
    """Verdicts on the pages of one shard.

    Attributes:
        duplicates: rows of pages with a newer version.
        thresholds: threshold of each language's probability, where they decide languages.
        leaves: rows of near-duplicates.
        sizes: what other candidates stand for.
        claims: pages whose lines were compared, in the order of their lines.
        lost: lines that another page keeps.
    """

    duplicates: Rows
    thresholds: Mapping[str, float] | None
    leaves: Rows
    sizes: Columns
    claims: Columns
    lost: UInt32[np.ndarray, " lines"]


@dataclass(frozen=True)
class Exchanges:
    """The exchanges of a job whose verdicts are on pages.

    Attributes:
        newest: of addresses.
        lines: of lines.
        thresholds, chosen: of languages and of candidates, where near-duplicates are removed.
    """

    newest: FindNewest
    lines: FindDuplicateLines
    thresholds: DecideThresholds | None = None
    chosen: ChoosePages | None = None

    def verdicts(self, shard: int) -> Verdicts:
        """Returns the verdicts on the pages of a shard."""
        chosen = self.chosen
        sizes = verdict_paths(chosen, shard, SIZES_OF_CLUSTERS) if chosen else ()
        return Verdicts(
            collected_numbers(self.newest, shard),
            self.thresholds and collected_thresholds(self.thresholds, shard),
            spills.read_numbers(verdict_paths(chosen, shard) if chosen else ()),
            columns_of(CLUSTER_SIZES, *sizes),
            columns_of(CLAIMED, claims_path(self.lines.workspace, shard)),
            duplicate_lines(self.lines, shard),
        )


def before(growth: GrowthFiles, shard: int, thresholds: Mapping[str, float] | None) -> Verdicts:
    """Returns the verdicts that are kept beside a corpus."""
    return Verdicts(
        growth.numbers(DUPLICATES, shard),
        thresholds,
        growth.numbers(LEAVES, shard),
        columns_of(CLUSTER_SIZES, growth.path(SIZES, shard)),
        columns_of(CLAIMED, growth.path(CLAIMS, shard)),
        growth.numbers(LOST, shard),
    )


def write_verdicts(workspace: Workspace, growth: GrowthFiles, shard: int, kept: Verdicts) -> None:
    """Writes verdicts that are to be kept beside a corpus, but for claims and thresholds."""
    for kind, numbers in ((DUPLICATES, kept.duplicates), (LEAVES, kept.leaves), (LOST, kept.lost)):
        spills.write_numbers(workspace, growth.path(kind, shard), numbers)
    sizes = kept.sizes.values()
    spills.write(workspace, growth.path(SIZES, shard), CLUSTER_SIZES, sizes)


def changed_rows(was: Verdicts, now: Verdicts, answers: Columns) -> Int[np.ndarray, " changed"]:
    """Returns the rows of pages on which a verdict has changed, sorted.

    Args:
        was, now: verdicts before and after.
        answers: the identifier's answers, where thresholds decide languages.
    """
    sides = (languages(answers, side.thresholds or {}) for side in (was, now))
    moved = np.not_equal(*sides)
    lines = np.setxor1d(was.lost, now.lost)
    parts = [
        np.setxor1d(was.duplicates, now.duplicates),
        answers[ROW][moved],
        np.setxor1d(was.leaves, now.leaves),
        _rows_of_other_sizes(was.sizes, now.sizes),
        np.setxor1d(was.claims[ROW], now.claims[ROW]),
        *(_rows_of(lines, claims) for claims in (was.claims, now.claims)),
    ]
    changed = np.unique(np.concatenate([part.astype(np.int64) for part in parts]))
    # A page with a newer version on both sides stays one, though its language would be another.
    return np.setdiff1d(changed, np.intersect1d(was.duplicates, now.duplicates))


def languages(answers: Columns, thresholds: Mapping[str, float]) -> Shaped[np.ndarray, " pages"]:
    """Returns the language of each page by the thresholds."""
    pairs = zip(answers["identified_language"], answers["language_probability"], strict=True)
    return np.array([decide(code, certain, thresholds) for code, certain in pairs], object)


def _rows_of_other_sizes(was: Columns, now: Columns) -> np.ndarray:
    sides = [np.stack([side[ROW].astype(np.int64), side["size"]], axis=1) for side in (was, now)]
    sides = [side[side[:, 1] > 1] for side in sides]  # a page of no group stands for itself, too
    both, counts = np.unique(np.concatenate(sides), axis=0, return_counts=True)
    return both[counts == 1, 0]


def _rows_of(lines: UInt32[np.ndarray, " lines"], claims: Columns) -> np.ndarray:
    """Returns the rows of the pages that lines are in."""
    if not len(claims["first"]):
        return np.empty(0, np.int64)
    at = np.searchsorted(claims["first"], lines, side="right") - 1
    inside = (at >= 0) & (lines < claims["first"][at] + claims["lines"][at])
    return claims[ROW][at[inside]]


def lines_kept(verdicts: Verdicts, rows: np.ndarray) -> dict[int, Bool[np.ndarray, " lines"]]:
    """Returns which of its lines each of these pages keeps that claimed lines; rows are sorted."""
    claiming, lost, kept = is_among(verdicts.claims[ROW], rows), verdicts.lost, {}
    claims = {name: verdicts.claims[name][claiming].astype(np.int64) for name in CLAIMED.names}
    begins = np.searchsorted(lost, claims["first"])
    ends = np.searchsorted(lost, claims["first"] + claims["lines"])
    columns = (column.tolist() for column in (*claims.values(), begins, ends))
    for row, first, lines, begin, end in zip(*columns, strict=True):
        kept[row] = np.ones(lines, dtype=bool)
        kept[row][lost[begin:end] - np.uint32(first)] = False
    return kept
