"""`mswitch clean`: archives in, pages per language out, every rejection with a reason and a count.

The order is the reference's: length, one page per address, line rules, one page per line, language,
bad words, split (`mswitch-web` has its own; `--rules none` takes no step). Read = kept + rejected +
not asked for holds for every run and is checked at its end. Broken records are counted apart,
because they never were pages. The output does not depend on the number of workers.

The job is one Beam graph of a few steps (`pipeline.cleaning.plan`), each after the one before.
Between them pages and keys are in files of the workspace, never in a grouping. So memory is bounded
on every runner, and a run that was killed continues after its last finished work item.
"""

import functools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection
from rich.console import Console

from data.languages import codes
from data.rules.bad_words import BadWordRule
from data.stores import digests
from data.stores.files import absolute
from pipeline import arguments
from pipeline.artifacts import claims
from pipeline.beam.job import running
from pipeline.beam.options import Follow, check_workers_reach, pipeline_options
from pipeline.beam.store_options import use_store_options
from pipeline.beam.work_items import DoWork, WriteAll
from pipeline.beam.workspace import Workspace, check_complete, clear
from pipeline.cleaning import shards
from pipeline.cleaning.input_files import files_named, input_files, of_languages
from pipeline.cleaning.judgement import Timed
from pipeline.cleaning.manifest import manifest_of, print_summary
from pipeline.cleaning.plan import (
    VERSION,
    AnyRules,
    CleaningJob,
    declaration_counts,
    files_of,
    planned,
    steps,
    total_of,
)
from pipeline.cleaning.rules_asked import bad_word_rule, model_of_languages, rules_asked
from pipeline.cleaning.shards import DEFAULT_CUT, Cut, InputFile
from pipeline.cleaning.watch import watched
from pipeline.cleaning.write import WriteFile

STAGE = "clean"
OUTPUTS = ("pages", "rejected", "broken")  # folders of a corpus


def run(arguments: arguments.Clean, cut: Cut = DEFAULT_CUT) -> None:
    """Cleans the input into the directory, or prints that this was done before."""
    started = time.monotonic()
    console = Console(stderr=True, highlight=False)
    rules = rules_asked(arguments)
    asked = None if arguments.languages is None else codes(arguments.languages)
    options = pipeline_options(arguments.beam)
    use_store_options(options)
    check_workers_reach(options, [*files_named(arguments.input), str(arguments.out)])
    out = absolute(str(arguments.out))
    found = input_files(arguments.input, arguments.crawl_base)
    listed = bad_word_rule(rules, arguments.bad_words)
    identifier = model_of_languages(rules, arguments.language_identifier)
    settings = {
        "rules": rules.name,
        "held_out": str(rules.held_out),
        "languages": asked,
        "input": arguments.input,
    }
    inputs = {"files": digests.digest_of_files((file.path, file.size) for file in found)}
    if arguments.bad_words is not None:
        inputs["bad_words"] = digests.digest_of_directory(arguments.bad_words)
    if arguments.language_identifier is not None:
        inputs["identifier"] = digests.digest_of_contents(arguments.language_identifier)
    not_read: Counter[str] = Counter()
    if asked is not None and declaration_counts(rules):
        found, not_read = of_languages(found, asked)

    claim = claims.claim(out, STAGE, settings, inputs)
    if claim is claims.Claim.FINISHED:
        clear(out)
        console.print(f"clean: {arguments.out} is already finished; nothing to do.")
        return
    cache = arguments.crawl_cache and str(arguments.crawl_cache.absolute())
    job = job_of(
        out,
        rules,
        found,
        identity=(settings, inputs),
        asked=asked,
        listed=listed,
        identifier=identifier,
        crawl_cache=cache,
        cut=cut,
    )
    if job.workspace.forget_stale(OUTPUTS):
        console.print(
            f"clean: {arguments.out} held an unfinished run of another version, or of input that "
            "has been changed since; it begins anew."
        )
    size = sum(file.size for file in found)
    console.print(f"clean: {len(found)} files, {size / 1e6:.1f} MB, rules {rules.name}")
    options = pipeline_options(arguments.beam, input_bytes=size)
    pieces = {step.step: count for step, count in steps(job)}
    with watched(job.workspace, pieces, console) as watch:
        run_job(job, options, watch.follow)
    check_complete(job.workspace, pieces.items(), files_of(job))
    body = manifest_of(total_of(job), job, files=len(found), not_read=not_read)
    claims.finish(out, STAGE, settings, inputs, body)
    clear(out)
    print_summary(console, body, time.monotonic() - started)


def job_of(
    out: str,
    rules: AnyRules,
    found: Sequence[InputFile],
    *,
    identity: object = None,
    asked: tuple[str, ...] | None = None,
    listed: BadWordRule | None = None,
    identifier: str | None = None,
    crawl_cache: str | None = None,
    cut: Cut = DEFAULT_CUT,
) -> CleaningJob:
    """Returns the job for these files, and writes their names for its workers.

    Args:
        out: directory of the corpus.
        rules: rule set that judges pages.
        found: input files.
        identity: everything else that determines the output, as JSON values.
        asked: languages to keep, or None for all.
        listed: rule of the lists of bad words.
        identifier: path of a fastText model, or None for CLD3.
        crawl_cache: directory for fetched files.
        cut: sizes of shards, chunks and partitions.
    """
    groups = shards.shards(found, cut)
    version = (claims.SCHEMA_VERSION, VERSION)
    # Not in the manifest: a copy of the input is the same input and has the same manifest.
    stamps = [file.stamp for file in found]
    follows_from = (version, rules.name, identity, groups, stamps, asdict(cut))
    space = Workspace(out, digests.digest_of_value(follows_from)[:16])
    space.write_shards(groups)
    return CleaningJob(
        workspace=space,
        rules=rules,
        asked=asked,
        listed=listed,
        identifier=identifier,
        shards=len(groups),
        partitions=shards.partitions(found, cut),
        cut=cut,
        crawl_cache=crawl_cache,
    )


def run_job(job: CleaningJob, options: PipelineOptions, follow: Follow = lambda _: None) -> None:
    """Runs the graph where the options place it; passes the running job to `follow`.

    Raises:
        DataError: if a worker met a condition that the user can fix, such as a full disk.
    """
    with running(options, follow) as pipeline:
        build(job, pipeline)


def build(job: CleaningJob, pipeline: beam.Pipeline) -> None:
    """Adds the steps to the pipeline, each after the one before."""
    done: tuple[PCollection, ...] = ()
    for step, count in steps(job):
        done = (pipeline | type(step).__name__ >> DoWork(Timed(step), count, done),)
    plan = functools.partial(planned, job)
    _ = pipeline | "WriteFiles" >> WriteAll(plan, WriteFile.of(job.workspace, job.rules), done)
