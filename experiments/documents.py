"""Makes pages from a folder of documents, so that `mswitch clean` can read them like a crawl.

    python experiments/documents.py DOCUMENTS OUT

DOCUMENTS holds `<language code>/<source>.jsonl.gz`, one object per line with `text`, `lang`, `url`
and `doc_id`. Such a corpus differs from a crawl in two ways. Many documents share an address (all
chapters of one book, all translations of one text), and the rules would keep one of them: here a
page's address is its document's, with language and number added. And a document may be a whole
book: it is cut at line ends into pages of at most 1,200 characters, because scoring a dozen
held-out pages per language would otherwise take longer than training. So a held-out page may come
from a document of which other pages are trained on; line deduplication keeps each line in one page.
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
    """Writes one file per language, for all or for those named; returns the number of pages."""
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
