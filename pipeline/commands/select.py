"""`mswitch select`: a corpus of the pages that late rules keep.

The rules read the side tables of `mswitch score`, lists of addresses and robots.txt, not the text,
so another threshold or another list takes minutes instead of a new cleaning. A page that leaves
lies in `rejected/` with its reason, and each reason is counted per language in pages and
characters. Late rules only remove pages: lines and duplicates that a page had won from others stay
gone with it, and are counted.
"""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from msgspec.structs import asdict

from data.corpus_manifest import CorpusManifest
from data.curation.block_lists import BLOCKED
from data.curation.robots import PRODUCT_TOKEN, check_robots_file
from data.files.digests import digest_of_contents, digest_of_value, names_below
from data.files.json_files import read_json
from data.files.paths import absolute, join_path
from eval.funnel import uneven_rules
from pipeline.arguments import Select
from pipeline.artifacts import MANIFEST, SCHEMA_VERSION, SELECT, digest_of_manifest
from pipeline.beam import job
from pipeline.beam.job import DoExchange, WorkNumbers, do_items
from pipeline.beam.options import (
    check_workers_reach,
    in_process,
    pipeline_options,
    runs_here,
    use_store_options,
)
from pipeline.beam.workspace import Waves, Workspace, clear, is_collected, workspace_key
from pipeline.corpus.card import write_cards
from pipeline.corpus.counts import BLOCKED_ENTRIES, OPTED_OUT_ENTRIES, Tally, total
from pipeline.corpus.pages import (
    PAGES_FOLDER,
    REJECTED_FOLDER,
    CorpusFile,
    corpus_files,
    has_unique_lines,
    read_corpus,
    read_funnel,
    sources_of,
)
from pipeline.corpus.read import names_of
from pipeline.curation.robots import (
    PAGES_PER_PARTITION,
    PARTITIONS_HERE,
    AskRobots,
    ListHosts,
    skipped_robots,
)
from pipeline.curation.score import BENCHMARK, read_scores, thresholds_of
from pipeline.curation.select import (
    LateRules,
    SelectFile,
    manifest_of,
    matches,
    pages_of_entries,
    print_summary,
    read_lists,
    set_aside,
)
from pipeline.errors import ArtifactError
from pipeline.stage import Identity, Intent, Outcome, Reading, files_of, run_stage
from pipeline.terminal import Terminal, print_message
from pipeline.tokens.vocabulary import advised_command

THREADS = 16  # that read files with robots.txt for their digest
VERSION = 6  # raised when an unfinished selection of an earlier version may not be resumed


@dataclass(frozen=True, kw_only=True)
class SelectRequest:
    """A job whose arguments passed all checks.

    Attributes:
        arguments: the command's arguments.
        options: options of the Beam job.
        files: files of the corpus.
        pages: number of its pages.
        rules: rules that decide.
        intent: what the job would do.
    """

    arguments: Select
    options: PipelineOptions
    files: list[CorpusFile]
    pages: int
    rules: LateRules
    intent: Intent


def checked_request(arguments: Select) -> SelectRequest:
    """Returns the job that the arguments name.

    Raises:
        ArtifactError: if there is no such corpus, the scores are another corpus's, or a share or
            the robot's name is malformed.
        DataError: if workers do not reach them, or a list is damaged.
    """
    if not 0 <= arguments.least_language_share <= 1:
        raise ArtifactError(
            f"--least-language-share {arguments.least_language_share} was given; it is a share of "
            "a page's characters, so a number from 0 to 1."
        )
    if not PRODUCT_TOKEN(arguments.robot):
        raise ArtifactError(
            f"--robot {arguments.robot} was given; name a robot by letters, digits, - and _ alone, "
            "such as CCBot."
        )
    if not arguments.languages and arguments.least_language_share != Select.least_language_share:
        raise ArtifactError(
            "--least-language-share is of pages that are judged by their language; leave it or "
            "--no-languages out."
        )
    if not arguments.robots and arguments.robot != Select.robot:
        raise ArtifactError(
            f"--robot {arguments.robot} is looked for in robots.txt; name files with --robots, or "
            "leave it out."
        )
    options = pipeline_options(arguments.beam)
    use_store_options(options)
    robots = tuple(name for pattern in arguments.robots for name in names_of(pattern))
    arguments = replace(arguments, robots=robots)
    reached = [arguments.corpus, arguments.scores, arguments.out, *lists_of(arguments)]
    check_workers_reach(options, reached)
    corpus, files = read_corpus(arguments.corpus), corpus_files(arguments.corpus)
    rules = rules_of(arguments, corpus)
    pages = sum(entry.kept for entry in corpus.languages.values())
    size = sum(file.size for file in files)
    return SelectRequest(
        arguments=arguments,
        options=pipeline_options(arguments.beam, input_bytes=size),
        files=files,
        pages=pages,
        rules=rules,
        intent=intent_of(arguments, rules, files, pages),
    )


