"""`mswitch clean`: archives in, pages per language out, every rejection with a reason and a count.

The rules apply in the reference's order: length, one page per address, line rules, one page per
line, language, bad words, split. `mswitch-web` has its own order; `--rules none` applies none.
Every job ends with a check that read = kept + rejected + not requested. Broken records are counted
apart, because they never were pages. The output does not depend on the number of workers.

The job's stages (`pipeline.cleaning.graph`) are work on shards, and exchanges between shards
through the engine's own shuffle. Pages stay in files of their shard; keys and verdicts travel,
packed. A job that was killed resumes after its last finished work item.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console

from data.rules.bad_words import BadWordRule
from data.stores import digests
from pipeline.arguments import Clean
from pipeline.artifacts import claims
from pipeline.artifacts.intent import Intent, claimed, finish
from pipeline.beam.options import pipeline_options, runs_here
from pipeline.beam.workspace import Workspace, check_files, clear
from pipeline.cleaning import shards
from pipeline.cleaning.corpus_files.cautions import cautions
from pipeline.cleaning.corpus_files.manifest import manifest_of, print_summary
from pipeline.cleaning.graph import (
    VERSION,
    AnyRules,
    CleaningJob,
    output_paths,
    total_of,
    work_of,
)
from pipeline.cleaning.progress import progress_shown
from pipeline.cleaning.request import STAGE, CleaningRequest, intent_of, resolved
from pipeline.cleaning.shards import DEFAULT_CUT, Cut, InputFile
from pipeline.cleaning.submission import run_job
from pipeline.corpus.data_card import write_cards
from pipeline.terminal import Terminal, print_end

OUTPUTS = ("pages", "rejected", "broken")  # folders of a corpus


def intents(arguments: Clean) -> list[Intent]:
    """Returns what the command would do."""
    return [intent_of(resolved(arguments))]


def run(arguments: Clean, cut: Cut = DEFAULT_CUT) -> None:
    """Cleans the input into the directory, or prints that it is already finished."""
    started = time.monotonic()
    console = Terminal(stderr=True, highlight=False)
    request = resolved(arguments)
    intent = intent_of(request)
    with claimed(intent) as found:
        if found is claims.Claim.FINISHED:
            clear(request.out)
            console.print(f"clean: {arguments.out} is already finished; nothing to do.")
            return
        job = requested_job(request, cut)
        carry_out(job, request, console)
        tally = total_of(job)  # read once: what is checked is what the manifest counts
        check_files(request.out, output_paths(job, tally))
        body = manifest_of(tally, job, files=len(request.files), not_read=request.not_read)
        body |= {} if arguments.license is None else {"license": arguments.license}
        write_cards(request.out, body)
        finish(intent, body)
        clear(request.out)
        print_summary(console, body, time.monotonic() - started)
        print_end(
            STAGE,
            f"pages of {len(body['languages'])} languages in {arguments.out}",
            cautions(body, str(request.rules.held_out), request.languages),
            f"vocabulary --corpus {arguments.out} --size 4096 --out vocabulary",
        )


def carry_out(job: CleaningJob, request: CleaningRequest, console: Console) -> None:
    """Runs the job's steps that are not finished, and shows their progress."""
    if job.workspace.forget_stale(OUTPUTS):
        console.print(
            f"clean: {request.arguments.out} held an unfinished run of another version, or of "
            "input that has been changed since; it begins anew."
        )
    files, size = len(request.files), request.size
    console.print(f"clean: {files} files, {size / 1e6:.1f} MB, rules {request.rules.name}")
    options = pipeline_options(request.arguments.beam, input_bytes=size)
    items = {step.step: job.shards for step in work_of(job)}
    with progress_shown(job.workspace, items, console) as progress:
        run_job(job, options, progress.follow)


def requested_job(request: CleaningRequest, cut: Cut) -> CleaningJob:
    """Returns the job of a request, whose directory is claimed."""
    cache = request.arguments.crawl_cache
    return job_of(
        request.out,
        request.rules,
        request.files,
        identity=request.identity,
        languages=request.languages,
        bad_words=request.bad_words,
        identifier=request.identifier,
        crawl_cache=cache and str(cache.absolute()),
        in_waves=runs_here(request.options),
        cut=cut,
    )


def job_of(
    out: str,
    rules: AnyRules,
    files: Sequence[InputFile],
    *,
    identity: object = None,
    languages: tuple[str, ...] | None = None,
    bad_words: BadWordRule | None = None,
    identifier: str | None = None,
    crawl_cache: str | None = None,
    in_waves: bool = True,
    cut: Cut = DEFAULT_CUT,
) -> CleaningJob:
    """Returns the job for these files, and writes the list of its shards for the workers.

    Args:
        out: directory of the corpus.
        rules: rule set that judges pages.
        files: input files.
        identity: everything else that determines the output, as JSON values.
        languages: requested languages, or None for all.
        bad_words: rule of the lists of bad words.
        identifier: path of a fastText model, or None for CLD3.
        crawl_cache: directory for fetched files.
        in_waves: whether the runner holds what it groups in memory.
        cut: sizes of shards, chunks and partitions.
    """
    groups = shards.shards(files, cut)
    version = (claims.SCHEMA_VERSION, VERSION)
    # Not in the manifest: a copy of the input is the same input and has the same manifest.
    stamps = [file.stamp for file in files]
    follows_from = (version, rules.name, identity, groups, stamps, asdict(cut))
    workspace = Workspace(out, digests.digest_of_value(follows_from)[:16])
    workspace.write_shards(groups)
    return CleaningJob(
        workspace=workspace,
        rules=rules,
        languages=languages,
        bad_words=bad_words,
        identifier=identifier,
        shards=len(groups),
        partitions=shards.partitions(files, cut),
        in_waves=in_waves,
        cut=cut,
        crawl_cache=crawl_cache,
    )
