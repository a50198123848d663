"""A small corpus as `clean` writes it, of given texts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.corpus_manifest import interval
from data.files.digests import digest_of_contents
from data.files.json_files import read_json, write_json
from data.reading.page import REJECTED, WRITTEN_WITH_CLUSTERS
from pipeline import artifacts

SENTENCES = {
    "en": "All human beings are born free and equal in dignity and rights, number {}. ",
    "sw": "Watu wote wamezaliwa huru, hadhi na haki zao ni sawa, ukurasa wa {}. ",
    "ja": "すべての人間は、生まれながらにして自由であり、第{}の尊厳と権利とについて平等である。",
}


def texts_of(code: str, pages: int, lines: int = 4) -> list[str]:
    """Returns texts of different lines."""
    sentence = SENTENCES[code]
    return [
        "\n".join(
            "".join(sentence.format(97 * page + 7 * line + n) for n in range(5))
            for line in range(lines)
        )
        for page in range(pages)
    ]


def write_corpus(
    directory: Path, texts: Mapping[str, Sequence[str]], *, files: int = 2, rejected: int = 2
) -> Path:
    """Writes a corpus: the texts of each language, the last one held out, and rejected pages."""
    languages = {}
    for code, some in texts.items():
        rows = [row(code, number, text) for number, text in enumerate(some)]
        rows[-1]["split"] = "validation"
        train = rows[:-1]
        ends = [len(train) * n // files for n in range(files + 1)]
        parts = {
            f"train-{n:05d}-of-{files:05d}": train[ends[n] : ends[n + 1]] for n in range(files)
        }
        parts["validation-00000-of-00001"] = rows[-1:]
        for name, part in parts.items():
            _write(directory / "pages" / code / f"{name}.parquet", part, WRITTEN_WITH_CLUSTERS)
        gone = [
            row(code, number + len(rows), "short") | {"reason": "too_short"}
            for number in range(rejected)
        ]
        _write(directory / "rejected" / code / "rejected-00000-of-00001.parquet", gone, REJECTED)
        languages[code] = {
            "kept": len(rows),
            "held_out": 1,
            "rejected": {"too_short": rejected},
            "characters": sum(map(len, some)),
            "confidence": {interval(0.97): len(rows)},
        }
    rules = {"name": "mc4", "differences_from_mc4": []}
    artifacts.finish(directory, "clean", {}, {}, {"languages": languages, "rules": rules})
    record_files(directory)
    return directory


def record_files(directory: Path) -> None:
    """Records the files of a corpus in its manifest as they are now."""
    digests = {
        str(path.relative_to(directory)): digest_of_contents(path)
        for path in sorted(directory.rglob("*.parquet"))
    }
    manifest = read_json(directory / artifacts.MANIFEST, dict[str, Any])
    write_json(directory / artifacts.MANIFEST, manifest | {"files": digests})


def row(code: str, number: int, text: str) -> dict:
    """Returns a page of a corpus; three pages in a row are of one site."""
    return {
        "text": text,
        "url": f"https://site{number // 3}.{code}.example/page/{number}",
        "timestamp": "2026-11-01T00:00:00Z",
        "language": code,
        "language_probability": 0.97,
        "split": "train",
        "cluster_size": 1 + number % 2,
    }


def rows_in(directory: Path, folder: str = "pages") -> list[dict]:
    """Returns all rows of a corpus, in the order of its files."""
    paths = sorted((directory / folder).glob("*/*.parquet"))
    return [one for path in paths for one in pq.read_table(path).to_pylist()]


def _write(path: Path, rows: Sequence[dict], schema: pa.Schema) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema), path)
