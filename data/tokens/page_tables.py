"""Page tables of token blocks: one row per page of a shard, with its address and sizes.

Windows of held-out pages are cut at the ends that a table gives. So a table is compared with the
manifest before it is used: its checksum, its rows and its sums.
"""

import pyarrow as pa
import pyarrow.compute as pc

from data.errors import DataError
from data.stores.parquet_files import read_table
from data.tokens.block_files import BlockFiles, verified
from data.tokens.manifest import Shard

PAGE_SCHEMA = pa.schema(
    [
        ("url", pa.string()),
        ("tokens", pa.int64()),
        ("text_bytes", pa.int64()),
        ("characters", pa.int64()),
    ]
)


def read_page_table(files: BlockFiles, shard: Shard) -> pa.Table:
    """Returns the page table of a shard.

    Raises:
        DataError: if it is missing, damaged, or differs from the manifest.
    """
    with verified(files, shard.page_table) as path:
        table = read_table(path, PAGE_SCHEMA)
    found = [table.num_rows, *(_sum(table, name) for name in PAGE_SCHEMA.names[1:])]
    expected = [shard.pages, shard.tokens, shard.text_bytes, shard.characters]
    if found != expected:
        raise DataError(
            f"{files.address(shard.page_table.name)} has {found} pages, tokens, bytes and "
            f"characters and the manifest records {expected}; tokenize again."
        )
    return table


def _sum(table: pa.Table, name: str) -> int:
    """Returns the sum of a column; -1 if a number in it is negative."""
    least = pc.min(table[name]).as_py()  # pyright: ignore[reportAttributeAccessIssue]
    if least is not None and least < 0:
        return -1
    return pc.sum(table[name]).as_py() or 0  # pyright: ignore[reportAttributeAccessIssue]
