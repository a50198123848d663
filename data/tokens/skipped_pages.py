"""Pages of token blocks that are no longer in the corpus: they stay in the blocks and are not read.

A shard may have a list beside it, `sw/train-00000-of-00001.skipped.parquet`, with one row per such
page. The tokens between skipped pages are spans; readers see the spans as if nothing were between
them. Lists only grow until the blocks are written again. Each row records in which addition to the
list it was added (1, 2, ...), so every earlier version of a list can be recovered.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Int

from data.errors import DataError
from data.stores.parquet_files import read_table
from data.tokens.block_files import BlockFiles, verified
from data.tokens.manifest import Shard
from data.tokens.page_tables import read_page_table

# Number of the page in its shard, its first token there, its tokens, and the time it was listed.
SKIP_SCHEMA = pa.schema([(name, pa.int64()) for name in ("page", "first", "tokens", "time")])


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


def kept_spans(files: BlockFiles, shards: Sequence[Shard], former: Sequence[Shard]) -> KeptSpans:
    """Returns the spans of shards, placed as in the same shards with fewer skipped pages.

    Args:
        files: access to the files of the shards.
        shards: the shards, in order.
        former: the same shards as they were; the shards themselves for places of their own.
    """
    found, place = [_none()], 0
    for number, (shard, was) in enumerate(zip(shards, former, strict=True)):
        skipped = read_skipped(files, shard)
        begins, lengths = _left(shard.tokens, skipped)
        before, sizes = _left(shard.tokens, _as_it_was(skipped, was))
        inside = np.searchsorted(before, begins, side="right") - 1
        starts = place + (np.cumsum(sizes) - sizes)[inside] + begins - before[inside]
        owners = np.full(len(begins), number)
        found.append(KeptSpans(owners, starts, starts + lengths, begins - starts))
        place += was.left("tokens")
    return KeptSpans(*map(np.concatenate, zip(*found, strict=True)))


def _none() -> KeptSpans:
    return KeptSpans(*(np.empty(0, np.int64) for _ in KeptSpans._fields))


def _left(tokens: int, skipped: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Returns first token and length of each span of a shard."""
    first, lengths = (skipped[name].to_numpy() for name in ("first", "tokens"))
    begins, stops = np.append(0, first + lengths), np.append(first, tokens)
    some = begins < stops
    return begins[some], (stops - begins)[some]


def _as_it_was(skipped: pa.Table, was: Shard) -> pa.Table:
    """Returns the part of a list that a shard had earlier.

    Raises:
        DataError: if it is another list.
    """
    times = was.skipped.times if was.skipped else 0
    some = skipped.filter(pa.array(skipped["time"].to_numpy() <= times))
    if sum(some["tokens"].to_pylist()) != was.tokens - was.left("tokens"):
        raise DataError(
            f"The list of skipped pages of {was.name} does not continue the one that the run began "
            "with; name tokens that tokenize --onto made of the run's."
        )
    return some


def read_skipped(files: BlockFiles, shard: Shard) -> pa.Table:
    """Returns the pages of a shard that are not read, in order; none if it has no list.

    Raises:
        DataError: if the list is missing, damaged, or differs from the manifest.
    """
    if shard.skip_list is None or shard.skipped is None:
        return SKIP_SCHEMA.empty_table()
    with verified(files, shard.skip_list) as path:
        table = read_table(path, SKIP_SCHEMA)
    first, tokens = table["first"].to_numpy(), table["tokens"].to_numpy()
    found = [len(table), int(tokens.sum())]
    expected = [shard.skipped.pages, shard.skipped.tokens]
    ends = np.append(0, first + tokens)
    pages = table["page"].to_numpy()
    in_order = (tokens >= 0).all() and (np.append(first, shard.tokens) >= ends).all()
    in_order &= (np.diff(pages, prepend=-1, append=shard.pages) > 0).all()
    if found != expected or not in_order:
        raise DataError(
            f"{files.address(shard.skip_list.name)} has {found} pages and tokens, or pages out of "
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


def extended(skipped: pa.Table, table: pa.Table, skip: Bool[np.ndarray, " pages"]) -> pa.Table:
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
