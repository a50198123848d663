""" """

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from data.reading.crawl import files_named
from data.reading.page import BrokenRecord, Page
from pipeline.beam.workspace import Workspace, pack_files
from pipeline.corpus import read
from pipeline.corpus.read import (
    DEFAULT_CUT,
    MOST_PARTITIONS,
    MOST_SHARDS,
    Cut,
    InputFile,
    ReadShard,
    chunks,
    input_files,
    names_of,
    partitions,
    shards,
)


@given(st.lists(st.integers(0, 50)), st.integers(1, 60))
def test_packing_keeps_order_fills_shards_and_lets_only_large_files_exceed_them(sizes, limit):
    files = files_of(sizes)
    packed = pack_files(files, limit)
    assert [file for shard in packed for file in shard] == files
    assert all(packed)
    full = [sum(file.size for file in shard) for shard in packed]
    assert all(size <= limit or len(shard) == 1 for size, shard in zip(full, packed, strict=True))
    assert all(size + shard[0].size > limit for size, shard in zip(full, packed[1:], strict=False))
    paths = [[file.path for file in shard] for shard in packed]
    assert shards(files, Cut(shard_bytes=limit)) == paths


SIZES = st.lists(st.integers(0, 500), max_size=40)


def files_of(sizes: list[int]) -> list[InputFile]:
    return [InputFile(f"{number}.wet", size) for number, size in enumerate(sizes)]


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


def test_a_list_with_a_file_and_a_folder_of_one_name_is_one_sentence(tmp_path):
    path = tmp_path / "wet.paths"
    for ends in itertools.permutations(("", "-b.wet.gz", "/b.wet.gz")):
        path.write_text("\n".join(f"x/a.wet.gz{end}" for end in ends))
        with pytest.raises(DataError, match=r"the file .*x/a.wet.gz and, in .*/b.wet.gz, a folder"):
            input_files([str(path)])
    path.write_text("\n".join(f"x/a.wet.gz{end}.wet.gz" for end in (".version", ".part", "-b")))
    assert len(input_files([str(path)])) == 3


@given(st.lists(st.integers(0, 30)), st.data())
def test_chunks_keep_every_record_in_order(lengths, data):
    records = [
        BrokenRecord("f", at, "x") if data.draw(st.booleans()) else Page(f"u{at}", "x" * length)
        for at, length in enumerate(lengths)
    ]
    cut = list(chunks(records, 40))
    for part, kind in enumerate((Page, BrokenRecord)):
        kept = [record for chunk in cut for record in chunk[part]]
        assert kept == [record for record in records if isinstance(record, kind)]
    assert all(sum(len(page.text) for page in pages[:-1]) < 40 for pages, _ in cut)
    long_addresses = [Page("u" * 300, "x")] * 9  # count like text
    assert [len(pages) for pages, _ in chunks(long_addresses, 1000)] == [2, 2, 2, 2, 1]


@pytest.mark.parametrize(
    "name, message",
    [("none-*.wet", "names no file"), ("page.html", r"unknown format; files must end in \.wet")],
)
def test_missing_and_unreadable_input_is_refused(tmp_path, name, message):
    (tmp_path / "page.html").write_text("<p>")
    with pytest.raises(DataError, match=message):
        input_files([str(tmp_path / name)])


def test_a_file_is_named_as_a_shell_names_it(tmp_path):
    """As a glob, `a[1].jsonl` is another file."""
    names = [str(tmp_path / name) for name in ("a1.jsonl", "a[1].jsonl", "b*.jsonl")]
    for name in names:
        Path(name).touch()
    assert [file.path for file in input_files(names)] == sorted(names)
    assert names_of(names[1]) == [names[1]]
    assert [file.path for file in input_files([f"{tmp_path}/a[[]*"])] == [names[1]]


def test_a_list_of_a_crawls_files_is_read_on_this_machine():
    assert files_named(["/here/wet.paths.gz", "gs://bucket/*.wet.gz"]) == ["gs://bucket/*.wet.gz"]


@pytest.mark.parametrize(
    "base", ["crawl.example", "ftp://crawl.example", "https://", "http://..", "http://a:pw@b"]
)
def test_a_base_that_names_no_server_or_holds_a_password_is_refused(base):
    with pytest.raises(DataError, match="begins with https:// or http://") as refused:
        input_files([], base)
    assert "pw" not in str(refused.value)


def test_the_rest_of_a_file_with_too_many_lines_is_a_broken_record(tmp_path, monkeypatch):
    monkeypatch.setattr(read, "NUMBERS", 5)  # not 2**32
    for name, texts in {"a": ["1\n2\n3", "4\n5", "6"], "b": ["7"]}.items():
        pages = [json.dumps({"url": f"http://{name}/{text}", "text": text}) for text in texts]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(pages))
    space = Workspace(str(tmp_path / "work"), "key")
    space.write_shards([[str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]])
    step = ReadShard(space, (), one_page_per_address=False, cut=DEFAULT_CUT, crawl_cache=None)
    tally = step(0)
    assert tally.number("read") == 2
    files = [Path(file).name for file, _ in tally.broken["too_many_lines"]]
    assert files == ["a.jsonl", "b.jsonl"]
