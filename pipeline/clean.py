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
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from data.languages import codes
from data.rules.bad_words import BadWordRule
from data.stores import digests
from data.stores.files import absolute
from pipeline.arguments import Clean
from pipeline.artifacts import claims
from pipeline.artifacts.output_lock import output_lock
from pipeline.beam.options import (
    check_workers_reach,
    pipeline_options,
    runs_here,
)
from pipeline.beam.store_options import use_store_options
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
    trusts_declarations,
    work_of,
)
from pipeline.cleaning.input_files import files_named, from_crawl, input_files, of_languages
from pipeline.cleaning.progress import progress_shown
from pipeline.cleaning.requested_rules import (
    bad_word_rule,
    check_unsplit,
    fasttext_model,
    requested_rules,
)
from pipeline.cleaning.shards import DEFAULT_CUT, Cut, InputFile
from pipeline.cleaning.submission import run_job
from pipeline.terminal import Terminal, print_end

STAGE = "clean"
OUTPUTS = ("pages", "rejected", "broken")  # folders of a corpus


def run(arguments: Clean, cut: Cut = DEFAULT_CUT) -> None:
    """Cleans the input into the directory, or prints that it is already finished."""
    started = time.monotonic()
    console = Terminal(stderr=True, highlight=False)
    rules = requested_rules(arguments)
    languages = None if arguments.languages is None else codes(arguments.languages)
    options = pipeline_options(arguments.beam)
    use_store_options(options)
    check_workers_reach(options, [*files_named(arguments.input), str(arguments.out)])
    out = absolute(str(arguments.out))
    files = input_files(arguments.input, arguments.crawl_base)
    check_unsplit(rules, files)
    bad_words = bad_word_rule(rules, arguments.bad_words)
    identifier = fasttext_model(rules, arguments.language_identifier)
    settings = {
        "rules": rules.name,
        "held_out": str(rules.held_out),
        "languages": languages,
        "input": arguments.input,
    } | ({"crawl_base": arguments.crawl_base.rstrip("/")} if from_crawl(files) else {})
    inputs = input_digests(arguments, files)
    not_read: Counter[str] = Counter()
    if languages is not None and trusts_declarations(rules):
        files, not_read = of_languages(files, languages)

    with output_lock(out, STAGE):
        if claims.claim(out, STAGE, settings, inputs) is claims.Claim.FINISHED:
            clear(out)
            console.print(f"clean: {arguments.out} is already finished; nothing to do.")
            return
        job = job_of(
            out,
            rules,
            files,
            identity=(settings, inputs),
            languages=languages,
            bad_words=bad_words,
            identifier=identifier,
            crawl_cache=arguments.crawl_cache and str(arguments.crawl_cache.absolute()),
            in_waves=runs_here(options),
            cut=cut,
        )
        if job.workspace.forget_stale(OUTPUTS):
            console.print(
                f"clean: {arguments.out} held an unfinished run of another version, or of input "
                "that has been changed since; it begins anew."
            )
        size = sum(file.size for file in files)
        console.print(f"clean: {len(files)} files, {size / 1e6:.1f} MB, rules {rules.name}")
        options = pipeline_options(arguments.beam, input_bytes=size)
        items = {step.step: job.shards for step in work_of(job)}
        with progress_shown(job.workspace, items, console) as progress:
            run_job(job, options, progress.follow)
        tally = total_of(job)  # read once: what is checked is what the manifest counts
        check_files(out, output_paths(job, tally))
        body = manifest_of(tally, job, files=len(files), not_read=not_read)
        claims.finish(out, STAGE, settings, inputs, body)
        clear(out)
        print_summary(console, body, time.monotonic() - started)
        print_end(
            STAGE,
            f"pages of {len(body['languages'])} languages in {arguments.out}",
            cautions(body, str(rules.held_out), languages),
            f"vocabulary --corpus {arguments.out} --size 4096 --out vocabulary",
        )


def input_digests(arguments: Clean, files: Sequence[InputFile]) -> dict[str, Any]:
    """Returns the digests of the input's names and sizes, of bad words and of the identifier.

    Files of a crawl have no size yet, and other files may have the same name, so their addresses
    count.
    """
    inputs = {"files": digests.digest_of_files((file.path, file.size) for file in files)}
    if listed := from_crawl(files):
        inputs["crawl"] = digests.digest_of_value(listed)
    if arguments.bad_words is not None:
        inputs["bad_words"] = digests.digest_of_directory(arguments.bad_words)
    if arguments.language_identifier is not None:
        inputs["identifier"] = digests.digest_of_contents(arguments.language_identifier)
    return inputs


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
