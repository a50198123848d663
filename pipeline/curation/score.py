"""Scores: a table beside each file of a corpus, with one row per page; counts and thresholds."""

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from data.curation import thresholds
from data.curation.leakage import Benchmarks
from data.curation.personal_data import SPANS, personal_data
from data.curation.signals import SHARES, SIGNALS, signals
from data.curation.thresholds import (
    Histograms,
    HistogramSum,
    Thresholds,
    derive,
    histograms,
    sum_histograms,
)
from data.files.digests import checked_copy
from data.files.json_files import Count, Name
from data.files.parquet_files import read_pages, read_table
from data.files.paths import join_path
from data.language_id import columns
from data.language_id.columns import decided_columns
from data.reading.page import RANGES, WRITTEN
from pipeline.artifacts import read_manifest
from pipeline.beam.workspace import Workspace
from pipeline.corpus.pages import CorpusFile
from pipeline.errors import ArtifactError

BENCHMARK = "benchmark "  # in front of a benchmark's name, among the inputs of scores
BENCHMARKS = pa.list_(pa.string())
SCORES = pa.schema(
    [
        *columns.COLUMNS,
        *SIGNALS,
        pa.field("personal_data", SPANS),
        pa.field("benchmarks", BENCHMARKS),
    ]
)
MAY_BE_NULL = [name for name in columns.COLUMNS.names if not name.startswith("combined_")]
NUMBERS = ("characters", "words", "mean_word_length", *SHARES)
SCORE_RANGES = dict.fromkeys(NUMBERS, (0, 2**31 - 1)) | {
    name: (0, 1) for name in columns.COLUMNS.names if name.endswith(("_probability", "_share"))
}


def read_score_table(path: str) -> pa.Table:
    """Returns the scores of a file's pages.

    Raises:
        DataError: if the file is damaged, of another kind, or has values that no page can have.
    """
    return read_table(path, SCORES, MAY_BE_NULL, SCORE_RANGES)


READ = pa.schema([WRITTEN.field(name) for name in ("text", "language", "language_probability")])
REPEATED = ["combined_language", "cld2_language", "cld3_language", "fasttext_language"]


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What is scored.

    Attributes:
        corpus: directory of the corpus.
        benchmarks: files of benchmarks.
        identifier: path of a fastText model that decides on languages too, or None.
        decided: whether cleaning asked all identifiers, so that its decisions are the columns.
    """

    corpus: str
    benchmarks: tuple[str, ...]
    identifier: str | None
    decided: bool


class ScoreRecord(msgspec.Struct, frozen=True):
    """The record of a finished work item: counts of its language's signals and words."""

    histograms: Histograms

    def as_json(self) -> Any:
        """Returns the record as a JSON value."""
        return msgspec.to_builtins(self, str_keys=True)

    def counters(self) -> Mapping[str, int]:
        """Returns pages_scored."""
        return {"pages_scored": self.histograms.pages}


@dataclass(frozen=True)
class ScoreFile:
    """Writes the scores of a file's pages."""

    workspace: Workspace
    scoring: Scoring

    name = "score"

    def __call__(self, number: int) -> ScoreRecord:
        """Writes one table."""
        file = self.workspace.shards(list[CorpusFile])[number]
        batches, counted = [], []
        for pages in _batches(join_path(self.scoring.corpus, file.name), file.digest):
            texts = pages["text"].to_pylist()
            quality = signals(texts, file.language)
            counted.append(histograms(quality))
            batches.append(self._scores(pages, texts, file.language, quality))
        with self.workspace.publish(join_path(self.workspace.out, file.name)) as unfinished:
            table = pa.Table.from_batches(batches, SCORES)
            pq.write_table(
                table,
                unfinished,
                compression="zstd",
                use_dictionary=REPEATED,  # pyright: ignore[reportArgumentType]
            )
        return ScoreRecord(sum_histograms(counted).without_rare_words())

    def _scores(
        self, pages: pa.RecordBatch, texts: list[str], language: str, quality: pa.RecordBatch
    ) -> pa.RecordBatch:
        scoring = self.scoring
        columns: Iterable[pa.Array] = (
            *self._languages(pages, texts).columns,
            *quality.columns,
            personal_data(texts, language),
            pa.array(_benchmarks(texts, language, scoring.benchmarks), BENCHMARKS),
        )
        return pa.RecordBatch.from_arrays(list(columns), schema=SCORES)

    def _languages(self, pages: pa.RecordBatch, texts: list[str]) -> pa.RecordBatch:
        if self.scoring.decided:
            languages, probabilities = (pages[name].to_pylist() for name in READ.names[1:])
            return decided_columns(texts, languages, probabilities)
        return columns.columns(texts, self.scoring.identifier)


def _batches(path: str, digest: str) -> Iterator[pa.RecordBatch]:
    """Yields the scored columns of a file's pages, some pages at a time."""
    with checked_copy(path, digest) as here:
        yield from read_pages(here, READ, ranges=RANGES, name=path)


def _benchmarks(texts: list[str], language: str, paths: tuple[str, ...]) -> list[list[str]]:
    if not paths:  # words are cut for the comparison, which takes a fifth of all
        return [[] for _ in texts]
    return _read(paths).overlaps(texts, language)


@functools.lru_cache(maxsize=1)
def _read(paths: tuple[str, ...]) -> Benchmarks:
    """Returns the benchmarks, read once per worker."""
    return Benchmarks.read(paths)


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
    counts = {code: language_sum.total() for code, language_sum in sorted(sums.items())}
    thresholds = derive(counts)
    return {
        "languages": {
            code: {
                "pages": language_sum.pages,
                "thresholds": msgspec.to_builtins(thresholds[code]),
            }
            for code, language_sum in counts.items()
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
    by_language = thresholds.thresholds_of_directory(Path(quality), scores.languages)
    others = scores.languages.keys() - {"en"}  # which needs no file
    if others and not by_language.keys() & others:
        raise ArtifactError(
            f"--quality {quality} was given, which has FineWeb2's file (swh_Latn.yml) of none of "
            f"the {len(others)} languages; name another directory."
        )
    return by_language
