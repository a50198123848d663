"""The manifest of token blocks and of a vocabulary, as their readers need it.

Other people's blocks are opened too. So every number has a range, every digest and path is checked,
and the totals of a language must be the sums over its shards.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from data.files.json_files import Count, Digest, Name, RelativePath
from data.tokens.block_files import BlockFile

Split = Literal["train", "validation"]
MOST_IDS = 2**24  # 67 times mT5's; an id must fit an int32 with room to spare

Ids = Annotated[int, Meta(ge=1, le=MOST_IDS)]
Id = Annotated[int, Meta(ge=0, lt=MOST_IDS)]


class VocabularyFacts(Struct, frozen=True, kw_only=True):
    """The vocabulary of token blocks, and the body of a vocabulary's own manifest.

    Attributes:
        vocabulary_size: number of ids, sentinels included.
        vocabulary_rows: rows of the embedding.
        first_sentinel: highest id.
        byte_ids: first id of the byte pieces, and the one after the last.
        sha256: checksum of the model file.
    """

    vocabulary_size: Ids
    vocabulary_rows: Ids
    first_sentinel: Id
    byte_ids: tuple[Id, Id]
    sha256: Digest

    def __post_init__(self):
        if not self.first_sentinel < self.vocabulary_size <= self.vocabulary_rows:
            raise ValueError(
                f"Expected first_sentinel < vocabulary_size <= vocabulary_rows, got "
                f"{self.first_sentinel}, {self.vocabulary_size} and {self.vocabulary_rows}"
            )


class TokenCounts(Struct, frozen=True, kw_only=True):
    """Counts of a set of pages, and of their tokens, bytes and characters.

    Attributes:
        pages, tokens, text_bytes, characters: counts.
        unknown_tokens: number of tokens without text.
        byte_tokens: number of tokens of the byte fallback.
    """

    pages: Count
    tokens: Count
    text_bytes: Count
    characters: Count
    unknown_tokens: Count
    byte_tokens: Count


COUNTS = TokenCounts.__struct_fields__


class Skipped(TokenCounts, frozen=True, kw_only=True):
    """Counts of a shard's pages that are no longer in the corpus, and the checksum of their list.

    Attributes:
        times: number of times that pages were added to the list.
        sha256: checksum of the list.
    """

    times: Count
    sha256: Digest


class Shard(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One shard of token blocks.

    Its counts are fields, not `TokenCounts`: `name` comes first in a manifest, which has a digest.

    Attributes:
        name: path without the ending, relative to the artifact, for example
            `sw/train-00000-of-00001`.
        pages, tokens, text_bytes, characters, unknown_tokens, byte_tokens: counts.
        file_bytes: size of the ArrayRecord file.
        sha256: checksum of the ArrayRecord file.
        pages_sha256: checksum of the page table.
        skipped: pages that are not read; None if all are.
        page_files: files of the corpus that its pages are from, in order.
    """

    name: RelativePath
    pages: Count
    tokens: Count
    text_bytes: Count
    characters: Count
    unknown_tokens: Count
    byte_tokens: Count
    file_bytes: Count
    sha256: Digest
    pages_sha256: Digest
    skipped: Skipped | None = None
    page_files: tuple[RelativePath, ...] = ()

    def __post_init__(self):
        if self.skipped and any(self.left(count) < 0 for count in COUNTS):
            raise ValueError(f"Expected at most as much to skip as {self.name} holds")

    def left(self, count: str) -> int:
        """Returns one of `COUNTS` without skipped pages."""
        return getattr(self, count) - (getattr(self.skipped, count) if self.skipped else 0)

    @property
    def records(self) -> BlockFile:
        """The file of tokens."""
        return BlockFile(f"{self.name}.arrayrecord", self.sha256)

    @property
    def page_table(self) -> BlockFile:
        """The file of pages."""
        return BlockFile(f"{self.name}.pages.parquet", self.pages_sha256)

    @property
    def skip_list(self) -> BlockFile | None:
        """The list of pages that are not read; None if all are."""
        return self.skipped and BlockFile(f"{self.name}.skipped.parquet", self.skipped.sha256)


class SplitTokens(TokenCounts, frozen=True, kw_only=True):
    """One language and split: totals of the pages that are read, and shards in order."""

    shards: tuple[Shard, ...]

    def __post_init__(self):
        for count in COUNTS:
            total, parts = getattr(self, count), sum(shard.left(count) for shard in self.shards)
            if total != parts:
                raise ValueError(f"Expected {parts} {count}, the sum over its shards, got {total}")


class TokenManifest(Struct, frozen=True, kw_only=True):
    """The manifest of token blocks.

    Attributes:
        token_dtype: NumPy's name of the type of the ids on disk.
        vocabulary: vocabulary of the ids.
        languages: shards and counts by language and split.
    """

    token_dtype: Literal["<u2", "<u4"]
    vocabulary: VocabularyFacts
    languages: dict[Name, dict[Split, SplitTokens]]


class VocabularyManifest(VocabularyFacts, frozen=True, kw_only=True):
    """The manifest of a vocabulary: its facts, and the settings it was trained with."""

    settings: dict[str, Any] = {}
    sample_characters: dict[Name, Count] = {}
