"""The files that are kept beside a corpus: one per kind and shard, and one with the settings.

Each has a digest: files of a shard in its counts, counts in the settings, these in the manifest.
"""

import functools
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped
from msgspec import Meta, Struct

from data.errors import DataError
from data.files.digests import digest_of_contents
from data.files.json_files import Count, Digest, Name, read_json
from data.files.paths import exists, join_path
from pipeline.artifacts.claims import MANIFEST
from pipeline.cleaning.corpus_files.corpus_plan import PlannedFile
from pipeline.cleaning.spills import spill
from pipeline.cleaning.spills.page_spill import ROW
from pipeline.cleaning.tally import Tally, TallyRecord

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
KINDS = (
    *(PAGES, VERSIONS, BROKEN, DESCRIBED, ANSWERS, MINHASH, LINES, REPEATS),
    *(CLAIMS, DUPLICATES, LEAVES, SIZES, OUTCOMES, LOST),
)
SAME = (PAGES, DESCRIBED, ANSWERS)  # kinds that an addition keeps of the base corpus
TALLY = "tally"

# A page whose lines are compared, with the number of its first line and of its lines.
CLAIMED = pa.schema([(ROW, pa.uint32()), ("first", pa.uint32()), ("lines", pa.uint32())])
ANSWERED = pa.schema(
    [
        (ROW, pa.uint32()),
        ("identified_language", pa.string()),
        ("language_probability", pa.float64()),
    ]
)

Hex = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]


class InputRecord(Struct, frozen=True, array_like=True):
    """A file of the input, as the number of partitions follows from it."""

    path: str
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


class KeptShard(TallyRecord, frozen=True, kw_only=True):
    """The counts of all steps of a shard, and the digests of what is kept of it, by kind."""

    digests: dict[Name, Digest]


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
    """

    version: int
    generation: Count
    rules: str
    share: ShareHeldOut | None
    languages: tuple[str, ...] | None
    bad_words: Digest | None
    identifier: Digest | None
    input: tuple[tuple[InputRecord, ...], ...]
    files: tuple[PlannedFile, ...]
    held_out_up_to: dict[Name, Hex]
    thresholds: dict[str, float]
    tallies: tuple[Digest, ...] = ()


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

    def tally(self, shard: int) -> Tally:
        """Returns the counts of all steps of a shard."""
        return Tally.of_record(self.kept(shard))

    def kept(self, shard: int) -> KeptShard:
        """Returns the counts of all steps of a shard, with the digests of its files."""
        return read_json(self.tally_path(shard), KeptShard)

    def check(self, shard: int) -> None:
        """Checks the files of a shard, each of which is read once.

        Raises:
            DataError: if one differs from what was written.
        """
        check_digest(self.tally_path(shard), _tally_digests(self)[shard])
        for kind, digest in self.kept(shard).digests.items():
            check_digest(self.path(kind, shard), digest)

    def tally_path(self, shard: int) -> str:
        """Returns the path of a shard's counts."""
        return join_path(self.corpus, FOLDER, TALLY, f"{shard:05d}.json")

    def numbers(self, kind: str, shard: int) -> np.ndarray:
        """Returns the rows or lines that a file lists, sorted."""
        return spill.read_numbers([self.path(kind, shard)])


@functools.lru_cache(maxsize=1)
def _tally_digests(growth: GrowthFiles) -> tuple[Digest, ...]:
    return growth.facts().tallies


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


def columns_of(path: str, schema: pa.Schema) -> dict[str, Shaped[np.ndarray, " rows"]]:
    """Returns the columns of a spilled table of these columns."""
    table = pa.Table.from_batches([*spill.batches(path)], schema)
    return {name: table[name].to_numpy() for name in schema.names}
