import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from data.reading.page import BrokenRecord, Page
from data.reading.parquet_pages import read

ROWS = [
    {"text": "Habari.", "url": "https://a.example/", "language": "sw", "n": 1},
    {"text": None, "url": "https://b.example/", "language": "sw", "n": 2},
    {"text": "שלום.", "url": "https://c.example/", "language": "he", "n": 3},
]


def test_rows_are_pages_and_a_broken_one_is_counted(tmp_path):
    path = tmp_path / "validation-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    first, second, third = read(path)
    assert first == Page(
        "https://a.example/", "Habari.", declared_language="sw", split="validation"
    )
    assert second == BrokenRecord(f"{tmp_path.name}/{path.name}", 1, "no_text")
    assert isinstance(third, Page)
    assert third.declared_language == "iw"


@settings(max_examples=60)
@given(st.integers(0, 1500), st.integers(1, 255), st.booleans())
def test_damage_never_raises(tmp_path_factory, at, flip, cut):
    path = tmp_path_factory.getbasetemp() / "damaged.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    whole = path.read_bytes()
    at = at % len(whole)
    path.write_bytes(
        whole[:at] if cut else whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :]
    )
    assert all(isinstance(one, Page | BrokenRecord) for one in read(path))