def lists_of(arguments: Select) -> tuple[str, ...]:
    """Returns the files of lists and of robots.txt."""
    return (*arguments.blocked, *arguments.opted_out, *arguments.robots)


def rules_of(arguments: Select, corpus: CorpusManifest) -> LateRules:
    """Returns the rules that decide, with their lists checked here and not by a worker.

    Raises:
        ArtifactError: if the scores are another corpus's.
        DataError: if a list is damaged.
    """
    scores = read_scores(arguments.scores)
    if scores.inputs.get("corpus") != digest_of_manifest(arguments.corpus):
        raise ArtifactError(
            f"{arguments.scores} should hold the scores of {arguments.corpus} and holds those of "
            "another corpus, or of this one before it was changed; run score again."
        )
    rules = LateRules(
        blocked=tuple(map(absolute, arguments.blocked)),
        opted_out=tuple(map(absolute, arguments.opted_out)),
        languages=arguments.languages,
        least_share=arguments.least_language_share,
        benchmarks=arguments.benchmarks,
        quality=thresholds_of(arguments.quality, scores),
        masked=arguments.mask,
        unique_lines=has_unique_lines(corpus),
    )
    for paths in (rules.blocked, rules.opted_out):
        read_lists(paths, BLOCKED)
    for path in arguments.robots:
        check_robots_file(path)
    return rules


def intent_of(
    arguments: Select, rules: LateRules, files: Sequence[CorpusFile], pages: int
) -> Intent:
    """Returns the job's intent."""
    lists, size = lists_of(arguments), sum(file.size for file in files)
    scores = corpus_files(arguments.scores)
    digests = {name: digest_of_manifest(getattr(arguments, name)) for name in ("corpus", "scores")}
    return Intent(
        stage=SELECT,
        reads=[
            Reading("corpus", arguments.corpus, len(files), size, f"{pages:,} pages"),
            Reading("scores", arguments.scores, len(scores), sum(file.size for file in scores)),
            *([files_of("lists", " ".join(lists), lists)] if lists else ()),
        ],
        writes=f"{PAGES_FOLDER}/, {REJECTED_FOLDER}/ and manifest.json",
        out=arguments.out,
        identity=Identity(
            settings_of(arguments, rules, scored_benchmarks(arguments.scores)),
            digests | digests_of_lists(arguments),
        ),
        work=f"late rules for {pages:,} pages",
    )


def scored_benchmarks(scores: str) -> list[str]:
    """Returns the names of the benchmarks that pages were compared with."""
    inputs = read_scores(scores).inputs
    return sorted(name.removeprefix(BENCHMARK) for name in inputs if name.startswith(BENCHMARK))


def digests_of_lists(arguments: Select) -> dict[str, str]:
    """Returns the digest of each list, and one of all files with robots.txt."""
    digests = {
        f"{role} {name}": digest_of_contents(path)
        for role, lists in (("list", arguments.blocked), ("opt-out", arguments.opted_out))
        for name, path in zip(names_below(lists), lists, strict=True)
    }
    if arguments.robots:  # those of a crawl are tens of thousands of files
        with ThreadPoolExecutor(THREADS) as threads:
            contents = [*threads.map(digest_of_contents, arguments.robots)]
        digests["robots"] = digest_of_value(contents)
    return digests


