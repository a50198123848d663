from hypothesis import given
from hypothesis import strategies as st

from data.reading.page import BrokenRecord, Page
from pipeline.cleaning.shards import (
    DEFAULT_CUT,
    MOST_PARTITIONS,
    MOST_SHARDS,
    Cut,
    InputFile,
    chunks,
    partitions,
    shards,
)

SIZES = st.lists(st.integers(0, 500), max_size=40)


def files_of(sizes: list[int]) -> list[InputFile]:
    return [InputFile(f"{number}.wet", size) for number, size in enumerate(sizes)]


@given(SIZES)
def test_every_file_is_in_one_shard_in_order(sizes):
    files = files_of(sizes)
    groups = shards(files, Cut(shard_bytes=300))
    assert [path for group in groups for path in group] == [file.path for file in files]
    size = {file.path: file.size for file in files}
    assert all(sum(map(size.get, group)) <= 300 or len(group) == 1 for group in groups)


@given(SIZES)
def test_partitions_are_a_power_of_two_and_hold_no_more_than_the_cut_allows(sizes):
    count = partitions(files_of(sizes), Cut(partition_bytes=100))
    assert count.bit_count() == 1
    assert sum(sizes) <= 100 * count
    assert count == 1 or sum(sizes) > 100 * count / 2


def test_a_crawl_is_cut_into_bounded_numbers():
    crawl = files_of([120_000_000] * 72_000)
    assert len(shards(crawl, DEFAULT_CUT)) <= 1.1 * MOST_SHARDS
    assert partitions(crawl, DEFAULT_CUT) == MOST_PARTITIONS
    hundred = files_of([120_000_000] * 100)
    assert len(shards(hundred, DEFAULT_CUT)) == 100  # one file per shard


@given(st.lists(st.integers(0, 30)), st.data())
def test_chunks_keep_every_record_in_order(lengths, data):
    records = [
        BrokenRecord("f", at, "x") if data.draw(st.booleans()) else Page(f"u{at}", "x" * length)
        for at, length in enumerate(lengths)
    ]
    cut = list(chunks(records, 40))
    assert [page for pages, _ in cut for page in pages] == [
        one for one in records if isinstance(one, Page)
    ]
    assert [one for _, broken in cut for one in broken] == [
        one for one in records if isinstance(one, BrokenRecord)
    ]
    assert all(sum(len(page.text) for page in pages[:-1]) < 40 for pages, _ in cut)


def test_addresses_count_like_text():
    records = [Page("u" * 300, "x")] * 9
    assert [len(pages) for pages, _ in chunks(records, 1000)] == [2, 2, 2, 2, 1]
