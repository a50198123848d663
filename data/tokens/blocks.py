"""Token blocks, read: a ring of tokens per language and split, with random access.

A window of any length is cut from the records that it needs (`shards` has the format on disk);
tokens of pages that were skipped later are in none.

Blocks are compared with their manifest by size in milliseconds, and by content at disk speed. The
sizes reveal missing and truncated files, the checksums altered ones. SHA-256 takes one core about a
second per GB.
"""

import itertools
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from operator import sub
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from data.errors import DataError
from data.files.digests import digest_of_contents
from data.tokens.block_files import BlockFiles, LocalFiles, Readers, existing_size, verified_copy
from data.tokens.manifest import Shard, Split, TokenManifest
from data.tokens.shards import PAGE_SCHEMA, RECORD_TOKENS, TokenizedPage, kept_spans, pages_left
from data.tokens.tokenizer import MODEL_FILE


class RecordSlice(NamedTuple):
    """The part of a window that is in one record, from `start` to `stop`."""

    shard: int
    record: int
    start: int
    stop: int


class TokenStream:
    """All tokens of one language and split, as a ring with random access over its shards.

    Tokens of skipped pages are in no window. A token's place in the ring is the number of tokens
    before it that are not skipped. With `placed_by`, places are those of an earlier time at which
    fewer pages were skipped, so that a resumed run finds its windows where they were. A window that
    began N tokens into a page that has been skipped since then begins N tokens after that page.

    Args:
        readers: open readers of the blocks.
        shards: the shards, in order.
        dtype: type of the ids on disk.
        ids: number of ids of the vocabulary; each block is compared with it when it is read.
        placed_by: the same shards as they were, of which perhaps fewer pages were skipped.
    """

    def __init__(
        self,
        readers: Readers,
        shards: Sequence[Shard],
        dtype: np.dtype,
        ids: int,
        placed_by: Sequence[Shard] | None = None,
    ):
        self.dtype = dtype
        self.ids = ids
        self._readers = readers
        self._shards = [shard for shard in shards if shard.tokens]
        former = [shard for shard in placed_by or () if shard.tokens] or self._shards
        self._total = sum(shard.left("tokens") for shard in former)
        self._owners, self._starts, self._ends, self._shifts = (
            array("q", column.astype("=i8").tobytes())
            for column in kept_spans(readers.files, self._shards, former)
        )
        # Tokens that are read before each run, and in all.
        self._read = array("q", itertools.accumulate(map(sub, self._ends, self._starts), initial=0))
        if self._total and not len(self._starts):
            raise DataError(
                f"All {sum(shard.pages for shard in self._shards):,} pages of "
                f"{self._shards[0].name} and what follows it are skipped by now; begin anew with "
                "tokens that tokenize wrote without --onto."
            )
        for shard in self._shards:
            existing_size(readers.files, shard.records)

    def __len__(self) -> int:
        return self._total

    def read(self, start: int, length: int) -> Int[np.ndarray, " length"]:
        """Returns `length` ids from `start`; the first token follows the last."""
        return self.read_windows([start], length)[0]

    def read_windows(self, starts: Sequence[int], length: int) -> Int[np.ndarray, "windows length"]:
        """Returns one window per start; each record is read once, with one call per shard."""
        pieces = [list(self._slices(start, length)) for start in starts]
        records = self._records({(piece.shard, piece.record) for row in pieces for piece in row})
        windows = np.empty((len(starts), length), np.int32)
        for window, row in zip(windows, pieces, strict=True):
            filled = 0
            for shard, record, start, stop in row:
                window[filled : filled + stop - start] = records[shard, record][start:stop]
                filled += stop - start
        return windows

    def _slices(self, start: int, length: int) -> Iterator[RecordSlice]:
        start = self._begin(start % self._total)
        while length > 0:
            start %= self._total
            run = bisect_right(self._starts, start) - 1
            if run < 0 or start >= self._ends[run]:  # a page that is skipped since
                start = self._starts[run + 1] if run + 1 < len(self._starts) else self._total
                continue
            record, offset = divmod(start + self._shifts[run], RECORD_TOKENS)
            count = min(length, RECORD_TOKENS - offset, self._ends[run] - start)
            yield RecordSlice(self._owners[run], record, offset, offset + count)
            start, length = start + count, length - count

    def _begin(self, start: int) -> int:
        """Returns the place where a window that once began at `start` begins now.

        A window that began N tokens into a page that has been skipped since then begins N tokens
        after it. If all such windows began directly after the page, the text there would be
        repeated: 89 times in a trial.
        """
        run = bisect_right(self._starts, start) - 1
        if run >= 0 and start < self._ends[run]:
            return start
        before, gap = (self._read[run + 1], self._ends[run]) if run >= 0 else (0, 0)
        ordinal = (before + start - gap) % self._read[-1]
        run = bisect_right(self._read, ordinal) - 1
        return self._starts[run] + ordinal - self._read[run]

    def _records(self, numbers: set[tuple[int, int]]) -> dict[tuple[int, int], np.ndarray]:
        """Returns records by (shard, number)."""
        ids: dict[tuple[int, int], np.ndarray] = {}
        for shard, group in itertools.groupby(sorted(numbers), key=lambda pair: pair[0]):
            records = [record for _, record in group]
            contents = self._readers.read(self._shards[shard].records, records)
            for record, content in zip(records, contents, strict=True):
                ids[shard, record] = self._ids(content, shard, record)
        return ids

    def _ids(self, content: bytes, shard: int, record: int) -> np.ndarray:
        rest = self._shards[shard].tokens - record * RECORD_TOKENS
        expected = min(RECORD_TOKENS, rest) * self.dtype.itemsize
        address = self._readers.files.address(self._shards[shard].records.name)
        if len(content) != expected:
            raise DataError(
                f"Block {record} of {address} has {len(content)} bytes and should by the manifest "
                f"have {expected}; restore the file or tokenize again."
            )
        tokens = np.frombuffer(content, self.dtype)
        if (largest := tokens.max()) >= self.ids:
            raise DataError(
                f"Block {record} of {address} has the id {largest}, and its vocabulary has "
                f"{self.ids} ids; tokenize again."
            )
        return tokens

    def shards_at(self, starts: Iterable[int], length: int) -> list[Shard]:
        """Returns the shards of the windows from these starts."""
        numbers = {piece.shard for start in starts for piece in self._slices(start, length)}
        return [self._shards[number] for number in sorted(numbers)]


