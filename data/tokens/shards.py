"""The format of tokens on disk: ArrayRecord shards, and a table of the pages of each.

    DIR/manifest.json                                   counts, vocabulary digest, shards
    DIR/sw/train-00000-of-00001.arrayrecord             token records
    DIR/sw/train-00000-of-00001.pages.parquet           one row per page: url and counts
    DIR/sw/train-00000-of-00001.skipped.parquet         pages that are no longer in the corpus
    DIR/sw/validation-00000-of-00001.arrayrecord        ...

Pages are concatenated without a separator, as in T5's pretraining, so any window length can be cut
from the same blocks. A record has exactly 4,096 ids (the last of a shard may be shorter),
little-endian uint16 if the vocabulary allows it and uint32 otherwise, so the record of a token
follows by division. `group_size:1` makes records independently readable, which Grain requires. The
reasons are in docs/decisions/token-blocks.md.

The page table has the ends of pages, at which windows of held-out pages are cut. So a table is
compared with the manifest before it is used: its checksum, its rows and its sums.

Skipped pages stay in the blocks and are not read. A shard may have a list beside it, with one row
per such page. The tokens between skipped pages are spans; readers see the spans as if nothing were
between them. Lists only grow until the blocks are written again. Each row records in which addition
to the list it was added (1, 2, ...), so every earlier version of a list can be recovered.
"""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from array_record.python.array_record_module import ArrayRecordWriter
from jaxtyping import Bool, Int

from data.errors import DataError
from data.files.atomic import atomic_write
from data.files.digests import digest_of_contents
from data.files.parquet_files import read_table
from data.tokens.block_files import BlockFiles, verified_copy
from data.tokens.manifest import COUNTS, MOST_IDS, Shard
from data.tokens.tokenizer import UNKNOWN

PAGE_SCHEMA = pa.schema(
    [
        ("url", pa.string()),
        ("tokens", pa.int64()),
        ("text_bytes", pa.int64()),
        ("characters", pa.int64()),
    ]
)
# Number of the page in its shard, its first token there, its tokens, and the time it was listed.
SKIP_SCHEMA = pa.schema([(name, pa.int64()) for name in ("page", "first", "tokens", "time")])
RECORD_TOKENS = 4096


class KeptSpans(NamedTuple):
    """Spans of tokens that are read, between skipped pages.

    Attributes:
        owners: number of each span's shard.
        starts: place of its first token in the ring.
        ends: place after its last one.
        shifts: number to add to a place for the token's number in the shard.
    """

    owners: Int[np.ndarray, " spans"]
    starts: Int[np.ndarray, " spans"]
    ends: Int[np.ndarray, " spans"]
    shifts: Int[np.ndarray, " spans"]


class TokenizedPage(NamedTuple):
    """A page as ids, with its sizes in UTF-8 bytes and in characters."""

    url: str
    tokens: Int[np.ndarray, " tokens"]
    text_bytes: int
    characters: int


def read_page_table(files: BlockFiles, shard: Shard) -> pa.Table:
    """Returns the page table of a shard.

    Raises:
        DataError: if it is missing, damaged, or differs from the manifest.
    """
    with verified_copy(files, shard.page_table) as path:
        table = read_table(path, PAGE_SCHEMA)
    sums = [table.num_rows, *(_sum(table, name) for name in PAGE_SCHEMA.names[1:])]
    expected = [shard.pages, shard.tokens, shard.text_bytes, shard.characters]
    if sums != expected:
        raise DataError(
            f"{files.address(shard.page_table.name)} has {sums} pages, tokens, bytes and "
            f"characters and the manifest records {expected}; tokenize again."
        )
    return table


def _sum(table: pa.Table, name: str) -> int:
    """Returns the sum of a column; -1 if a number in it is negative."""
    least = pc.min(table[name]).as_py()  # pyright: ignore[reportAttributeAccessIssue]
    if least is not None and least < 0:
        return -1
    return pc.sum(table[name]).as_py() or 0  # pyright: ignore[reportAttributeAccessIssue]


