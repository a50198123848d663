"""Cleaning: archives in, pages per language out, every rejection with a reason and a count.

The rules apply in the reference's order: length, one page per address, line rules, one page per
line, language, bad words, split. `mswitch-web` has its own order; `--rules none` applies none.
Every job ends with a check that read = kept + rejected + not requested. Broken records are counted
apart, because they never were pages. The output does not depend on the number of workers.

The job (`pipeline.corpus.graph`) is steps on shards, and exchanges between shards through the
engine's own shuffle. Pages stay in files of their shard; keys and verdicts travel, packed. A job
that was killed resumes after its last finished work item.
"""

import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console

from data.errors import DataError
from data.files import digests
from data.files.paths import absolute
from data.languages import UNDETERMINED, codes
from data.reading.crawl import COMMON_CRAWL
from data.reading.records import is_named_as_a_test, is_published_for_validation
from data.rules.held_out import ShareOfEachLanguage
from pipeline.artifacts import TOKENS, VOCABULARY, digest_of_manifest
from pipeline.beam.options import pipeline_options, runs_here
from pipeline.beam.workspace import check_files, clear
from pipeline.corpus.card import write_cards
from pipeline.corpus.counts import Tally
from pipeline.corpus.graph import steps
from pipeline.corpus.job import CleaningJob, begin_job
from pipeline.corpus.onto.keep import KEPT_BYTES
from pipeline.corpus.onto.settings import check_new, settings_of_base
from pipeline.corpus.onto.summary import (
    addition_of,
    held_out_differences,
    print_addition,
    write_facts,
)
from pipeline.corpus.onto.verdicts import FOLDER, GrowthFiles, ShareHeldOut
from pipeline.corpus.pages import lineage_of, manifest_of_corpus, read_corpus
from pipeline.corpus.read import DEFAULT_CUT, Cut, InputFile, from_crawl, input_files, of_languages
from pipeline.corpus.rules import (
    AnyRules,
    bad_word_rule,
    check_unsplit,
    fasttext_model,
    requested_rules,
    trusts_declarations,
)
from pipeline.corpus.sample import advised_command
from pipeline.corpus.submission import output_paths, progress_shown, run_job, total_of
from pipeline.corpus.summary import (
    cautions,
    codes_in_words,
    languages_with_pages,
    manifest_of,
    print_summary,
)
from pipeline.following import made_from, new_beside, with_digest
from pipeline.stage import (
    Identity,
    Intent,
    Job,
    Outcome,
    Reading,
    bytes_in_words,
    files_of,
    run_stage,
)
from pipeline.terminal import Terminal

