"""FineWeb2's files of thresholds for mC4's languages: a directory of them, read for many.

Files are named by ISO 639-3 and script (`kat_Geor.yml`). Where mC4's code is a macrolanguage, the
file is that of its standard language: Standard Arabic, Mandarin, Iranian Persian. FineWeb2 has no
file for English, whose thresholds are those of the rules' authors. Stop words that are parts of
words are left out, which turns their rule off.
"""

import csv
import functools
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path

import msgspec

from data.languages import find
from data.quality.common_words import LISTED_AS_PARTS
from data.quality.parameters import ENGLISH_THRESHOLDS, Thresholds, fineweb2


def of_directory(directory: Path, codes: Iterable[str]) -> dict[str, Thresholds]:
    """Returns the thresholds of each language that has a file; English has the authors' own.

    Raises:
        DataError: if a file holds something else.
    """
    found = {"en": ENGLISH_THRESHOLDS}
    for code in codes:
        path = directory / f"{file_name(code)}.yml"
        if path.exists():
            read = fineweb2(path)
            parts = find(code) in map(find, LISTED_AS_PARTS)
            found[code] = msgspec.structs.replace(read, stop_words=()) if parts else read
    return found


def file_name(code: str) -> str | None:
    """Returns the name of a language's file, without its ending; None for codes like "und"."""
    language = find(code)
    if language is None:
        return None
    return _exceptions().get(language.code, f"{language.iso639_3}_{language.script}")


@functools.cache
def _exceptions() -> Mapping[str, str]:
    text = resources.files("data.quality").joinpath("fineweb2_files.tsv").read_text("utf-8")
    return {row["code"]: row["file"] for row in csv.DictReader(text.splitlines(), delimiter="\t")}
