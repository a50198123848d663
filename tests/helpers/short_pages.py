"""JSON Lines of which `clean` shuffles more bytes than an engine's heap has: very many short pages.

Every address is on two pages, which lie in different files and have different times. So each page
is sent once, in 62 bytes, and the newer one stays until a rule rejects it: it is one short line.
One page more is kept, as a corpus without pages is an error.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.demo import shipped_pages

PAGES_OF_FILE = 250_000  # 20 MB
LONG = 400  # characters; what mc4 asks of three lines
KEPT = "https://kept.example/"
FIRST, EVEN, ODD = (f"2026-01-0{day}T00:00:00Z" for day in (2, 3, 1))


def write(directory: Path, addresses: int) -> None:
    """Writes two pages per address: `a` first, and `b`, which is newer where the number is even."""
    for letter in "ab":
        for start in range(0, addresses, PAGES_OF_FILE):
            numbers = range(start, min(start + PAGES_OF_FILE, addresses))
            file = directory / f"{letter}-{start:09d}.jsonl"
            file.write_text("".join(_records(letter, numbers)), encoding="utf-8")
    shipped = (page.text.replace("\n", " ") for page in shipped_pages())
    text = next(one for one in shipped if len(one) > LONG)[:LONG]
    kept = {"url": KEPT, "timestamp": FIRST, "text": "\n".join([text] * 3)}
    (directory / "kept.jsonl").write_text(json.dumps(kept) + "\n", encoding="utf-8")


def _records(letter: str, numbers: range) -> Iterator[str]:
    for n in numbers:
        date = FIRST if letter == "a" else (ODD if n % 2 else EVEN)
        url = f"https://{n}.example/"
        yield f'{{"url": "{url}", "timestamp": "{date}", "text": "{letter}"}}\n'


def check(corpus: Path, addresses: int) -> None:
    """Asserts that each address has one page of each reason, and the newer one the rule's."""
    seen = {reason: np.zeros(addresses, bool) for reason in ("duplicate_url", "too_few_long_lines")}
    (pages,) = corpus.glob("pages/*/*.parquet")
    assert pq.read_table(pages, columns=["url"])["url"].to_pylist() == [KEPT]
    for file in corpus.glob("rejected/*/*.parquet"):
        table = pq.read_table(file, columns=["url", "text", "reason"])
        hosts = pc.extract_regex(table["url"], r"https://(?P<n>\d+)\.example/")
        numbers = pc.struct_field(hosts, "n").cast(pa.int64()).to_numpy()
        is_b = pc.equal(table["text"], "b").to_numpy()
        newer = is_b == (numbers % 2 == 0)
        for reason, expected in (("too_few_long_lines", newer), ("duplicate_url", ~newer)):
            found = pc.equal(table["reason"], reason).to_numpy()
            assert (found == expected).all()
            assert not seen[reason][numbers[found]].any()
            seen[reason][numbers[found]] = True
    assert all(found.all() for found in seen.values())