OUTPUTS = ("pages", "rejected", "broken", "growth", "delta")  # folders of a corpus


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a corpus is made of, beside the settings of the job.

    Attributes:
        files: input files to read.
        not_read: number of files in languages that were not requested, by language.
        onto: corpus that they are added to, as the user named it; None for none.
        share: share of held-out pages, if the user named one.
        license: licence of the text, if it is declared.
    """

    files: Sequence[InputFile]
    not_read: Counter[str]
    onto: str | None
    share: ShareHeldOut | None
    license: str | None

    @property
    def size(self) -> int:
        """Bytes of the input files as stored; those of a crawl count as files of usual size."""
        return sum(file.size for file in self.files)


def cleaning(
    inputs: Sequence[str],
    out: Path | str,
    *,
    rules: str | None = None,
    onto: str | None = None,
    growable: bool = False,
    languages: Sequence[str] | None = None,
    bad_words: Path | None = None,
    language_identifier: str | None = None,
    crawl_base: str = COMMON_CRAWL,
    crawl_cache: Path | None = None,
    validation_share: float | None = None,
    validation_minimum: int | None = None,
    license_name: str | None = None,
    beam: Sequence[str] = (),
    cut: Cut = DEFAULT_CUT,
) -> Job:
    """Returns the job that cleans an input; of an addition, the settings are its corpus's.

    Args:
        inputs: files and globs.
        out: directory of the corpus.
        rules: name of the rule set; None for that of the corpus that the input is added to.
        onto: corpus that the input is added to; None for none.
        growable: whether what a later addition needs is kept.
        languages: requested languages; None for all.
        bad_words: directory of lists of bad words.
        language_identifier: fastText model.
        crawl_base: address that the paths of a crawl's list are relative to.
        crawl_cache: directory to keep downloaded files in.
        validation_share: share of each language's pages to hold out; None for the rules' own.
        validation_minimum: least number of them; None for the rules' own.
        license_name: licence of the text.
        beam: options of the Beam job.
        cut: sizes of shards, chunks and partitions.

    Raises:
        ArtifactError: if there is no such corpus to add to.
        DataError: if there is no such input, or settings contradict.
    """
    growth = None
    if onto is not None:
        facts = settings_of_base(
            onto,
            rules=rules,
            languages=languages,
            share=validation_share,
            minimum=validation_minimum,
            bad_words=bad_words,
            identifier=language_identifier,
        )
        growth, growable = GrowthFiles(absolute(onto)), True
        rules, languages = facts.rules, facts.languages
        validation_share = facts.share and facts.share.share
        validation_minimum = facts.share and facts.share.minimum
    assert rules is not None  # which the command needs without a corpus to add to
    rule_set = requested_rules(rules, validation_share, validation_minimum)
    asked = None if languages is None else codes(languages)
    every_file = input_files(inputs, crawl_base)
    if growth is not None:
        check_new(every_file, growth.corpus, growth.facts())
    check_unsplit(rule_set, every_file)
    files, not_read = every_file, Counter[str]()
    if asked is not None and trusts_declarations(rule_set):
        files, not_read = of_languages(every_file, asked)
    named = (validation_share, validation_minimum) != (None, None)
    source = Source(
        files=files,
        not_read=not_read,
        onto=onto,
        share=share_of(rule_set) if named else None,
        license=license_name,
    )
    words = bad_word_rule(rule_set, bad_words)
    identifier = fasttext_model(rule_set, language_identifier)
    settings = {"rules": rule_set.name, "held_out": str(rule_set.held_out), "languages": asked}
    if from_crawl(every_file):
        settings["crawl_base"] = crawl_base.rstrip("/")
    settings |= {"growable": True} if growable else {}
    settings |= {} if license_name is None else {"license": license_name}
    folders = ["pages/", "rejected/", "broken/", *["growth/"] * growable, *["delta/"] * bool(onto)]
    in_languages = "all languages" if asked is None else ", ".join(asked)
    others = f"; {not_read.total():,} files are in other languages" if not_read else ""
    estimate = shlex.join(("mswitch", "estimate", *input_words(inputs, rules, crawl_base)))
    intent = Intent(
        stage="clean",
        reads=[*readings(inputs, source, growth, bad_words, language_identifier)],
        writes=f"{', '.join(folders)} and manifest.json",
        out=out,
        identity=Identity(
            settings, input_digests(every_file, onto, bad_words, language_identifier)
        ),
        work=f"rules {rule_set.name}, {in_languages}{others}",
        time=f"not measured; `{estimate}` cleans a sample and predicts it",
    )
    options = pipeline_options(beam, input_bytes=source.size)
    begin = partial(
        begin_job,
        absolute(str(out)),
        rule_set,
        files,
        identity=intent.identity,
        in_waves=runs_here(options),
        cut=cut,
        growable=growable,
        kept=growth,
        languages=asked,
        bad_words=words,
        identifier=identifier,
        crawl_cache=crawl_cache and str(crawl_cache.absolute()),
    )
    return Job(lambda: intent, partial(run, intent, partial(clean, begin, source, options, intent)))


def share_of(rules: AnyRules) -> ShareHeldOut | None:
    """Returns the share of pages that rules hold out; None if it is none."""
    rule = rules.held_out
    if not isinstance(rule, ShareOfEachLanguage):
        return None
    return ShareHeldOut(share=rule.share, minimum=rule.minimum)


def input_digests(
    files: Sequence[InputFile], onto: str | None, bad_words: Path | None, identifier: str | None
) -> dict[str, str]:
    """Returns the digests of the input's places and sizes, of bad words and of the identifier.

    Files of a crawl have no size yet.
    """
    listed = from_crawl(files)
    here = [(file.path, file.size) for file in files if file.path not in listed]
    inputs = digests.digests_of_files(here)
    if listed:
        inputs["crawl"] = digests.digest_of_value(listed)
    if onto is not None:
        inputs["onto"] = digest_of_manifest(onto)
    if bad_words is not None:
        inputs["bad_words"] = digests.digest_of_directory(bad_words)
    if identifier is not None:
        inputs["identifier"] = digests.digest_of_contents(identifier)
    return inputs


def input_words(inputs: Sequence[str], rules: str, crawl_base: str) -> list[str]:
    """Returns the words of a command line that name input and rules."""
    base = [] if crawl_base == COMMON_CRAWL else ["--crawl-base", crawl_base]
    return ["--input", *inputs, "--rules", rules, *base]


def readings(
    inputs: Sequence[str],
    source: Source,
    growth: GrowthFiles | None,
    bad_words: Path | None,
    identifier: str | None,
) -> Iterator[Reading]:
    """Yields the input, the corpus that it is added to, lists of bad words, and the identifier."""
    size = None if from_crawl(source.files) else source.size
    yield Reading("input", " ".join(inputs), len(source.files), size)
    if growth is not None:
        facts = growth.facts()
        holds = f"{len(facts.input):,} shards in {FOLDER}/"
        yield Reading("corpus", growth.corpus, len(facts.files), None, holds)
    if bad_words is not None:
        yield files_of("bad words", bad_words, bad_words.iterdir())
    if identifier is not None:
        yield files_of("identifier", identifier, [identifier])


def run(intent: Intent, work: Callable[[], Outcome]) -> None:
    """Cleans the input into the directory, or prints that it is already finished.

    Raises:
        DataError: if no page was kept, or none in a language that is known.
    """
    out = absolute(str(intent.out))
    run_stage(intent, work, partial(clear, out))
    manifest = manifest_of_corpus(out)
    kept = {code for code, entry in manifest.languages.items() if entry.kept}
    if not kept:
        raise DataError(
            "No page was kept; see the cautions above, and rejected/ and broken/ in "
            f"{intent.out}, which have each page and record with its reason."
        )
    if kept == {UNDETERMINED}:
        raise DataError(
            f"No kept page has a language that is known{codes_in_words(manifest.declared)}, and "
            'pages without one are not trained on; give records a "language" of '
            "data/languages.tsv, or choose rules that identify languages."
        )


def clean(
    begin: Callable[[], CleaningJob], source: Source, options: PipelineOptions, intent: Intent
) -> Outcome:
    """Cleans the input into the claimed directory and prints the counts.

    Args:
        begin: begins the job.
        source: what the corpus is made of.
        options: options of the Beam job.
        intent: what the job would do.
    """
    started, console = time.monotonic(), Terminal(stderr=True, highlight=False)
    job, out = begin(), str(intent.out)
    run_steps(job, source, options, out, console)
    tally = total_of(job)  # read once: what is checked is what the manifest counts
    check_files(job.workspace.out, output_paths(job, tally))
    body = body_of(job, source, tally, intent.claimed_for.inputs)
    write_cards(job.workspace.out, body)
    print_summary(console, body, time.monotonic() - started)
    if job.growable:
        print_addition(console, body)
    count = languages_with_pages(body)
    paths = [file.path for file in source.files]
    return Outcome(
        body,
        f"pages of {count} {'language' if count == 1 else 'languages'} in {out}",
        cautions(
            body,
            job.rules.held_out,
            job.languages,
            declared=trusts_declarations(job.rules),
            tests=[*filter(is_named_as_a_test, paths)],
            published=[*filter(is_published_for_validation, paths)],
        ),
        next_command(out, source.onto, body),
    )


def run_steps(
    job: CleaningJob, source: Source, options: PipelineOptions, out: str, console: Console
) -> None:
    """Runs the job's steps that are not finished, and shows their progress."""
    if job.workspace.forget_stale(OUTPUTS):
        console.print(
            f"clean: {out} held an unfinished run of another version, or of input that has been "
            "changed since; it begins anew."
        )
    files = len(source.files)
    counted = f"{files:,} file{'' if files == 1 else 's'}"
    console.print(f"clean: {counted}, {bytes_in_words(source.size)}, rules {job.rules.name}")
    if source.onto is not None:
        console.print(f"clean: added to {source.onto}, which stays as it is")
    items = {step.name: job.shards for step in steps(job)}
    with progress_shown(job.workspace, items, console) as progress:
        run_job(job, options, progress.follow)


