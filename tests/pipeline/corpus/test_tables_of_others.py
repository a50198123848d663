"""A table that someone else wrote is read, or is one sentence with its file, column and row."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.curation.personal_data import SPANS, personal_data
from data.curation.signals import signals
from data.errors import DataError
from data.files.parquet_files import row_count
from data.files.paths import join_path
from data.language_id.columns import columns
from data.reading.page import WRITTEN_WITH_CLUSTERS
from pipeline.corpus.pages import page_rows, page_texts, page_urls, whole_pages
from pipeline.curation.score import BENCHMARKS, SCORES, _batches, read_score_table

NAME = "pages/sw/train-00000-of-00001.parquet"
TEXTS = [f"Andika kwa mtu{number}@firm.co.ke leo." for number in range(3)]
ADDRESSES = [f"https://a.example/{number}" for number in range(3)]
COLUMNS = [TEXTS, ADDRESSES, ["2020"] * 3, ["sw"] * 3, [0.9] * 3, ["train"] * 3, [1] * 3]
PAGES = pa.table([*map(pa.array, COLUMNS)], WRITTEN_WITH_CLUSTERS.names)
ONE_SPAN = [{"kind": "email", "begin": 0, "end": None}]


def scores() -> pa.Table:
    parts = [*columns(TEXTS).columns, *signals(TEXTS, "sw").columns, personal_data(TEXTS, "sw")]
    return pa.table([*parts, pa.array([[]] * 3, BENCHMARKS)], SCORES)


def with_column(table: pa.Table, name: str, values: object) -> pa.Table:
    at = table.column_names.index(name)
    return table.set_column(at, name, pa.chunked_array([pa.array(values)]))


def readers(directory: str) -> dict[str, object]:
    path = join_path(directory, NAME)
    return {
        "page_texts": lambda: list(page_texts(path)),
        "page_urls": lambda: page_urls(path),
        "page_rows": lambda: page_rows(path, ["url", "text"], ""),
        "whole_pages": lambda: whole_pages(directory, NAME, ""),
        "score": lambda: list(_batches(path, "")),
    }


def written(directory, table: pa.Table) -> str:
    path = directory / NAME
    path.parent.mkdir(parents=True)
    pq.write_table(table, path, compression="zstd")
    return str(path)


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("text", [["a"], ["b"], ["c"]], "string in the column text and has list<element: string>"),
        ("text", [1, 2, 3], "string in the column text and has int64"),
        ("text", [b"a", b"b", b"c"], "string in the column text and has binary"),
        ("text", ["a", None, "c"], "each row of the column text and has none in row 1"),
        ("url", ["a", "b", None], "each row of the column url and has none in row 2"),
        ("split", pa.nulls(3), "string in the column split and has null"),
        ("language_probability", [0.5, float("nan"), 1], "from 0 to 1 .* and has nan in row 1"),
        ("language_probability", [0.5, 1, float("inf")], "from 0 to 1 .* and has inf in row 2"),
        ("language_probability", [-1.0, 1, 0], "from 0 to 1 .* and has -1.0 in row 0"),
        ("language_probability", [None, 0.5, 0.5], "and has none in row 0"),
        ("language_probability", ["1", "1", "1"], "double in the column .* and has string"),
        (
            "cluster_size",
            pa.array([1, 1, 1 << 63], pa.uint64()),
            "has 9223372036854775808 in row 2",
        ),
        ("cluster_size", [1, 0, 1], "from 1 to 2,147,483,647 .* and has 0 in row 1"),
        ("cluster_size", [1.0, 1.5, 1.0], "int32 in the column cluster_size and has double"),
    ],
)
def test_a_page_that_cannot_be_is_named(tmp_path, name, values, says):
    path = written(tmp_path, with_column(PAGES, name, values))
    with pytest.raises(DataError, match=f"{path} should have .*{says}; restore the file") as error:
        whole_pages(str(tmp_path), NAME, "")
    assert "\n" not in str(error.value)


def test_a_missing_or_repeated_column_is_named(tmp_path):
    for directory, table, says in (
        ("fewer", PAGES.drop(["url", "text"]), "lacks the columns"),
        ("twice", PAGES.append_column("text", PAGES["text"]).append_column("url", PAGES["url"]),
         "once and has it twice"),
    ):  # fmt: skip
        path = written(tmp_path / directory, table)
        for read in readers(str(tmp_path / directory)).values():
            with pytest.raises(DataError, match=f"{path} should have .* {says}"):
                read()


DAMAGE = {
    "reversed": lambda content: content[::-1],
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "altered": lambda content: content[:4] + b"\xff" * 400 + content[404:],
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named(tmp_path, kind):
    path = written(tmp_path, pa.concat_tables([PAGES] * 400))
    Path(path).write_bytes(DAMAGE[kind](Path(path).read_bytes()))
    reads = [*readers(str(tmp_path)).values()]
    if kind != "altered":  # the footer is whole
        reads.append(lambda: row_count(path))
    for read in reads:
        with pytest.raises(DataError, match=rf"{path} should be a Parquet file and is damaged"):
            read()
    Path(path).unlink()
    with pytest.raises(FileNotFoundError):  # which stays an error of the system
        list(page_texts(path))


def test_what_pages_and_scores_hold_is_read(tmp_path):
    wide = PAGES.append_column("more", pa.array([1, 2, 3]))
    path = written(tmp_path / "pages", wide)
    assert whole_pages(str(tmp_path / "pages"), NAME, "").equals(PAGES.cast(WRITTEN_WITH_CLUSTERS))
    assert list(page_texts(path)) == TEXTS
    path = written(tmp_path / "scores", scores())
    assert read_score_table(path).equals(scores())


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("words", pa.array([1, 2, None], pa.int32()), "of the column words and has none in row 2"),
        ("mean_word_length", [1, float("nan"), 2], "from 0 to .* and has nan in row 1"),
        ("combined_language", ["sw", None, "sw"], "column combined_language and has none in row 1"),
        ("language_share", [0.5, None, 2.0], "from 0 to 1 .* and has 2.0 in row 2"),
        ("personal_data", ["a", "b", "c"], "list<.*> in the column personal_data and has string"),
        ("personal_data", pa.array([[], ONE_SPAN, []], SPANS), "data and has none in row 1"),
        ("benchmarks", [["a"], [], ["b", None]], "the column benchmarks and has none in row 2"),
        ("benchmarks", [[1], [2], [3]], "in the column benchmarks and has list<element: int64>"),
    ],
)
def test_scores_that_cannot_be_are_named(tmp_path, name, values, says):
    path = written(tmp_path, with_column(scores(), name, values))
    with pytest.raises(DataError, match=f"{path} should have .*{says}; restore the file"):
        read_score_table(path)


def test_two_kilobytes_do_not_become_gigabytes(tmp_path):
    """1,024 references to one text of 4 MB."""
    first = {name: PAGES[name][:1].combine_chunks() for name in PAGES.column_names}
    first |= dict.fromkeys(("text", "url"), pa.array(["x" * (4 << 20)]))
    repeated = {
        name: pa.DictionaryArray.from_arrays(pa.repeat(0, 1024), value)
        for name, value in first.items()
    }
    path, pool = written(tmp_path, pa.table(repeated)), pa.default_memory_pool()
    for read in readers(str(tmp_path)).values():
        before = pool.bytes_allocated()
        with pytest.raises(DataError, match=f"{path} should .*its rows take more than"):
            read()
        assert pool.bytes_allocated() - before < 1 << 28


def test_a_file_that_lacks_rows_is_refused(tmp_path, monkeypatch):
    path = written(tmp_path, PAGES)
    whole = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile, "iter_batches", lambda *a, **b: (one[:2] for one in whole(*a, **b))
    )
    with pytest.raises(DataError, match=f"{path} .*declares 3 rows and lacks 1"):
        page_urls(path)
