"""Lists of skipped pages beside token blocks."""

import numpy as np
from msgspec.structs import replace

from data.files.digests import digest_of_contents
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import Shard, Skipped
from data.tokens.shards import extend_skipped, read_page_table, read_skipped, write_skipped


def without(blocks: TokenBlocks, shard: Shard, skip: list[bool]) -> Shard:
    """Adds to the list of a shard's skipped pages; returns the shard with it."""
    before = read_skipped(blocks.files, shard)
    if sum(skip) == len(before):
        return shard
    rows = extend_skipped(before, read_page_table(blocks.files, shard), np.array(skip))
    path = blocks.directory / f"{shard.name}.skipped.parquet"
    write_skipped(path, rows)
    times = max(rows["time"].to_pylist())
    tokens = sum(rows["tokens"].to_pylist())
    sizes = {"tokens": tokens, "text_bytes": 3 * tokens, "characters": 2 * tokens}
    digest = digest_of_contents(path)
    sizes |= {"unknown_tokens": 0, "byte_tokens": 0, "times": times}
    return replace(shard, skipped=Skipped(pages=len(rows), sha256=digest, **sizes))
