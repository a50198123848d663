"""Selection: a corpus of the pages of another that late rules keep; `rejected/` has the others.

Late rules only remove pages. What a removed page had won from others (one page per line, per
address and per near-duplicate) is not given back, as the others are no longer there; it is counted.

The files have the names and the order of the corpus that is selected from, so a page is found again
in the same place. A work item that is done twice writes the same bytes.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from msgspec.structs import asdict
from rich.console import Console

from data.curation.block_lists import BLOCKED, OPTED_OUT
from data.curation.personal_data import mask
from data.curation.robots import check_robots_file
from data.errors import DataError
from data.files.digests import digest_of_contents, digest_of_value, names_below
from data.files.json_files import read_json
from data.files.paths import absolute, join_path
from data.reading.page import REJECTED
from eval.funnel import uneven_rules
from pipeline.artifacts import MANIFEST, SCHEMA_VERSION, SELECT, digest_of_manifest
from pipeline.beam.job import do_items
from pipeline.beam.options import pipeline_options
from pipeline.beam.workspace import Workspace, clear, workspace_key
from pipeline.corpus.card import write_cards
from pipeline.corpus.counts import (
    BLOCKED_ENTRIES,
    OPTED_OUT_ENTRIES,
    Tally,
    count_gone,
    count_kept,
    count_lost,
    total,
    value_counts,
)
from pipeline.corpus.pages import (
    PAGES_FOLDER,
    REJECTED_FOLDER,
    CorpusFile,
    corpus_files,
    has_unique_lines,
    read_corpus,
    read_funnel,
    sources_of,
    whole_pages,
    write_pages,
)
from pipeline.corpus.read import names_of
from pipeline.corpus.sample import advised_command
from pipeline.corpus.summary import print_counts
from pipeline.curation.late_rules import REFUSED, LateRules, reasons
from pipeline.curation.lists import matches, pages_of_entries, read_lists, set_aside
from pipeline.curation.manifest import manifest_of_selection
from pipeline.curation.robots import (
    AskRobots,
    ask_robots,
    disallowed_rows,
    skipped_robots,
    waves_of,
)
from pipeline.curation.score import (
    BENCHMARK,
    ScoresManifest,
    read_score_table,
    read_scores,
    thresholds_of,
)
from pipeline.errors import ArtifactError
from pipeline.stage import Identity, Intent, Job, Outcome, Reading, files_of, run_stage
from pipeline.terminal import Terminal, print_message


@dataclass(frozen=True)
class SelectFile:
    """Writes what a file of a corpus becomes.

    Attributes:
        workspace: workspace of the job.
        corpus: corpus that is selected from.
        scores: directory of its scores.
        rules: rules that decide.
        robots: exchange that compared addresses with robots.txt; None without any.
    """

    workspace: Workspace
    corpus: str
    scores: str
    rules: LateRules
    robots: AskRobots | None

    name = "select"

    def __call__(self, number: int) -> Tally:
        """Writes one file."""
        file = self.workspace.shards(list[CorpusFile])[number]
        pages = whole_pages(self.corpus, file.name, file.digest)
        scores = read_score_table(join_path(self.scores, file.name))
        if len(pages) != len(scores):
            raise DataError(
                f"{self.scores}/{file.name} should have a row for each of {len(pages)} pages and "
                f"has {len(scores)}; run score again into another directory."
            )
        disallowed = disallowed_rows(self.robots, number, len(pages))
        urls = pages["url"].to_pylist()
        why = reasons(urls, scores, file.language, self.rules, disallowed)
        counts, reason = Tally(), pa.array(why, pa.string())
        keep = reason.is_null()
        pages = self._mask(pages, scores, file.name)
        kept = pages.filter(keep)
        gone = pages.append_column("reason", reason).filter(reason.is_valid())
        count_kept(counts, file.language, kept)
        count_masked(counts, file.language, scores.filter(keep), self.rules.masked)
        count_gone(counts, file.language, gone)
        count_lost(counts, file.language, gone, unique_lines=self.rules.unique_lines)
        count_entries(counts, urls, self.rules)
        gone = without_refused_text(gone)
        space, out = self.workspace, self.workspace.out
        write_pages(space, out, file.name, kept)
        if len(gone):
            rejected = f"{REJECTED_FOLDER}{file.name.removeprefix(PAGES_FOLDER)}"
            write_pages(space, out, rejected, gone.select(REJECTED.names).cast(REJECTED))
        return counts

    def _mask(self, pages: pa.Table, scores: pa.Table, name: str) -> pa.Table:
        """Returns the pages with their personal data masked."""
        kinds = self.rules.masked
        if not kinds or not len(pages):
            return pages
        texts, spans = pages["text"].to_pylist(), scores["personal_data"].combine_chunks()
        for row, (text, places) in enumerate(zip(texts, spans.to_pylist(), strict=True)):
            ends = [0, *(span[end] for span in places for end in ("begin", "end")), len(text)]
            if ends != sorted(ends):
                raise DataError(
                    f"{self.scores}/{name} should have personal data in order, within a page's "
                    f"{len(text):,} characters, and has not in row {row}; run score again into "
                    "another directory."
                )
        return with_texts(pages, mask(texts, spans, kinds))


def count_entries(counts: Tally, urls: Sequence[str], rules: LateRules) -> None:
    """Counts the pages that each entry of lists names, also those that another rule removes."""
    blocked, opted_out = read_lists(rules.blocked, BLOCKED), read_lists(rules.opted_out, OPTED_OUT)
    for kind, entries in ((BLOCKED_ENTRIES, blocked), (OPTED_OUT_ENTRIES, opted_out)):
        for entry, number in entries.entries_of(urls).items():
            counts.add(kind, detail=entry, number=number)


def count_masked(counts: Tally, language: str, scores: pa.Table, kinds: Sequence[str]) -> None:
    """Counts the passages that are masked in pages, by kind."""
    for kind, number in value_counts(
        scores["personal_data"].combine_chunks().flatten().field("kind")
    ):
        if kind in kinds:
            counts.add("masked", language, kind, number)


def without_refused_text(pages: pa.Table) -> pa.Table:
    """Returns rejected pages without the text of those whose owners refuse."""
    rows = zip(pages["text"].to_pylist(), pages["reason"].to_pylist(), strict=True)
    return with_texts(pages, ["" if reason in REFUSED else text for text, reason in rows])


def with_texts(pages: pa.Table, texts: Sequence[str]) -> pa.Table:
    """Returns pages with other texts."""
    at = pages.schema.get_field_index("text")
    field = pages.schema.field(at)
    return pages.set_column(at, field, pa.array(texts, field.type))


def print_summary(console: Console, body: Mapping[str, Any], seconds: float) -> None:
    """Prints the numbers of pages kept and rejected, by reason, and of passages masked."""
    entries = list(body["languages"].values())
    rejected, masked = Counter[str](), Counter(dict.fromkeys(body["rules"]["late"][-1]["mask"], 0))
    for entry in entries:
        rejected.update(entry["rejected"])
        masked.update(entry["masked"])  # a kind that no page has is shown as 0
    counts = {
        "pages": body["input"]["records"],
        "kept": sum(entry["kept"] for entry in entries),
        **{f"rejected: {name}": number for name, number in rejected.most_common()},
        **{f"masked: {name}": number for name, number in masked.most_common()},
        "lines that no page has now": sum(entry["lines_gone"] for entry in entries),
        "near-duplicates that are gone too": sum(entry["copies_gone"] for entry in entries),
    }
    print_counts(console, counts, seconds)


VERSION = 6  # raised when an unfinished selection of an earlier version may not be resumed
THREADS = 16  # that read files with robots.txt for their digest


def selecting(
    corpus: str,
    scores: str,
    out: str,
    *,
    quality: str,
    languages: bool,
    least_share: float,
    benchmarks: bool,
    blocked: Sequence[str],
    opted_out: Sequence[str],
    robots: Sequence[str],
    robot: str,
    masked: tuple[str, ...],
    beam: Sequence[str],
) -> Job:
    """Returns the job that selects from a corpus.

    Args:
        corpus: directory of the corpus.
        scores: directory of its scores.
        out: directory of the selection.
        quality: thresholds, as `thresholds_of` reads them.
        languages, least_share, benchmarks, blocked, opted_out, masked: late rules.
        robots: files with robots.txt, or globs.
        robot: name of the robot that they are read for.
        beam: options of the Beam job.

    Raises:
        ArtifactError: if there is no such corpus, or the scores are another corpus's.
        DataError: if a list is damaged.
    """
    robots = tuple(chain.from_iterable(map(names_of, robots)))
    before, files, scored = read_corpus(corpus), corpus_files(corpus), scores_of(corpus, scores)
    rules = LateRules(
        blocked=tuple(map(absolute, blocked)),
        opted_out=tuple(map(absolute, opted_out)),
        languages=languages,
        least_share=least_share,
        benchmarks=benchmarks,
        quality=thresholds_of(quality, scored),
        masked=masked,
        unique_lines=has_unique_lines(before),
    )
    # Checked here, not by a worker.
    for paths in (rules.blocked, rules.opted_out):
        read_lists(paths, BLOCKED)
    for path in robots:
        check_robots_file(path)
    pages, size = sum(entry.kept for entry in before.languages.values()), sizes_of(files)
    tables, lists = corpus_files(scores), (*blocked, *opted_out, *robots)
    intent = Intent(
        stage=SELECT,
        reads=[
            Reading("corpus", corpus, len(files), size, f"{pages:,} pages"),
            Reading("scores", scores, len(tables), sizes_of(tables)),
            *([files_of("lists", " ".join(lists), lists)] if lists else ()),
        ],
        writes=f"{PAGES_FOLDER}/, {REJECTED_FOLDER}/ and manifest.json",
        out=out,
        identity=Identity(
            settings_of(rules, quality, scored, robots, robot),
            {"corpus": digest_of_manifest(corpus), "scores": digest_of_manifest(scores)}
            | digests_of_lists(rules, robots),
        ),
        work=f"late rules for {pages:,} pages",
    )
    options = pipeline_options(beam, input_bytes=size)
    key = workspace_key(VERSION, SCHEMA_VERSION, intent.claimed_for, files)
    workspace, place = Workspace(absolute(out), key), absolute(corpus)
    exchange = None
    if robots:
        paths = tuple(map(absolute, robots))
        exchange = AskRobots(workspace, waves_of(pages, options), place, paths, robot)
    step = SelectFile(workspace, place, absolute(scores), rules, exchange)
    work = partial(select, step, files, options, corpus, intent)
    return Job(
        lambda: replace(intent, finds=[*entries_named(place, files, rules)]),
        partial(run_stage, intent, work, partial(clear, absolute(out))),
    )


def scores_of(corpus: str, directory: str) -> ScoresManifest:
    """Returns the manifest of a corpus's scores.

    Raises:
        ArtifactError: if they are another corpus's.
    """
    scores = read_scores(directory)
    if scores.inputs.get("corpus") != digest_of_manifest(corpus):
        raise ArtifactError(
            f"{directory} should hold the scores of {corpus} and holds those of another corpus, or "
            "of this one before it was changed; run score again."
        )
    return scores


def sizes_of(files: Sequence[CorpusFile]) -> int:
    """Returns the bytes of all files."""
    return sum(file.size for file in files)


def settings_of(
    rules: LateRules, quality: str, scores: ScoresManifest, robots: Sequence[str], robot: str
) -> Mapping[str, Any]:
    """Returns every setting that changes the corpus, as JSON values, with scored benchmarks."""
    scored = [name.removeprefix(BENCHMARK) for name in scores.inputs if name.startswith(BENCHMARK)]
    thresholds = {code: asdict(bounds) for code, bounds in (rules.quality or {}).items()}
    return {
        "languages": rules.languages,
        "least_language_share": rules.least_share if rules.languages else None,
        "benchmarks": sorted(scored) if rules.benchmarks else None,
        "quality": quality,
        "thresholds": digest_of_value(thresholds),
        "blocked": names_below(rules.blocked),
        "opted_out": names_below(rules.opted_out),
        "robots": names_below(robots),
        "robot": robot if robots else None,
        "mask": rules.masked,
    }


def digests_of_lists(rules: LateRules, robots: Sequence[str]) -> dict[str, str]:
    """Returns the digest of each list, and one of all files with robots.txt."""
    digests = {
        f"{role} {name}": digest_of_contents(path)
        for role, lists in (("list", rules.blocked), ("opt-out", rules.opted_out))
        for name, path in zip(names_below(lists), lists, strict=True)
    }
    if robots:  # those of a crawl are tens of thousands of files
        with ThreadPoolExecutor(THREADS) as threads:
            digests["robots"] = digest_of_value([*threads.map(digest_of_contents, robots)])
    return digests


def entries_named(corpus: str, files: Sequence[CorpusFile], rules: LateRules) -> Iterator[str]:
    """Yields which entries of the lists name pages of a corpus."""
    for paths in (rules.blocked, rules.opted_out):
        yield from matches(paths, pages_of_entries(corpus, files, paths), paths)


def select(
    step: SelectFile,
    files: Sequence[CorpusFile],
    options: PipelineOptions,
    corpus: str,
    intent: Intent,
) -> Outcome:
    """Selects the pages of every file that is not finished, and prints the counts.

    Args:
        step: work on one file.
        files: files of the corpus.
        options: options of the Beam job.
        corpus: directory of the corpus, as the user named it.
        intent: what the job would do.
    """
    started, console = time.monotonic(), Terminal(stderr=True, highlight=False)
    workspace, rules = step.workspace, step.rules
    workspace.forget_stale([PAGES_FOLDER, REJECTED_FOLDER])
    workspace.write_shards(files)
    with console.status(f"select: {len(files)} files"):
        if step.robots is not None:
            ask_robots(step.robots, len(files), options)
        do_items(step, len(files), options)
    counts = total(workspace.records(step.name, len(files), Tally))
    source = read_json(join_path(corpus, MANIFEST), dict[str, Any])
    settings = intent.claimed_for.settings
    body = manifest_of_selection(counts, source, read_corpus(corpus), settings, corpus)
    body["selected_from"] = sources_of(corpus)
    body["files"] = workspace.digests()
    write_cards(workspace.out, body)
    for kind, paths in ((BLOCKED_ENTRIES, rules.blocked), (OPTED_OUT_ENTRIES, rules.opted_out)):
        for sentence in matches(paths, counts.details(kind), paths):
            print_message(f"{SELECT}: {sentence}")
    print_summary(console, body, time.monotonic() - started)
    kept = sum(entry["kept"] for entry in body["languages"].values())
    skipped = [*skipped_robots(workspace)]  # before the workspace is removed
    return Outcome(
        body,
        f"{kept:,} of {body['input']['records']:,} pages in {intent.out}",
        chain(skipped, cautions(body, str(intent.out), rules, settings)),
        advised_command(str(intent.out), body["languages"]),
    )


def cautions(
    body: Mapping[str, Any], out: str, rules: LateRules, settings: Mapping[str, Any]
) -> Iterator[str]:
    """Yields cautions on a selection, the gravest first."""
    for paths in (rules.blocked, rules.opted_out):
        yield from set_aside(paths, paths)
    if not any(entry["kept"] for entry in body["languages"].values()):
        yield "No page was kept; `mswitch inspect` shows the reasons."
    if settings["benchmarks"] == []:
        yield "No benchmark was scored, so text of none was looked for: score with --benchmarks."
    entries = body["languages"].items()
    pages = {code for code, entry in entries if entry["kept"] or entry["rejected"]}
    without = [] if rules.quality is None else sorted(pages - rules.quality.keys())
    if without:
        yield f"No quality rule applies to languages without thresholds: {', '.join(without)}."
    yield from uneven_rules(read_funnel(out))