class TokenBlocks:
    """A finished artifact of token blocks.

    Attributes:
        directory: directory of the manifest and the vocabulary.
        manifest: content of the manifest.
        files: access to the blocks, in the same directory or on an object store.
        readers: open readers of the blocks.
        dtype: type of the ids on disk.
    """

    def __init__(self, directory: Path, manifest: TokenManifest, files: BlockFiles | None = None):
        self.directory = directory
        self.manifest = manifest
        self.files = files or LocalFiles(directory)
        self.readers = Readers(self.files)
        self.dtype = np.dtype(manifest.token_dtype)

    @property
    def address(self) -> str:
        """The path or address that the user named, for messages."""
        return self.files.address("").rstrip("/")

    def languages(self, split: Split) -> list[str]:
        """Returns the languages that have tokens in a split."""
        entries = self.manifest.languages.items()
        return [code for code, splits in entries if split in splits and splits[split].tokens > 0]

    def counts(self, split: Split, what: str) -> dict[str, int]:
        """Returns one of `COUNTS` for each language that has tokens."""
        entries = self.manifest.languages
        return {code: getattr(entries[code][split], what) for code in self.languages(split)}

    def shards(self, language: str, split: Split) -> Sequence[Shard]:
        """Returns the shards of one language and split, in order."""
        return self.manifest.languages[language][split].shards

    def stream(self, language: str, split: Split) -> TokenStream:
        """Returns the tokens of one language and split."""
        return self.stream_of(self.shards(language, split))

    def stream_of(
        self, shards: Sequence[Shard], placed_by: Sequence[Shard] | None = None
    ) -> TokenStream:
        """Returns the tokens of some shards of one language; for `placed_by` see `TokenStream`."""
        ids = self.manifest.vocabulary.vocabulary_size
        return TokenStream(self.readers, shards, self.dtype, ids, placed_by)

    def pages(self, language: str, split: Split, most: int = 0) -> list[TokenizedPage]:
        """Returns the pages of a split with their tokens, in order; small splits only.

        Args:
            language: code of the language.
            split: the split.
            most: largest number of pages, the first ones; 0 for all. No shard beyond is read.
        """
        table = self._page_table(language, split, most)
        ends = np.cumsum(table["tokens"].to_numpy())
        tokens = self.stream(language, split).read(0, int(ends[-1]) if len(ends) else 0)
        return [
            TokenizedPage(row["url"], part, row["text_bytes"], row["characters"])
            for row, part in zip(table.to_pylist(), np.split(tokens, ends[:-1]), strict=True)
        ]

    def _page_table(self, language: str, split: Split, most: int) -> pa.Table:
        tables, pages = [PAGE_SCHEMA.empty_table()], 0
        for shard in self.shards(language, split):
            tables.append(pages_left(self.files, shard))
            pages += len(tables[-1])
            if 0 < most <= pages:
                break
        return pa.concat_tables(tables).slice(0, most or None)


