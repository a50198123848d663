"""Published corpora: C4's JSON lines, and Parquet."""

import gzip
import io
import itertools
import json
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
from family import Family, read_pages

from data.reading import records

ROWS = [
    {"text": f"Habari {number}.\nKaribu." * 9, "url": f"https://a.example/{number}",
     "timestamp": "2019-04-25T12:57:54Z", "language": "sw", "split": "train", "n": [number]}
    for number in range(20)
]  # fmt: skip
LINES = "".join(json.dumps(row) + "\n" for row in ROWS[:4]).encode()


def parquet(rows: list[dict], **options) -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), content, **options)
    return content.getvalue()


PARQUET = [
    parquet(ROWS[:count], compression=compression, use_dictionary=dictionary, row_group_size=7)
    for count, compression, dictionary in itertools.product(
        (3, 20), ("none", "snappy", "zstd", "gzip"), (True, False)
    )
]
DATED = parquet([row | {"timestamp": datetime(2026, 1, 1)} for row in ROWS])
FAMILIES = (
    Family(
        name="C4 JSON lines", file="c4-sw.tfrecord-00000-of-00001.json.gz",
        seeds=(LINES, LINES[: len(LINES) // 4], gzip.compress(LINES), b'{"text": "a", "url": "b"}'),
        read=lambda path: read_pages(records.read_json_lines(path)),
    ),
    Family(
        name="Parquet pages", file="train-00000-of-00001.parquet",
        seeds=(*PARQUET, DATED, parquet(ROWS, data_page_version="2.0", write_statistics=False)),
        read=lambda path: read_pages(records.read_parquet(path)),
    ),
)  # fmt: skip
