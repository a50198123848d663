"""A page table is used only if it is the one that the manifest counts.

Skipped pages: readers see blocks without them as blocks that were written without them. So does the
reader that docs/files.md prints.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import to_builtins
from msgspec.structs import replace
from skipped_lists import without
from small_blocks import VOCABULARY

from data.errors import DataError
from data.examples.held_out_batches import held_out_pages
from data.files.digests import digest_of_contents
from data.files.json_files import of_shape
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import Shard, TokenManifest
from data.tokens.shards import (
    PAGE_SCHEMA,
    TokenizedPage,
    manifest_entry,
    read_page_table,
    token_dtype,
    write_shard,
)


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


U2 = np.dtype("<u2")
SIZES = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6), min_size=1, max_size=3)


def page(number: int, tokens: int) -> TokenizedPage:
    ids = 3 + (np.arange(tokens) + 10 * number) % 1000
    return TokenizedPage(f"https://{number}.example/", ids, 3 * tokens, 2 * tokens)


def blocks_of(directory: Path, shards: list[Shard]) -> TokenBlocks:
    entry = {"train": manifest_entry(shards)}
    manifest = {"token_dtype": U2.str, "vocabulary": VOCABULARY, "languages": {"sw": entry}}
    return TokenBlocks(directory, of_shape(manifest, TokenManifest, "here"))


def shards_of(directory: Path, pages: list[list[TokenizedPage]]) -> list[Shard]:
    return [write_shard(directory, f"sw/train-{n}", some, U2) for n, some in enumerate(pages)]


@settings(max_examples=60)
@given(sizes=SIZES, data=st.data())
def test_blocks_with_skipped_pages_are_blocks_without_them(tmp_path_factory, sizes, data):
    numbers = iter(range(100))
    pages = [[page(next(numbers), size) for size in some] for some in sizes]
    skip = [[data.draw(st.booleans()) for _ in some] for some in pages]
    left = [
        [one for one, gone in zip(*both, strict=True) if not gone]
        for both in zip(pages, skip, strict=True)
    ]
    here, there = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("there")
    shards = shards_of(here, pages)
    plain = blocks_of(here, shards)
    some = [without(plain, *both) for both in zip(shards, skip, strict=True)]
    found, expected = blocks_of(here, some), blocks_of(there, shards_of(there, left))
    for count in ("pages", "tokens", "text_bytes", "characters"):
        assert found.counts("train", count) == expected.counts("train", count)
    if not expected.counts("train", "tokens"):
        return
    assert [one.url for one in found.pages("sw", "train")] == [p.url for s in left for p in s]
    most = data.draw(st.integers(1, 20))
    few, whole = found.pages("sw", "train", most), expected.pages("sw", "train")[:most]
    assert [one.url for one in few] == [one.url for one in whole]
    assert [one.tokens.tolist() for one in few] == [one.tokens.tolist() for one in whole]
    ring, other = found.stream("sw", "train"), expected.stream("sw", "train")
    assert len(ring) == len(other)
    starts, length = list(range(len(other))), data.draw(st.integers(1, 20))
    assert np.array_equal(ring.read_windows(starts, length), other.read_windows(starts, length))


@settings(max_examples=60)
@given(sizes=SIZES, data=st.data())
def test_windows_stay_where_they_were_when_more_pages_are_skipped(tmp_path_factory, sizes, data):
    """A window shows what is left from its place on; all windows together show all that is left.

    One that began in a page that left begins as many tokens after it.
    """
    numbers = iter(range(100))
    here = tmp_path_factory.mktemp("here")
    pages = [[page(next(numbers), size) for size in some] for some in sizes]
    first = [[data.draw(st.booleans()) for _ in some] for some in pages]
    later = [[one or data.draw(st.booleans()) for one in some] for some in first]
    plain = blocks_of(here, shards_of(here, pages))
    shards = plain.shards("sw", "train")
    was = [without(plain, *both) for both in zip(shards, first, strict=True)]
    before = blocks_of(here, was)
    total = before.counts("train", "tokens").get("sw", 0)
    former = before.stream("sw", "train").read(0, total) if total else []
    now = [without(plain, *both) for both in zip(was, later, strict=True)]
    left = [
        (token, gone)
        for some, skips, gones in zip(pages, first, later, strict=True)
        for one, skip, gone in zip(some, skips, gones, strict=True)
        if not skip
        for token in one.tokens.tolist()
    ]
    assert [token for token, _ in left] == list(former)
    if not any(not gone for _, gone in left):
        return
    ring = plain.stream_of(now, placed_by=was)
    assert len(ring) == len(former)
    raw = data.draw(st.integers(1, 12))
    round_and_round = left * (2 + raw + len(left))
    for start in range(len(left)):
        kept = [token for token, gone in round_and_round[start:] if not gone]
        gone_before = 0
        while gone_before <= start and left[start - gone_before][1]:
            gone_before += 1
        into = max(gone_before - 1, 0)
        assert ring.read(start, raw).tolist() == kept[into : into + raw]
    shown = Counter(t for start in range(0, len(left), raw) for t in ring.read(start, raw).tolist())
    assert not Counter({token: 1 for token, gone in left if not gone}) - shown


@pytest.mark.parametrize("ids", [1024, 2**16 + 1])
def test_the_reader_in_the_documents_reads_what_is_left(tmp_path, monkeypatch, ids):
    document = (Path(__file__).parents[3] / "docs/files.md").read_text(encoding="utf-8")
    (reader,) = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    pages = [[page(0, 5000), page(1, 0), page(2, 7)], [page(3, 9), page(4, 1)]]
    (tmp_path / "tokens/sw").mkdir(parents=True)
    shards = [
        write_shard(tmp_path / "tokens", f"sw/train-{number}", some, token_dtype(ids))
        for number, some in enumerate(pages)
    ]
    without(blocks_of(tmp_path / "tokens", shards), shards[1], [True, False])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    here: dict[str, Any] = {}
    exec(reader, here)
    left = [page for page in pages[0] + pages[1] if page.url != "https://3.example/"]
    assert here["rows"]["url"] == [page.url for page in left]
    assert here["rows"]["input_ids"] == [page.tokens.tolist() for page in left]


def test_a_damaged_list_is_named(tmp_path):
    plain = blocks_of(tmp_path, shards_of(tmp_path, [[page(0, 5), page(1, 5)]]))
    (shard,) = plain.shards("sw", "train")
    some = without(plain, shard, [True, False])
    assert some.skipped is not None
    wrong = replace(some, skipped=replace(some.skipped, tokens=4))
    with pytest.raises(DataError, match=r"skipped.parquet has \[1, 5\] pages and tokens"):
        blocks_of(tmp_path, [wrong]).stream("sw", "train")
    (tmp_path / "sw/train-0.skipped.parquet").write_bytes(b"other")
    with pytest.raises(DataError, match="checksum"):
        blocks_of(tmp_path, [some]).stream("sw", "train")
    assert "skipped" not in to_builtins(shard)
