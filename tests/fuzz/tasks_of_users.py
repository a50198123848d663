"""Descriptions of tasks and their rows."""

import gzip
import json
from pathlib import Path

from family import Family, Read
from pages_of_corpora import parquet

from data.reading.page import BrokenRecord
from data.tasks.description import SHIPPED, find_task, read_rows

TOYS = Path(__file__).parents[1] / "toy_tasks"
DESCRIPTIONS = [path.read_bytes() for path in (*TOYS.glob("*/*.yaml"), *SHIPPED.glob("*.yaml"))]
TABLE = (TOYS / "topics/topics.tsv").read_bytes()[:2000]
ROWS = [{"sentence": f"Habari {number}", "topic": "x", "split": number} for number in range(9)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def rows(path: Path) -> Read:
    found = list(read_rows(path, ["sentence", "topic", "split"], path.name))
    broken = any(isinstance(row, BrokenRecord) for row in found)
    return Read(sum(len(str(row)) for row in found), broken)


def questions(path: Path) -> Read:
    return Read(sum(len(str(row)) for row in read_rows(path, ["context", "answers"], "q")), False)


def description(path: Path) -> Read:
    task, _ = find_task(str(path))
    return Read(len(task.fields), False)


FAMILIES = (
    Family(name="task", file="task.yaml", seeds=DESCRIPTIONS, read=description),
    Family(name="task table", file="a.tsv", seeds=(TABLE, gzip.compress(TABLE)), read=rows),
    Family(name="task lines", file="a.jsonl", seeds=(LINES, gzip.compress(LINES)), read=rows),
    Family(name="task Parquet", file="a.parquet", seeds=(parquet(ROWS),), read=rows),
    Family(
        name="SQuAD", file="a.json", read=questions,
        seeds=[path.read_bytes()[:-1] for path in TOYS.glob("questions/test.*.json")],
    ),
)  # fmt: skip