def kept_spans(files: BlockFiles, shards: Sequence[Shard], former: Sequence[Shard]) -> KeptSpans:
    """Returns the spans of shards, placed as in the same shards with fewer skipped pages.

    Args:
        files: access to the files of the shards.
        shards: the shards, in order.
        former: the same shards as they were; the shards themselves for places of their own.
    """
    spans, place = [KeptSpans(*(np.empty(0, np.int64) for _ in KeptSpans._fields))], 0
    for number, (shard, was) in enumerate(zip(shards, former, strict=True)):
        skipped = read_skipped(files, shard)
        begins, lengths = _shard_spans(shard.tokens, skipped)
        before, sizes = _shard_spans(shard.tokens, _former_list(skipped, was))
        inside = np.searchsorted(before, begins, side="right") - 1
        starts = place + (np.cumsum(sizes) - sizes)[inside] + begins - before[inside]
        owners = np.full(len(begins), number)
        spans.append(KeptSpans(owners, starts, starts + lengths, begins - starts))
        place += was.left("tokens")
    return KeptSpans(*map(np.concatenate, zip(*spans, strict=True)))


def _shard_spans(tokens: int, skipped: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Returns first token and length of each span of a shard."""
    first, lengths = (skipped[name].to_numpy() for name in ("first", "tokens"))
    begins, stops = np.append(0, first + lengths), np.append(first, tokens)
    is_kept = begins < stops
    return begins[is_kept], (stops - begins)[is_kept]


def _former_list(skipped: pa.Table, was: Shard) -> pa.Table:
    """Returns the part of a list that a shard had earlier.

    Raises:
        DataError: if it is another list.
    """
    times = was.skipped.times if was.skipped else 0
    former = skipped.filter(pa.array(skipped["time"].to_numpy() <= times))
    if sum(former["tokens"].to_pylist()) != was.tokens - was.left("tokens"):
        raise DataError(
            f"The list of skipped pages of {was.name} does not continue the one that the run began "
            "with; name tokens that tokenize --onto made of the run's."
        )
    return former


def read_skipped(files: BlockFiles, shard: Shard) -> pa.Table:
    """Returns the pages of a shard that are not read, in order; none if it has no list.

    Raises:
        DataError: if the list is missing, damaged, or differs from the manifest.
    """
    if shard.skip_list is None or shard.skipped is None:
        return SKIP_SCHEMA.empty_table()
    with verified_copy(files, shard.skip_list) as path:
        table = read_table(path, SKIP_SCHEMA)
    first, tokens = table["first"].to_numpy(), table["tokens"].to_numpy()
    sums = [len(table), int(tokens.sum())]
    expected = [shard.skipped.pages, shard.skipped.tokens]
    ends = np.append(0, first + tokens)
    pages = table["page"].to_numpy()
    in_order = (tokens >= 0).all() and (np.append(first, shard.tokens) >= ends).all()
    in_order &= (np.diff(pages, prepend=-1, append=shard.pages) > 0).all()
    if sums != expected or not in_order:
        raise DataError(
            f"{files.address(shard.skip_list.name)} has {sums} pages and tokens, or pages out of "
            f"order, and the manifest records {expected}; tokenize again."
        )
    return table


def pages_left(files: BlockFiles, shard: Shard) -> pa.Table:
    """Returns the page table of a shard without skipped pages.

    Raises:
        DataError: if it is missing, damaged, or differs from the manifest.
    """
    table = read_page_table(files, shard)
    keep = np.ones(len(table), dtype=bool)
    keep[read_skipped(files, shard)["page"].to_numpy()] = False
    return table.filter(pa.array(keep))


def extend_skipped(
    skipped: pa.Table, table: pa.Table, skip: Bool[np.ndarray, " pages"]
) -> pa.Table:
    """Returns a list of skipped pages with those that are to be skipped besides.

    Args:
        skipped: the list so far.
        table: page table of the shard.
        skip: pages to skip, those of the list among them.
    """
    tokens = table["tokens"].to_numpy()
    pages = np.flatnonzero(skip)
    time = np.full(len(table), max(skipped["time"].to_pylist(), default=0) + 1)
    time[skipped["page"].to_numpy()] = skipped["time"].to_numpy()
    first = (np.cumsum(tokens) - tokens)[pages]
    return pa.table([pages, first, tokens[pages], time[pages]], SKIP_SCHEMA)


def write_skipped(path: Path, skipped: pa.Table) -> None:
    """Writes the list of skipped pages."""
    pq.write_table(skipped, path)


def token_dtype(vocabulary_size: int) -> np.dtype:
    """Returns the narrowest little-endian type for ids below `vocabulary_size`."""
    return np.dtype("<u2") if vocabulary_size <= 2**16 else np.dtype("<u4")


def write_shard(
    directory: Path,
    name: str,
    pages: Sequence[TokenizedPage],
    dtype: np.dtype,
    byte_ids: range = range(0),
    scratch: str | None = None,
) -> Shard:
    """Writes one shard, each of its two files atomically.

    The same pages in the same order give the same bytes. `byte_ids` are the ids of the vocabulary's
    byte pieces, empty without byte fallback. `scratch` is a directory for unfinished files, which
    otherwise lie beside the shard.

    Raises:
        DataError: if an id does not fit the type.
    """
    records, table = directory / f"{name}.arrayrecord", directory / f"{name}.pages.parquet"
    ends = np.cumsum([0, *(len(page.tokens) for page in pages)]).tolist()
    stream = np.empty(ends[-1], dtype)  # filled page by page: a list of them would be a copy more
    for page, (begin, end) in zip(pages, itertools.pairwise(ends), strict=True):
        stream[begin:end] = _narrow_ids(page, dtype)
    rows = [page._asdict() | {"tokens": len(page.tokens)} for page in pages]
    with (
        atomic_write(table, scratch) as unfinished_table,
        atomic_write(records, scratch) as unfinished,
    ):
        _write_records(unfinished, stream)
        pq.write_table(pa.Table.from_pylist(rows, PAGE_SCHEMA), unfinished_table)
    is_byte = (stream >= byte_ids.start) & (stream < byte_ids.stop)
    return Shard(
        name=name,
        pages=len(pages),
        tokens=len(stream),
        text_bytes=sum(page.text_bytes for page in pages),
        characters=sum(page.characters for page in pages),
        unknown_tokens=int(np.count_nonzero(stream == UNKNOWN)),
        byte_tokens=int(np.count_nonzero(is_byte)),
        file_bytes=records.stat().st_size,
        sha256=digest_of_contents(records),
        pages_sha256=digest_of_contents(table),
    )


def _narrow_ids(page: TokenizedPage, dtype: np.dtype) -> np.ndarray:
    most = min(np.iinfo(dtype).max, MOST_IDS - 1)
    wrong = page.tokens[(page.tokens < 0) | (page.tokens > most)]
    if len(wrong):
        raise DataError(
            f"{page.url} has the id {wrong[0]}, and {dtype} holds ids from 0 to {most:,}; the "
            "vocabulary is not the one that the blocks were begun with, so train or name it again."
        )
    return page.tokens.astype(dtype)


def _write_records(path: Path, stream: np.ndarray) -> None:
    """Writes a token stream as records.

    Raises:
        DataError: if the file cannot be written, which ArrayRecord reports without an errno.
    """
    try:
        writer = ArrayRecordWriter(str(path), "group_size:1")
        for start in range(0, len(stream), RECORD_TOKENS):
            writer.write(stream[start : start + RECORD_TOKENS].tobytes())
        writer.close()
    except RuntimeError as error:
        reason = " ".join(str(error).split(";")[0].split())
        raise DataError(
            f"{path} cannot be written ({reason}); make room or repair the disk."
        ) from error


def manifest_entry(shards: Iterable[Shard]) -> dict[str, Any]:
    """Returns the manifest entry of one language and split: totals, then shards in order."""
    ordered = sorted(shards, key=lambda shard: shard.name)
    totals = {count: sum(shard.left(count) for shard in ordered) for count in COUNTS}
    return {**totals, "shards": [msgspec.to_builtins(shard) for shard in ordered]}
