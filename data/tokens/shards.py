"""The on-disk format of tokens, ArrayRecord shards, and how one is written; `blocks.py` reads them.

    DIR/manifest.json                                   counts, vocabulary digest, shards
    DIR/sw/train-00000-of-00001.arrayrecord             token records
    DIR/sw/train-00000-of-00001.pages.parquet           one row per page: url and counts
    DIR/sw/validation-00000-of-00001.arrayrecord        ...

Pages are concatenated without a separator, as in T5's pretraining, so any window length can be cut
from the same blocks. The page table has the ends of pages. A record has exactly 4,096 ids (the last
of a shard may be shorter), little-endian uint16 if the vocabulary allows it and uint32 otherwise,
so the record of a token follows by division. `group_size:1` makes records independently readable,
which Grain requires. The reasons are in docs/decisions/token-blocks.md.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from array_record.python.array_record_module import ArrayRecordWriter
from jaxtyping import Int

from data.errors import DataError
from data.stores.atomic import atomic_write
from data.stores.digests import digest_of_contents
from data.tokens.manifest import COUNTS, MOST_IDS, Shard
from data.tokens.page_tables import PAGE_SCHEMA
from data.tokens.tokenizer import UNKNOWN

RECORD_TOKENS = 4096


class TokenizedPage(NamedTuple):
    """A page as ids, with its sizes in UTF-8 bytes and in characters."""

    url: str
    tokens: Int[np.ndarray, " tokens"]
    text_bytes: int
    characters: int


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
    stream = np.concatenate([np.empty(0, dtype), *(_narrowed(page, dtype) for page in pages)])
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


def _narrowed(page: TokenizedPage, dtype: np.dtype) -> np.ndarray:
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
