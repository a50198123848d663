"""The manifest of scores: counts and derived thresholds per language, and its readers."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from data.curation import thresholds
from data.curation.thresholds import HistogramSum, Thresholds, derived
from data.files.json_files import Count, Name
from pipeline.artifacts.claims import read_manifest
from pipeline.corpus.all_files import CorpusFile
from pipeline.errors import ArtifactError
from pipeline.scoring.score_files import ScoreRecord

STAGE = "score"
FROM_CORPUS, NONE = "corpus", "none"


class LanguageScores(Struct, frozen=True):
    """A language in the manifest: its pages, and thresholds derived from them."""

    pages: Count
    thresholds: Thresholds


class ScoresManifest(Struct, frozen=True):
    """The manifest of scores."""

    inputs: dict[str, str]
    languages: dict[Name, LanguageScores]


def manifest_of(records: Iterable[tuple[CorpusFile, ScoreRecord]]) -> dict[str, Any]:
    """Returns the manifest's body, from the record of each file.

    One record is held at a time: 300,000 of 173 kB would be 50 GB.
    """
    sums: dict[str, HistogramSum] = defaultdict(HistogramSum)
    for file, record in records:
        sums[file.language].add(record.histograms)
    counts = {code: found.total() for code, found in sorted(sums.items())}
    thresholds = derived(counts)
    return {
        "languages": {
            code: {
                "pages": found.pages,
                "thresholds": msgspec.to_builtins(thresholds[code]),
            }
            for code, found in counts.items()
        }
    }


def read_scores(directory: str) -> ScoresManifest:
    """Returns the manifest of scores.

    Raises:
        ArtifactError: if the directory holds no finished scores.
    """
    return read_manifest(directory, STAGE, ScoresManifest)


def thresholds_of(quality: str, scores: ScoresManifest) -> Mapping[str, Thresholds] | None:
    """Returns the thresholds per language that `--quality` names; None if quality decides nothing.

    Raises:
        ArtifactError: if it names neither a directory nor one of the two words.
        DataError: if a file there is not one of FineWeb2's.
    """
    if quality == NONE:
        return None
    if quality == FROM_CORPUS:
        return {code: entry.thresholds for code, entry in scores.languages.items()}
    if not quality or not Path(quality).is_dir():
        raise ArtifactError(
            f"--quality {quality} was given, which is not a directory; name {FROM_CORPUS}, {NONE}, "
            "or a directory with FineWeb2's files (swh_Latn.yml)."
        )
    found = thresholds.of_directory(Path(quality), scores.languages)
    others = scores.languages.keys() - {"en"}  # which needs no file
    if others and not found.keys() & others:
        raise ArtifactError(
            f"--quality {quality} was given, which has FineWeb2's file (swh_Latn.yml) of none of "
            f"the {len(others)} languages; name another directory."
        )
    return found
