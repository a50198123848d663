"""Text in 101 languages as token blocks, whose tokens are of about equal length in every script.

The text is DOCUMENTS/<language code>/<source>.jsonl.gz, one object per line with `text`, `lang`,
`url` and `doc_id`, and archives of web pages. Such documents differ from a crawl in two ways. Many
share an address (all chapters of one book, all translations of one text), and the rules would keep
one of them: here a page's address is its document's, with language and number added. And a document
may be a whole book: it is cut at line ends into pages of at most 1,200 characters, because scoring
a dozen held-out pages per language would otherwise take longer than training. So a held-out page
may come from a document of which other pages are trained on; line deduplication keeps each line in
one page.

The vocabulary is trained on text in which scripts weigh less the more languages share them, so that
a token of every script has 1.6 to 1.7 characters in the mean. With 2,048 ids it had 1.67 characters
of Latin script and 1.09 of others, and gains followed the script (docs/results/archive.md).
"""

import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lanes import stage

from data import languages

PAGE_CHARACTERS = 1_200
IDS = 8_192
# A language weighs (languages of its script) ** -EVEN. Characters per token in Latin script,
# Cyrillic script and the 29 others: 2.27, 1.96, 1.50 with temperature 0.3; 1.89, 1.75, 1.69 with
# 0.5; and 1.70, 1.63, 1.72 with 0.75.
EVEN = 0.75
HELD_OUT = "--validation-share=0.001", "--validation-minimum=12"


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Where the text is, and where results are written."""

    documents: Path = Path("../shared/data/corpus")
    """Documents by language: DIR/<code>/<source>.jsonl.gz."""
    web: str = "../shared/data/web/*.warc.wet.gz"
    """Archives of web pages with declared languages."""
    out: Path = Path("runs/long")
    """Directory for all results."""


def pages(text: str) -> Iterator[str]:
    """Cuts a text at line ends into pages; a longer line is a page of its own."""
    lines: list[str] = []
    size = 0
    for line in text.splitlines():
        if lines and size + len(line) > PAGE_CHARACTERS:
            yield "\n".join(lines)
            lines, size = [], 0
        lines.append(line)
        size += len(line) + 1
    if lines:
        yield "\n".join(lines)


def page(document: dict[str, str], number: int, text: str) -> dict[str, str]:
    """Returns a page's record, whose address no other page has."""
    language = document["lang"]
    url = f"{document['url']}#{language}/{document['doc_id']}/{number}"
    return {"text": text, "url": url, "language": language}


def write_pages(documents: Path, out: Path) -> None:
    """Writes one file per language."""
    out.mkdir(parents=True, exist_ok=True)
    for folder in sorted(path for path in documents.iterdir() if path.is_dir()):
        with gzip.open(out / f"{folder.name}.jsonl.gz", "wt", compresslevel=3) as file:
            for source in sorted(folder.glob("*.jsonl.gz")):
                with gzip.open(source, "rt", encoding="utf-8") as lines:
                    for document in map(json.loads, lines):
                        for number, text in enumerate(pages(document["text"])):
                            file.write(json.dumps(page(document, number, text)) + "\n")


def prepare(arguments: Arguments, python: str = sys.executable) -> None:
    """Makes token blocks of documents and archives, with this Python's installation of mswitch.

    Raises:
        SystemExit: if there are no documents.
    """
    if not arguments.documents.is_dir():
        raise SystemExit(
            f"Documents were expected in {arguments.documents}, which is not a directory; name a "
            "folder of <language>/<source>.jsonl.gz with --documents. `make demo` needs no text."
        )
    run = partial(stage, arguments.out, python=python)
    out, raw = arguments.out, arguments.out / "raw"
    if not (out / "corpus" / "manifest.json").exists():
        write_pages(arguments.documents, raw)
    inputs = f"--input={raw}/*.jsonl.gz", arguments.web
    run("clean", "--rules=demo", *inputs, *HELD_OUT, f"--out={out}/corpus")
    mixture = out / "weights.json"
    mixture.write_text(json.dumps(weights(arguments.documents)))
    size = f"--size={IDS}", "--character-coverage=0.98", "--sample-characters=4000000"
    even = *size, f"--mixture=weights:{mixture}"
    run("vocabulary", f"--corpus={out}/corpus", *even, f"--out={out}/vocabulary")
    blocks = f"--corpus={out}/corpus", f"--vocabulary={out}/vocabulary"
    run("tokenize", *blocks, f"--out={out}/tokens")


def weights(documents: Path) -> dict[str, float]:
    """Returns the weight of each language with documents in the vocabulary's text."""
    scripts = {
        language.code: language.script
        for path in documents.iterdir()
        if (language := languages.find(path.name)) is not None
    }
    shared = Counter(scripts.values())
    return {code: shared[script] ** -EVEN for code, script in sorted(scripts.items())}
