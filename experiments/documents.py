"""Makes pages of a folder of documents, so that `mswitch clean` can read them like a crawl.

    python experiments/documents.py DOCUMENTS OUT

DOCUMENTS holds `<language code>/<source>.jsonl.gz`, an object a line with `text`, `lang`, `url` and
`doc_id`. Two things stand between such a corpus and a crawl. Many documents share an address (all
chapters of one book, all translations of one text), of which the rules would keep one: here a
page's address is that of its document with language and number. And a document may be a whole book:
it is cut at line ends into pages of at most 1,200 characters, or scoring a dozen held-out pages a
language would take longer than training. So a held-out page may come from a document of which other
pages are trained on; line deduplication leaves each line to one of them.
"""

import gzip
import json
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

PAGE_CHARACTERS = 1_200


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


def write(documents: Path, out: Path, languages: Collection[str] | None = None) -> int:
    """Writes one file a language, of all or of those named; returns the number of pages."""
    out.mkdir(parents=True, exist_ok=True)
    count = 0
    for language in sorted(path for path in documents.iterdir() if path.is_dir()):
        if languages is not None and language.name not in languages:
            continue
        with gzip.open(out / f"{language.name}.jsonl.gz", "wt", compresslevel=3) as file:
            for source in sorted(language.glob("*.jsonl.gz")):
                with gzip.open(source, "rt", encoding="utf-8") as lines:
                    for document in map(json.loads, lines):
                        for number, text in enumerate(pages(document["text"])):
                            file.write(json.dumps(page(document, number, text)) + "\n")
                            count += 1
    return count


if __name__ == "__main__":
    print(f"{write(Path(sys.argv[1]), Path(sys.argv[2])):,} pages")