def body_of(
    job: CleaningJob, source: Source, tally: Tally, inputs: Mapping[str, str]
) -> dict[str, Any]:
    """Returns the manifest's body; writes the settings of what is kept beside the corpus."""
    files, not_read, declared = len(source.files), source.not_read, source.license
    if source.onto is not None:
        there = read_corpus(source.onto)
        files += there.input.files
        not_read = not_read + Counter(there.not_asked.files)
        declared = declared or there.license
    body = manifest_of(tally, job, files=files, not_read=not_read)
    body["files"] = job.workspace.digests()
    body |= {} if declared is None else {"license": declared}
    if job.growable:
        body["kept_beside"] = tally.details(KEPT_BYTES)
        facts = write_facts(job, tally, inputs, source.files, body["files"], source.share)
        body["growth_sha256"] = facts
    if source.onto is not None:
        body["addition"] = addition_of(job, tally, source.onto) | {
            "held_out_difference": held_out_differences(job, body["languages"]),
            "lineage": lineage_of(source.onto),
        }
    return body


def next_command(out: str, onto: str | None, body: Mapping[str, Any]) -> Iterator[object]:
    """Yields the words of the next command; what an addition joins has its vocabulary already."""
    if onto is None or not languages_with_pages(body) or not _has_training_pages(onto):
        yield from advised_command(out, body["languages"])
    else:
        yield from adding_command(out, onto)


def adding_command(corpus: str, onto: str) -> Iterator[object]:
    """Yields the words that add to the tokens of the corpus before; none if they are not near."""
    for tokens, head in made_from(onto, TOKENS, digest_of_manifest(onto)):
        vocabulary = with_digest(tokens, VOCABULARY, head.inputs.get("vocabulary"))
        if vocabulary is not None:
            yield from ("tokenize", "--corpus", corpus, "--vocabulary", vocabulary)
            yield from ("--onto", tokens, "--out", new_beside(tokens, f"{tokens.name}-2"))
            return


def _has_training_pages(corpus: str) -> bool:
    entries = read_corpus(corpus).languages
    return any(
        entries[code].kept > entries[code].held_out for code in entries.keys() - {UNDETERMINED}
    )
