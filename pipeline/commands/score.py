"""`mswitch score`: tables beside a corpus, a row per page, on which late decisions rest.

`OUT/pages/sw/train-00000-of-00003.parquet` has a row for each page of the corpus's file of the same
name: language by all identifiers together, signals of quality, places of personal data, benchmarks
that the page shares text with. Nothing is decided here and no page is changed, so a threshold or a
list is changed later without reading text again (`mswitch select`). The manifest has thresholds of
quality per language, derived from the signals of all its pages.

Each file is one work item; an interrupted job resumes after its last finished file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from data.corpus_manifest import CorpusManifest
from data.curation.leakage import absolute_place, digest_of
from data.files.digests import digest_of_contents, names_below
from data.files.paths import absolute, join_path, local_copy
from data.language_id.fasttext import try_to_load
from data.rules.rule_sets import mswitch_web
from pipeline.arguments import Score
from pipeline.artifacts import SCHEMA_VERSION, digest_of_manifest
from pipeline.beam.job import do_items
from pipeline.beam.options import check_workers_reach, pipeline_options, use_store_options
from pipeline.beam.workspace import Workspace, check_files, clear, workspace_key
from pipeline.corpus.pages import PAGES_FOLDER, CorpusFile, corpus_files, read_corpus
from pipeline.corpus.read import names_of
from pipeline.curation.score import BENCHMARK, ScoreFile, ScoreRecord, Scoring, manifest_of
from pipeline.errors import ArtifactError
from pipeline.stage import Identity, Intent, Outcome, Reading, files_of, run_stage
from pipeline.terminal import Terminal

STAGE = "score"
VERSION = 5  # raised when unfinished scores of an earlier version may not be resumed


@dataclass(frozen=True, kw_only=True)
class ScoreRequest:
    """A job whose arguments passed all checks.

    Attributes:
        options: options of the Beam job.
        files: files of the corpus.
        scoring: what is scored.
        intent: what the job would do.
    """

    options: PipelineOptions
    files: list[CorpusFile]
    scoring: Scoring
    intent: Intent


def checked_request(arguments: Score) -> ScoreRequest:
    """Returns the job that the arguments name.

    Globs of benchmarks are replaced by the files that they match.

    Raises:
        ArtifactError: if there is no such corpus.
        DataError: if workers do not reach it, a benchmark is damaged, or the identifier cannot be
            loaded.
    """
    options = pipeline_options(arguments.beam)
    use_store_options(options)
    benchmarks = tuple(chain.from_iterable(map(names_of, arguments.benchmarks)))
    arguments = replace(arguments, benchmarks=benchmarks)
    model = arguments.language_identifier
    places = [arguments.corpus, arguments.out, *arguments.benchmarks]
    check_workers_reach(options, places if model is None else [*places, model])
    corpus = read_corpus(arguments.corpus)
    pages = sum(entry.kept for entry in corpus.languages.values())
    files = corpus_files(arguments.corpus)
    inputs = {"corpus": digest_of_manifest(arguments.corpus)}
    names = names_below(arguments.benchmarks)
    for name, path in zip(names, arguments.benchmarks, strict=True):
        inputs[BENCHMARK + name] = digest_of(path)
    size = sum(file.size for file in files)
    reads = [Reading("corpus", arguments.corpus, len(files), size, f"{pages:,} pages")]
    if arguments.benchmarks:
        reads.append(files_of("benchmarks", " ".join(arguments.benchmarks), arguments.benchmarks))
    if model is not None:
        with local_copy(model) as here:
            try_to_load(here)  # checked here rather than in every worker
            inputs["identifier"] = digest_of_contents(here)
        reads.append(files_of("identifier", model, [model]))
    intent = Intent(
        stage=STAGE,
        reads=reads,
        writes=f"{len(files):,} tables of scores and manifest.json",
        out=arguments.out,
        identity=Identity({}, inputs),
        work=f"scores of {pages:,} pages",
    )
    scoring = Scoring(
        corpus=absolute(arguments.corpus),
        benchmarks=tuple(map(absolute_place, arguments.benchmarks)),
        identifier=None if model is None else absolute(model),
        decided=model is None and corpus.rules.name == mswitch_web().name,
    )
    options = pipeline_options(arguments.beam, input_bytes=size)
    return ScoreRequest(options=options, files=files, scoring=scoring, intent=intent)


def intents(arguments: Score) -> list[Intent]:
    """Returns the command's intent."""
    return [checked_request(arguments).intent]


def run(arguments: Score) -> None:
    """Writes the scores, unless they are finished."""
    request, out = checked_request(arguments), absolute(arguments.out)
    run_stage(request.intent, partial(score, arguments, request, out), partial(clear, out))


def score(arguments: Score, request: ScoreRequest, out: str) -> Outcome:
    """Scores every file of the corpus that is not finished."""
    files = request.files
    workspace = Workspace(out, key_of(request))
    workspace.forget_stale([PAGES_FOLDER])
    workspace.write_shards(files)
    step = ScoreFile(workspace, request.scoring)
    with Terminal(stderr=True).status(f"score: {len(files)} files"):
        do_items(step, len(files), request.options)
    records = workspace.records(step.name, len(files), ScoreRecord)
    body = manifest_of(zip(files, records, strict=True))
    check_files(out, [join_path(out, file.name) for file in files])
    check_pages(body["languages"], read_corpus(arguments.corpus), arguments.corpus)
    pages = sum(entry["pages"] for entry in body["languages"].values())
    places = "--corpus", arguments.corpus, "--scores", arguments.out
    return Outcome(
        body,
        f"{pages:,} pages of {len(body['languages'])} languages scored, in {arguments.out}",
        following=("select", *places, "--out", "selected"),
    )


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


def key_of(request: ScoreRequest) -> str:
    """Returns the key of the job's workspace."""
    return workspace_key(VERSION, SCHEMA_VERSION, request.intent.claimed_for, request.files)
