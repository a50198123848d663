"""What the held-out pages of the experiments have in common with the text that was trained on.

    python experiments/held_out.py [--documents DIR] [--web GLOB] [--out DIR] [--table FILE]

The table, docs/results/long/held_out.csv, has a row per held-out page: its language and address,
the source of its text, the number of training pages that come from the same document, and the
share of its strings of 20 characters that a training page of its language has as well.
"""

import csv
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import text
import tyro

CHARACTERS = 20
WEB = "web pages"
COLUMNS = "language", "url", "source", "training_pages", "shared"


@dataclass(frozen=True, kw_only=True)
class Arguments(text.Arguments):
    """Where the text is, and where the table is written."""

    table: Path = Path("docs/results/long/held_out.csv")
    """The table."""


def main(arguments: Arguments) -> None:
    """Writes the table."""
    text.prepare(arguments)
    sources = dict(sources_of(arguments.documents))
    with arguments.table.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for folder in sorted((arguments.out / "corpus" / "pages").iterdir()):
            for url, pages, shared in of_language(folder):
                source = sources.get(document(url), WEB)
                rows.writerow([folder.name, url, source, pages, f"{shared:.4f}"])


def sources_of(documents: Path) -> Iterator[tuple[str, str]]:
    """Yields each document's address without the number of a page, and its source."""
    for path in sorted(documents.glob("*/*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for entry in map(json.loads, lines):
                url = text.page(entry, 0, "")["url"]
                yield document(url), path.name.removesuffix(".jsonl.gz")


def document(url: str) -> str:
    """Returns a page's address without the number of the page."""
    return url.rsplit("/", 1)[0]


def of_language(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Yields address, training pages of the same document and shared strings of held-out pages."""
    pages = pq.read_table(folder, columns=["url", "text", "split"]).to_pylist()
    trained = [page for page in pages if page["split"] == "train"]
    documents = Counter(document(page["url"]) for page in trained)
    known = {string for page in trained for string in strings(page["text"])}
    for page in sorted(pages, key=lambda page: page["url"]):
        if page["split"] != "train":
            own = strings(page["text"])
            shared = sum(string in known for string in own) / max(1, len(own))
            yield page["url"], documents[document(page["url"])], shared


def strings(page: str) -> list[str]:
    """Returns all strings of 20 characters of a page."""
    return [page[at : at + CHARACTERS] for at in range(len(page) - CHARACTERS + 1)]


if __name__ == "__main__":
    main(tyro.cli(Arguments))
