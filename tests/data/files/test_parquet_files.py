"""A damaged Parquet file, or one of another kind, is one sentence with its name."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.errors import DataError
from data.files.parquet_files import read_table

SCHEMA = pa.schema([("url", pa.string()), ("tokens", pa.int64())])
TABLE = pa.table({"url": ["a", None, "é" * 90], "tokens": [1, 2, 3]}, SCHEMA)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("parquet") / "one.parquet"
    pq.write_table(TABLE, path)
    return path, path.read_bytes()


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_gives_a_table_or_one_sentence(whole, data):
    path, content = whole
    at = data.draw(st.integers(0, len(content)))
    spoilt = bytearray(content)
    spoilt[at : at + 1] = data.draw(st.binary(max_size=3))
    path.write_bytes(spoilt[: data.draw(st.integers(0, len(spoilt) * 4))])
    message = ""
    try:
        read_table(path, SCHEMA)
    except DataError as error:
        message = str(error)
    assert message.startswith(str(path) if message else "")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (TABLE.drop(["tokens"]), "lacks the columns tokens"),
        (pa.table({"url": ["a"], "tokens": ["many"]}), "int64 in the column tokens and has string"),
        (
            pa.table({"url": ["a"], "tokens": pa.array([None], pa.int64())}),
            "a value in each row of the column tokens and has none in row 0",
        ),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, table, message):
    pq.write_table(table, tmp_path / "other.parquet")
    with pytest.raises(DataError, match=rf"other\.parquet .*{message}"):
        read_table(tmp_path / "other.parquet", SCHEMA)


def test_columns_are_chosen_and_converted(tmp_path):
    wider = pa.table({"more": [1], "tokens": pa.array([7], pa.int32()), "url": ["a"]})
    pq.write_table(wider, tmp_path / "one.parquet")
    assert read_table(tmp_path / "one.parquet", SCHEMA).equals(
        pa.table({"url": ["a"], "tokens": [7]}, SCHEMA)
    )


def test_an_error_of_the_system_stays_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "none.parquet", SCHEMA)


@pytest.mark.parametrize(("url", "rows"), [("a" * (1 << 20), 1 << 12), ("a" * 40, 1 << 24)])
def test_a_small_file_that_stands_for_too_much_is_refused(tmp_path, url, rows):
    """4 GB of one long text, and 2^24 equal rows, in 200 kB or less."""
    path = tmp_path / "one.parquet"
    urls = pa.DictionaryArray.from_arrays(pa.repeat(0, rows), pa.array([url]))
    table = pa.table([urls, pa.repeat(1, rows)], ["url", "tokens"])
    pq.write_table(table, path, compression="zstd")
    assert path.stat().st_size < 200_000
    with pytest.raises(DataError, match=r"one\.parquet should .*its rows take more than"):
        read_table(path, SCHEMA)


def test_equal_texts_of_a_whole_file_of_pages_are_read(tmp_path):
    """256 MB, as a file of the corpus may have, in some kB."""
    rows = 256
    urls = pa.DictionaryArray.from_arrays(pa.repeat(0, rows), pa.array(["a" * (1 << 20)]))
    pq.write_table(pa.table([urls, pa.repeat(1, rows)], ["url", "tokens"]), tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet", SCHEMA).num_rows == rows
