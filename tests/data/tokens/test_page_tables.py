"""A page table is used only if it is the one that the manifest counts."""

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.errors import DataError
from data.examples.held_out_batches import held_out_pages
from data.stores.digests import digest_of_contents
from data.tokens.page_tables import PAGE_SCHEMA, read_page_table


@pytest.fixture
def blocks(tmp_path, make_blocks):
    return make_blocks(tmp_path, {"sw": 1000})


def replaced(blocks, rows):
    """Writes another page table; returns the shard with its checksum."""
    (shard,) = blocks.shards("sw", "validation")
    path = blocks.directory / shard.page_table.name
    pq.write_table(pa.Table.from_pylist(rows, PAGE_SCHEMA), path)
    return msgspec.structs.replace(shard, pages_sha256=digest_of_contents(path))


def test_an_altered_table_is_refused_before_it_is_read(blocks):
    (shard,) = blocks.shards("sw", "validation")
    path = blocks.directory / shard.page_table.name
    path.write_bytes(path.read_bytes()[:-4] + b"PAR2")
    with pytest.raises(DataError, match=rf"{path} has another checksum"):
        held_out_pages(blocks)
    path.unlink()
    with pytest.raises(DataError, match=rf"{path}, which is missing"):
        held_out_pages(blocks)


@pytest.mark.parametrize(
    "sizes",
    [[(600, 1800, 1200)], [(300, 900, 600), (299, 900, 600)], [(700, 900, 600), (-100, 900, 600)]],
)
def test_a_table_with_other_rows_or_sums_is_refused(blocks, sizes):
    names = PAGE_SCHEMA.names[1:]
    rows = [{"url": "u"} | dict(zip(names, one, strict=True)) for one in sizes]
    shard = replaced(blocks, rows)
    with pytest.raises(DataError, match="the manifest records"):
        read_page_table(blocks.files, shard)


def test_a_table_with_the_manifests_sums_is_read(blocks):
    rows = [{"url": "u", "tokens": 300, "text_bytes": 900, "characters": 600}] * 2
    assert read_page_table(blocks.files, replaced(blocks, rows)).to_pylist() == rows
