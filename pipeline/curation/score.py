"""Scores: a table beside each file of a corpus, with one row per page; counts and thresholds.

`OUT/pages/sw/train-00000-of-00003.parquet` has a row for each page of the corpus's file of the same
name: language by all identifiers together, signals of quality, places of personal data, benchmarks
that the page shares text with. Nothing is decided here and no page is changed, so a threshold or a
list is changed later without reading text again (`mswitch select`). The manifest has thresholds of
quality per language, derived from the signals of all its pages.

Each file is one work item; an interrupted job resumes after its last finished file.
"""

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions
from msgspec import Struct

from data.corpus_manifest import CorpusManifest
from data.curation import thresholds
from data.curation.leakage import Benchmarks, absolute_place, digest_of
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
from data.files.digests import checked_copy, digest_of_contents, names_below
from data.files.json_files import Count, Name
from data.files.parquet_files import read_pages, read_table
from data.files.paths import absolute, join_path, local_copy
from data.language_id import columns
from data.language_id.columns import decided_columns
from data.language_id.fasttext import try_to_load
from data.reading.page import RANGES, WRITTEN
from data.rules.rule_sets import mswitch_web
from pipeline import artifacts
from pipeline.artifacts import SCHEMA_VERSION, digest_of_manifest, read_manifest
from pipeline.beam.job import do_items
from pipeline.beam.options import pipeline_options
from pipeline.beam.workspace import Workspace, check_files, clear, workspace_key
from pipeline.corpus.pages import PAGES_FOLDER, CorpusFile, corpus_files, read_corpus
from pipeline.corpus.read import names_of
from pipeline.errors import ArtifactError
from pipeline.following import new_beside
from pipeline.stage import Identity, Intent, Job, Outcome, Reading, files_of, staged_job
from pipeline.terminal import Terminal

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
    return read_manifest(directory, artifacts.SCORES.stages, ScoresManifest)


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


VERSION = 5  # raised when unfinished scores of an earlier version may not be resumed


def scoring(
    place: str, out: str, benchmarks: Sequence[str], identifier: str | None, beam: Sequence[str]
) -> Job:
    """Returns the job that scores a corpus.

    Args:
        place: directory of the corpus.
        out: directory for the scores.
        benchmarks: files of benchmarks, or globs.
        identifier: fastText model that is asked too; None for none.
        beam: options of the Beam job.

    Raises:
        ArtifactError: if there is no such corpus.
        DataError: if a benchmark is damaged, or the identifier cannot be loaded.
    """
    benchmarks = tuple(chain.from_iterable(map(names_of, benchmarks)))
    corpus, files = read_corpus(place), corpus_files(place)
    pages = sum(entry.kept for entry in corpus.languages.values())
    size = sum(file.size for file in files)
    reads = [Reading("corpus", place, len(files), size, f"{pages:,} pages")]
    inputs = {"corpus": digest_of_manifest(place)}
    for name, path in zip(names_below(benchmarks), benchmarks, strict=True):
        inputs[BENCHMARK + name] = digest_of(path)
    if benchmarks:
        reads.append(files_of("benchmarks", " ".join(benchmarks), benchmarks))
    if identifier is not None:
        with local_copy(identifier) as here:
            try_to_load(here)  # checked here rather than in every worker
            inputs["identifier"] = digest_of_contents(here)
        reads.append(files_of("identifier", identifier, [identifier]))
    intent = Intent(
        stage="score",
        reads=reads,
        writes=f"{len(files):,} tables of scores and manifest.json",
        out=out,
        identity=Identity({}, inputs),
        work=f"scores of {pages:,} pages",
    )
    step = ScoreFile(
        Workspace(absolute(out), workspace_key(VERSION, SCHEMA_VERSION, intent.identity, files)),
        Scoring(
            corpus=absolute(place),
            benchmarks=tuple(map(absolute_place, benchmarks)),
            identifier=None if identifier is None else absolute(identifier),
            decided=identifier is None and corpus.rules.name == mswitch_web().name,
        ),
    )

    options = pipeline_options(beam, input_bytes=size)
    work = partial(score, step, files, options, place, out)
    return staged_job(intent, work, partial(clear, absolute(out)))


def score(
    step: ScoreFile, files: Sequence[CorpusFile], options: PipelineOptions, place: str, out: str
) -> Outcome:
    """Scores every file of a corpus that is not finished.

    Args:
        step: work on one file.
        files: files of the corpus.
        options: options of the Beam job.
        place: directory of the corpus, as the user named it.
        out: directory of the scores, likewise.
    """
    workspace = step.workspace
    workspace.forget_stale([PAGES_FOLDER])
    workspace.write_shards(files)
    with Terminal(stderr=True).status(f"score: {len(files)} files"):
        do_items(step, len(files), options)
    records = workspace.records(step.name, len(files), ScoreRecord)
    body = manifest_of(zip(files, records, strict=True))
    check_files(workspace.out, [join_path(workspace.out, file.name) for file in files])
    check_pages(body["languages"], read_corpus(place), place)
    pages = sum(entry["pages"] for entry in body["languages"].values())
    return Outcome(
        body,
        f"{pages:,} pages of {len(body['languages'])} languages scored, in {out}",
        following=next_command(place, out),
    )


def next_command(corpus: str, scores: str) -> Iterator[object]:
    """Yields the words that select by the scores."""
    yield from ("select", "--corpus", corpus, "--scores", scores)
    yield from ("--out", new_beside(scores, "selected"))


def check_pages(scored: Mapping[str, Any], corpus: CorpusManifest, place: str) -> None:
    """Checks that the files of a corpus held the pages that its manifest counts.

    Raises:
        ArtifactError: if they did not.
    """
    for code, entry in corpus.languages.items():
        pages = scored.get(code, {}).get("pages", 0)
        if pages != entry.kept:
            raise ArtifactError(
                f"{place} should hold {entry.kept:,} pages of {code} by its manifest, and its "
                f"files hold {pages:,}; restore them, or clean again."
            )
