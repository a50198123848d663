"""The step of `score`: each work item writes the table beside one file of a corpus."""

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from data.curation.leakage import Benchmarks
from data.curation.personal_data import personal_data
from data.curation.signals import signals
from data.curation.thresholds import Histograms, histograms, summed
from data.files.parquet_files import read_pages
from data.files.paths import join_path, local_copy
from data.language_id import columns
from data.language_id.columns import decided_columns
from data.reading.page import RANGES, WRITTEN
from pipeline.beam.workspace import Workspace
from pipeline.corpus.all_files import CorpusFile
from pipeline.corpus.score_tables import BENCHMARKS, SCORES

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

    step = "score"

    def __call__(self, number: int) -> ScoreRecord:
        """Writes one table."""
        file = self.workspace.shards(list[CorpusFile])[number]
        batches, counted = [], []
        for pages in _batches(join_path(self.scoring.corpus, file.name)):
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
        return ScoreRecord(summed(counted).without_rare_words())

    def _scores(
        self, pages: pa.RecordBatch, texts: list[str], language: str, quality: pa.RecordBatch
    ) -> pa.RecordBatch:
        asked = self.scoring
        columns: Iterable[pa.Array] = (
            *self._languages(pages, texts).columns,
            *quality.columns,
            personal_data(texts, language),
            pa.array(_benchmarks(texts, language, asked.benchmarks), BENCHMARKS),
        )
        return pa.RecordBatch.from_arrays(list(columns), schema=SCORES)

    def _languages(self, pages: pa.RecordBatch, texts: list[str]) -> pa.RecordBatch:
        if self.scoring.decided:
            languages, probabilities = (pages[name].to_pylist() for name in READ.names[1:])
            return decided_columns(texts, languages, probabilities)
        return columns.columns(texts, self.scoring.identifier)


def _batches(path: str) -> Iterator[pa.RecordBatch]:
    """Yields what is scored of a file's pages, some pages at a time."""
    with local_copy(path) as here:
        yield from read_pages(here, READ, ranges=RANGES, name=path)


def _benchmarks(texts: list[str], language: str, paths: tuple[str, ...]) -> list[list[str]]:
    if not paths:  # words are cut for the comparison, which takes a fifth of all
        return [[] for _ in texts]
    return _read(paths).overlaps(texts, language)


@functools.lru_cache(maxsize=1)
def _read(paths: tuple[str, ...]) -> Benchmarks:
    """Returns the benchmarks, read once per worker."""
    return Benchmarks.read(paths)
