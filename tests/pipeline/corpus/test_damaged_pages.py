"""A file of pages that is damaged, or changed while it is read, is one sentence with its name."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.errors import DataError
from data.files.parquet_files import row_count
from pipeline.corpus.pages import page_rows, page_texts

DAMAGE = {
    "reversed": lambda content: content[::-1],
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "altered": lambda content: content[:4] + b"\xff" * 400 + content[404:],
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named(tmp_path, kind):
    path = tmp_path / "train-00000-of-00001.parquet"
    pq.write_table(pa.table({"text": [f"{number} habari" for number in range(400)]}), path)
    assert row_count(str(path)) == len(list(page_texts(path))) == 400
    path.write_bytes(DAMAGE[kind](path.read_bytes()))
    reads = [lambda: list(page_texts(path)), lambda: page_rows(str(path), ["text"], "")]
    if kind != "altered":  # the footer is whole
        reads.append(lambda: row_count(str(path)))
    for read in reads:
        with pytest.raises(DataError, match=rf"{path} should be a Parquet file and is damaged"):
            read()


def test_a_missing_file_stays_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(page_texts(tmp_path / "none.parquet"))
