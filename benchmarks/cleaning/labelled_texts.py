"""Texts of about 1,000 characters whose language is known, to tune identifiers and to score them.

Scored are parallel texts: the Universal Declaration (in `corpus/*/udhr.jsonl.gz`, and as shipped by
`gflanguages` in 600 more languages), TICO-19 and the sentences of SIB-200. Tuned is on all other
sources of the corpus, and on every second of the other languages. Romanized texts are derived, so
their documents are halved. A directory of such text has `corpus/CODE/SOURCE.jsonl.gz` and
`derived_latn/CODE/*.jsonl.gz` with lines `{"text", "doc_id", "url"}`, and
`tasks/sib200/CODE.jsonl.gz`.
"""

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gflanguages
import xxhash

from data.language_id.fasttext import mc4_code
from data.language_id.opinions import is_written_in
from data.languages import find

PARALLEL = ("udhr", "tico19")
SIZE, SHORTEST, MOST = 1000, 200, 40  # characters; characters; texts per language and source
ACTUAL = "actual language: "  # in the addresses of the texts that are none of mC4's languages


class LabelledText(NamedTuple):
    language: str
    text: str
    source: str

    @property
    def is_mc4(self) -> bool:
        return find(self.language) is not None


def tuned(directory: Path) -> list[LabelledText]:
    return [*_corpus(directory, False), *_romanized(directory, 0), *_declarations(0)]


def scored(directory: Path) -> list[LabelledText]:
    return [
        *_corpus(directory, True),
        *_sib200(directory),
        *_romanized(directory, 1),
        *_declarations(1),
    ]


def pieces(lines: Iterable[str]) -> Iterator[str]:
    """Joins lines, and cuts long ones at spaces, to texts of about 1,000 characters."""
    joined = ""
    for line in (short for long in lines for short in _cut(long.strip())):
        if joined and len(joined) + len(line) > SIZE:
            yield joined
            joined = ""
        joined = f"{joined}\n{line}" if joined else line
    if len(joined) >= SHORTEST:
        yield joined


def _cut(line: str) -> Iterator[str]:
    while len(line) > 1.5 * SIZE:
        space = line.rfind(" ", SIZE // 2, SIZE)
        end = SIZE if space < 0 else space
        yield line[:end]
        line = line[end:].strip()
    if line:
        yield line


def _corpus(directory: Path, parallel: bool) -> Iterator[LabelledText]:
    for file in sorted((directory / "corpus").glob("*/*.jsonl.gz")):
        source = file.name.split(".")[0]
        if (source in PARALLEL) == parallel:
            most = MOST if find(file.parent.name) else None
            yield from _some(_texts(file, source), most)


def _texts(file: Path, source: str) -> Iterator[LabelledText]:
    for row in _rows(file):
        actual = row["url"].partition(ACTUAL)[2].rstrip(")")
        for piece in pieces(row["text"].split("\n")):
            yield LabelledText(actual or file.parent.name, piece, source)


def _sib200(directory: Path) -> Iterator[LabelledText]:
    for file in sorted((directory / "tasks/sib200").glob("*.jsonl.gz")):
        code = file.name.split(".")[0]
        sentences = pieces(row["text"] for row in _rows(file))
        yield from _some((LabelledText(code, piece, "sib200") for piece in sentences), MOST)


def _romanized(directory: Path, half: int) -> Iterator[LabelledText]:
    for file in sorted((directory / "derived_latn").glob("*/*.jsonl.gz")):
        rows = (row for row in _rows(file) if _hash(row["doc_id"]) % 2 == half)
        found = (piece for row in rows for piece in pieces(row["text"].split("\n")))
        yield from _some((LabelledText(file.parent.name, one, "derived") for one in found), MOST)


def _declarations(half: int) -> Iterator[LabelledText]:
    """The Declaration by `gflanguages`: mC4's languages are scored, of the others every second."""
    for key, language in sorted(gflanguages.LoadLanguages().items()):
        code = _code_of(key)
        if code is None or half != (1 if find(code) or code == "hr" else _hash(code) % 2):
            continue
        for piece in pieces("\n".join(_passages(language.sample_text)).split("\n")):
            yield LabelledText(code, piece, "gflanguages")


def _code_of(key: str) -> str | None:
    """Returns the code; None for parts of mC4's languages (Cantonese) and for scripts of few."""
    name, _, script = key.partition("_")
    known = find(name)
    if known is None:
        code = mc4_code(key)
        return code if code and find(code) is None else None
    usual = script in ("Jpan", "Kore", "Hans", "Hant") or is_written_in(known.code, (script,))
    return known.code if usual else None


def _passages(sample: Any) -> list[str]:
    """Returns the passages that are not part of a longer one."""
    found = {getattr(sample, f"specimen_{size}") for size in (16, 21, 32, 36, 48)}
    return sorted(one for one in found if not any(one in two and one != two for two in found))


def _some(texts: Iterable[LabelledText], most: int | None) -> list[LabelledText]:
    return sorted(texts, key=lambda one: _hash(one.text))[:most]


def _rows(file: Path) -> Iterator[dict]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _hash(text: str) -> int:
    return xxhash.xxh64_intdigest(text.encode())