def total_bytes(blocks: TokenBlocks) -> int:
    """Returns the size of all blocks, according to the manifest."""
    return sum(shard.file_bytes for shard in all_shards(blocks))


def verify_sizes(blocks: TokenBlocks) -> None:
    """Compares the size of every block with the manifest.

    Raises:
        DataError: if a file is missing or truncated; the message names it.
    """
    for shard in all_shards(blocks):
        size = existing_size(blocks.files, shard.records)
        if size != shard.file_bytes:
            raise DataError(
                f"{blocks.files.address(shard.records.name)} has {size:,} bytes and the manifest "
                f"records {shard.file_bytes:,}; restore the file or tokenize again."
            )


def verify_contents(blocks: TokenBlocks) -> None:
    """Compares every file with its checksum.

    Raises:
        DataError: if a file is missing, truncated or altered; the message names it.
    """
    for shard in all_shards(blocks):
        for file in filter(None, (shard.records, shard.page_table, shard.skip_list)):
            with verified_copy(blocks.files, file):
                pass


def verify_languages(blocks: TokenBlocks) -> None:
    """Checks that every language of the manifest has training tokens.

    Raises:
        DataError: if there is no language, or one without training tokens.
    """
    present = blocks.languages("train")
    empty = [code for code in blocks.manifest.languages if code not in present]
    if empty or not present:
        raise DataError(
            f"{blocks.address}/manifest.json has {', '.join(empty) or 'no language'} without "
            "training tokens; leave out those pages when cleaning, or add text, and tokenize again."
        )


def all_shards(blocks: TokenBlocks) -> Iterator[Shard]:
    """Yields every shard of every language and split."""
    for language, splits in blocks.manifest.languages.items():
        for split in splits:
            yield from blocks.shards(language, split)


def verify_model(blocks: TokenBlocks) -> None:
    """Checks the vocabulary beside the blocks.

    Raises:
        DataError: if it is missing, or the blocks were made with another one.
    """
    model = blocks.directory / MODEL_FILE
    if not model.exists() or digest_of_contents(model) != blocks.manifest.vocabulary.sha256:
        raise DataError(
            f"{model} should be the vocabulary that the blocks were made with and is missing or "
            "another (checksum); restore it or tokenize again."
        )
