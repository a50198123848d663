"""`mswitch clean`: archives in, pages per language out, every rejection with a reason and a count.

The rules apply in the reference's order: length, one page per address, line rules, one page per
line, language, bad words, split. `mswitch-web` has its own order; `--rules none` applies none.
Every job ends with a check that read = kept + rejected + not requested. Broken records are counted
apart, because they never were pages. The output does not depend on the number of workers.

The job (`pipeline.corpus.graph`) is steps on shards, and exchanges between shards
through the engine's own shuffle. Pages stay in files of their shard; keys and verdicts travel,
packed. A job that was killed resumes after its last finished work item.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from rich.console import Console

from data.errors import DataError
from data.languages import UNDETERMINED
from data.reading.records import is_named_as_a_test, is_published_for_validation
from pipeline.arguments import Clean
from pipeline.beam.options import pipeline_options, runs_here
from pipeline.beam.workspace import check_files, clear
from pipeline.corpus.card import write_cards
from pipeline.corpus.counts import Tally
from pipeline.corpus.graph import steps
from pipeline.corpus.job import CleaningJob, begin_job, trusts_declarations
from pipeline.corpus.onto.keep import KEPT_BYTES
from pipeline.corpus.onto.summary import (
    addition_of,
    held_out_differences,
    print_addition,
    write_facts,
)
from pipeline.corpus.pages import lineage_of, manifest_of_corpus, read_corpus
from pipeline.corpus.read import DEFAULT_CUT, Cut
from pipeline.corpus.request import CleaningRequest, cleaning_request, intent_of
from pipeline.corpus.submission import output_paths, progress_shown, run_job, total_of
from pipeline.corpus.summary import (
    cautions,
    codes_in_words,
    languages_with_pages,
    manifest_of,
    print_summary,
)
from pipeline.stage import Intent, Outcome, bytes_in_words, run_stage
from pipeline.terminal import Terminal
from pipeline.tokens.vocabulary import advised_command

OUTPUTS = ("pages", "rejected", "broken", "growth", "delta")  # folders of a corpus


def intents(arguments: Clean) -> list[Intent]:
    """Returns the command's intent."""
    return [intent_of(cleaning_request(arguments))]


def run(arguments: Clean, cut: Cut = DEFAULT_CUT) -> None:
    """Cleans the input into the directory, or prints that it is already finished."""
    started = time.monotonic()
    request = cleaning_request(arguments)
    work = partial(clean, request, cut, started)
    run_stage(intent_of(request), work, partial(clear, request.out))
    manifest = manifest_of_corpus(request.out)
    kept = {code for code, entry in manifest.languages.items() if entry.kept}
    if not kept:
        raise DataError(
            "No page was kept; see the cautions above, and rejected/ and broken/ in "
            f"{request.arguments.out}, which have each page and record with its reason."
        )
    if kept == {UNDETERMINED}:
        raise DataError(
            f"No kept page has a language that is known{codes_in_words(manifest.declared)}, and "
            'pages without one are not trained on; give records a "language" of '
            "data/languages.tsv, or choose rules that identify languages."
        )


def clean(request: CleaningRequest, cut: Cut, started: float) -> Outcome:
    """Cleans the input into the claimed directory and prints the counts."""
    console, arguments = Terminal(stderr=True, highlight=False), request.arguments
    job = requested_job(request, cut)
    run_steps(job, request, console)
    tally = total_of(job)  # read once: what is checked is what the manifest counts
    check_files(request.out, output_paths(job, tally))
    body = body_of(job, request, tally)
    write_cards(request.out, body)
    print_summary(console, body, time.monotonic() - started)
    if arguments.growable:
        print_addition(console, body)
    count = languages_with_pages(body)
    rules = request.rules
    return Outcome(
        body,
        f"pages of {count} {'language' if count == 1 else 'languages'} in {arguments.out}",
        cautions(
            body,
            rules.held_out,
            request.languages,
            declared=trusts_declarations(rules),
            tests=[file.path for file in request.files if is_named_as_a_test(file.path)],
            published=[
                file.path for file in request.files if is_published_for_validation(file.path)
            ],
        ),
        next_command(arguments, body),
    )


def next_command(arguments: Clean, body: Mapping[str, Any]) -> Iterable[str]:
    """Returns the words of the next command; what an addition joins has its vocabulary already."""
    onto = arguments.onto
    if onto is None or not languages_with_pages(body) or not _has_training_pages(onto):
        return advised_command(arguments.out, body["languages"])
    tokens = ("--vocabulary", "VOCABULARY", "--onto", "TOKENS", "--out", "NEW_TOKENS")
    return "tokenize", "--corpus", arguments.out, *tokens


def _has_training_pages(corpus: str) -> bool:
    entries = read_corpus(corpus).languages
    return any(
        entries[code].kept > entries[code].held_out for code in entries.keys() - {UNDETERMINED}
    )


def body_of(job: CleaningJob, request: CleaningRequest, tally: Tally) -> dict[str, Any]:
    """Returns the manifest's body; writes the settings of what is kept beside the corpus."""
    asked, base, not_read = request.arguments, request.base, request.not_read
    files, license_ = len(request.files), asked.license
    if base is not None:
        there = read_corpus(base.corpus)
        files += there.input.files
        not_read = not_read + Counter(there.not_asked.files)
        license_ = license_ or there.license
    body = manifest_of(tally, job, files=files, not_read=not_read)
    body["files"] = job.workspace.digests()
    body |= {} if license_ is None else {"license": license_}
    if asked.growable:
        body["kept_beside"] = tally.details(KEPT_BYTES)
        inputs = request.identity.inputs
        body["growth_sha256"] = write_facts(asked, job, tally, inputs, request.files, body["files"])
    if asked.onto is not None:
        difference = held_out_differences(job, body["languages"])
        lineage = lineage_of(asked.onto)
        body["addition"] = addition_of(job, tally, asked.onto) | {
            "held_out_difference": difference,
            "lineage": lineage,
        }
    return body


def run_steps(job: CleaningJob, request: CleaningRequest, console: Console) -> None:
    """Runs the job's steps that are not finished, and shows their progress."""
    if job.workspace.forget_stale(OUTPUTS):
        console.print(
            f"clean: {request.arguments.out} held an unfinished run of another version, or of "
            "input that has been changed since; it begins anew."
        )
    files, size = len(request.files), request.size
    counted = f"{files:,} file{'' if files == 1 else 's'}"
    console.print(f"clean: {counted}, {bytes_in_words(size)}, rules {request.rules.name}")
    if request.base is not None:
        console.print(f"clean: added to {request.arguments.onto}, which stays as it is")
    options = pipeline_options(request.arguments.beam, input_bytes=size)
    items = {step.name: job.shards for step in steps(job)}
    with progress_shown(job.workspace, items, console) as progress:
        run_job(job, options, progress.follow)


def requested_job(request: CleaningRequest, cut: Cut) -> CleaningJob:
    """Returns the job of a request, whose directory is claimed."""
    cache = request.arguments.crawl_cache
    job = begin_job(
        request.out,
        request.rules,
        request.files,
        identity=request.identity,
        in_waves=runs_here(request.options),
        cut=cut,
        growable=request.arguments.growable,
        kept=request.base,
    )
    return replace(
        job,
        languages=request.languages,
        bad_words=request.bad_words,
        identifier=request.identifier,
        crawl_cache=cache and str(cache.absolute()),
    )