def settings_of(
    arguments: Select, rules: LateRules, benchmarks: Sequence[str]
) -> Mapping[str, Any]:
    """Returns every setting that changes the corpus, as JSON values, with scored benchmarks."""
    thresholds = {code: asdict(bounds) for code, bounds in (rules.quality or {}).items()}
    return {
        "languages": arguments.languages,
        "least_language_share": arguments.least_language_share if arguments.languages else None,
        "benchmarks": [*benchmarks] if arguments.benchmarks else None,
        "quality": arguments.quality,
        "thresholds": digest_of_value(thresholds),
        "blocked": names_below(arguments.blocked),
        "opted_out": names_below(arguments.opted_out),
        "robots": names_below(arguments.robots),
        "robot": arguments.robot if arguments.robots else None,
        "mask": arguments.mask,
    }


def intents(arguments: Select) -> list[Intent]:
    """Returns the command's intent, with the pages that lists name."""
    request = checked_request(arguments)
    finds = [
        sentence
        for paths in (request.rules.blocked, request.rules.opted_out)
        for pages in [pages_of_entries(absolute(arguments.corpus), request.files, paths)]
        for sentence in matches(paths, pages, paths)
    ]
    return [replace(request.intent, finds=finds)]


def run(arguments: Select) -> None:
    """Writes the selected corpus, unless it is finished."""
    started = time.monotonic()
    request, out = checked_request(arguments), absolute(arguments.out)
    run_stage(request.intent, partial(select, request, out, started), partial(clear, out))


def select(request: SelectRequest, out: str, started: float) -> Outcome:
    """Selects the pages of every file that is not finished, and prints the counts."""
    console, arguments = Terminal(stderr=True, highlight=False), request.arguments
    workspace = Workspace(out, key_of(request))
    workspace.forget_stale([PAGES_FOLDER, REJECTED_FOLDER])
    workspace.write_shards(request.files)
    with console.status(f"select: {len(request.files)} files"):
        select_files(request, workspace, ask_robots(request, workspace))
    counts = total(workspace.records(SelectFile.name, len(request.files), Tally))
    rules = dict(request.intent.claimed_for.settings)
    source = read_json(join_path(arguments.corpus, MANIFEST), dict[str, Any])
    before = read_corpus(arguments.corpus)
    body = manifest_of(counts, source, before, rules, arguments.corpus)
    body["selected_from"] = sources_of(arguments.corpus)
    body["files"] = workspace.digests()
    write_cards(out, body)
    for kind, paths in (
        (BLOCKED_ENTRIES, request.rules.blocked),
        (OPTED_OUT_ENTRIES, request.rules.opted_out),
    ):
        for sentence in matches(paths, counts.details(kind), paths):
            print_message(f"{SELECT}: {sentence}")
    print_summary(console, body, time.monotonic() - started)
    kept = sum(entry["kept"] for entry in body["languages"].values())
    skipped = [*skipped_robots(workspace)]  # before the workspace is removed
    return Outcome(
        body,
        f"{kept:,} of {request.pages:,} pages in {arguments.out}",
        itertools.chain(skipped, cautions(body, arguments.out, request.rules, rules)),
        advised_command(arguments.out, body["languages"]),
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


def ask_robots(request: SelectRequest, workspace: Workspace) -> AskRobots | None:
    """Compares addresses with robots.txt; returns the exchange, None without files."""
    robots = tuple(map(absolute, request.arguments.robots))
    if not robots:
        return None
    partitions = max(1, request.pages // PAGES_PER_PARTITION)
    waves = Waves(partitions, PARTITIONS_HERE if runs_here(request.options) else partitions)
    corpus = absolute(request.arguments.corpus)
    exchange = AskRobots(workspace, waves, corpus, robots, request.arguments.robot)
    do_items(ListHosts(workspace, corpus), len(request.files), request.options)
    shards = len(request.files) + len(robots)
    for wave in waves.all():
        if not is_collected(exchange, wave, shards):
            with job.running(in_process(request.options)) as pipeline:
                _ = pipeline | WorkNumbers(shards) | "AskRobots" >> DoExchange(exchange, wave)
    return exchange


def select_files(request: SelectRequest, workspace: Workspace, robots: AskRobots | None) -> None:
    """Writes every file that is not finished."""
    corpus, scores = absolute(request.arguments.corpus), absolute(request.arguments.scores)
    step = SelectFile(workspace, corpus, scores, request.rules, robots)
    do_items(step, len(request.files), request.options)


def key_of(request: SelectRequest) -> str:
    """Returns the key of the job's workspace."""
    return workspace_key(VERSION, SCHEMA_VERSION, request.intent.claimed_for, request.files)
