"""`mswitch clean`: archives in, pages of each language out, every loss with a reason and a count.

The order is the reference's: length, one page an address, lines, one page a line, language, bad
words, split. `--rules none` takes no step: published corpora pass through unchanged.
Read = kept + rejected holds for every run and is checked at its end; broken records are counted
apart, since they never were pages. The output does not depend on the number of workers.

The job is one Beam graph of at most six steps (`pipeline.cleaning`), each behind the one before.
Between them pages and keys lie in files of the workspace, never in a grouping: so memory is bounded
on every runner, and a run that was killed goes on after its last finished piece.
"""

import functools
import glob
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console

from data import bad_words, rule_sets
from data.bad_words import BadWordRule
from data.english_lines import too_few_sentences_left
from data.errors import DataError
from data.languages import codes
from data.rule_sets import EnglishLines, LanguageBy, RuleSet, Untouched
from data.text_rules import too_few_long_lines, too_long
from pipeline import arguments, artifacts, storage
from pipeline.beam_options import pipeline_for, pipeline_options
from pipeline.cleaning import judgement, read, shards, tally
from pipeline.cleaning.judge import JudgePages
from pipeline.cleaning.judgement import By, Judgement
from pipeline.cleaning.lines import ClaimLines, ShareLines
from pipeline.cleaning.newest import FindNewest
from pipeline.cleaning.read import READERS, ReadShard
from pipeline.cleaning.shards import DEFAULT_CUT, Cut, InputFile
from pipeline.cleaning.watch import watched
from pipeline.cleaning.workspace import Workspace
from pipeline.cleaning.write import File, WriteFile, files
from pipeline.cleaning_report import manifest_of, print_summary
from pipeline.transforms.perform import Perform, WriteAll

STAGE = "clean"


@dataclass(frozen=True)
class Job:
    """What one run does, and how it is cut."""

    workspace: Workspace
    rules: RuleSet | Untouched
    asked: tuple[str, ...] | None
    listed: BadWordRule | None
    shards: int
    partitions: int
    cut: Cut


def run(arguments: arguments.Clean, cut: Cut = DEFAULT_CUT) -> None:
    """Cleans the input into the directory, or says that this was done before."""
    started = time.monotonic()
    console = Console(stderr=True, highlight=False)
    rules = rule_sets.named(arguments.rules)
    asked = None if arguments.languages is None else codes(arguments.languages)
    found = input_files(arguments.input)
    listed = bad_word_rule(rules, arguments.bad_words)
    settings = {"rules": rules.name, "languages": asked, "input": arguments.input}
    inputs = {"files": artifacts.digest_of_files(found)}
    if arguments.bad_words is not None:
        inputs["bad_words"] = artifacts.digest_of_directory(arguments.bad_words)

    space = Workspace(str(arguments.out))
    claim = artifacts.claim(arguments.out, STAGE, settings, inputs)
    if claim is artifacts.Claim.FINISHED:
        storage.remove(space.directory)
        console.print(f"clean: {arguments.out} is already finished; nothing to do.")
        return
    job = job_of(space, rules, found, asked=asked, listed=listed, cut=cut)
    size = sum(file.size for file in found)
    doing = f"clean: {len(found)} files, {size / 1e6:.1f} MB, rules {rules.name}"
    console.print(doing)
    with watched(space, pieces(job), console):
        run_job(job, pipeline_options(arguments.beam, input_bytes=size))
    body = manifest_of(whole(job), rules, files=len(found), lists=listed is not None)
    artifacts.finish(arguments.out, STAGE, settings, inputs, body)
    storage.remove(space.directory)
    print_summary(console, body, time.monotonic() - started)


def job_of(
    space: Workspace,
    rules: RuleSet | Untouched,
    found: Sequence[InputFile],
    *,
    asked: tuple[str, ...] | None = None,
    listed: BadWordRule | None = None,
    cut: Cut = DEFAULT_CUT,
) -> Job:
    """Returns the job for these files, and leaves their names for its workers."""
    groups = shards.shards(found, cut)
    read.write_listing(space, groups)
    return Job(space, rules, asked, listed, len(groups), shards.partitions(found, cut), cut)


def input_files(patterns: Iterable[str]) -> list[InputFile]:
    """Returns the files that the paths and globs name, each once, in order of name.

    Raises:
        DataError: a pattern names no file, or a file of unknown format.
    """
    files: dict[str, InputFile] = {}
    for pattern in patterns:
        found = list(_matched(pattern))
        if not found:
            raise DataError(
                f"Input {pattern!r} was asked for and names no file; "
                "give existing files, or a quoted glob such as 'crawl/*.warc.wet.gz'."
            )
        unreadable = next((file for file in found if not read.is_readable(file.path)), None)
        if unreadable is not None:
            raise DataError(
                f"Input {unreadable.path!r} has an unknown format; "
                f"files must end in {', '.join(READERS)}."
            )
        files.update((file.path, file) for file in found)
    return [files[path] for path in sorted(files)]


def _matched(pattern: str) -> Iterator[InputFile]:
    if storage.is_local(pattern):
        for name in glob.glob(pattern, recursive=True):
            if Path(name).is_file():
                yield InputFile(name, Path(name).stat().st_size)
    else:
        for found in FileSystems.match([pattern])[0].metadata_list:
            yield InputFile(found.path, found.size_in_bytes)


def bad_word_rule(rules: RuleSet | Untouched, directory: Path | None) -> BadWordRule | None:
    """Returns the rule of the rule set with the lists in the directory, if there is one.

    Raises:
        DataError: lists were given to a rule set that uses none, or there are no lists.
    """
    if directory is None:
        return None
    if isinstance(rules, Untouched) or rules.bad_words is None:
        raise DataError(
            f"Lists of bad words ({directory}) were given to the rules {rules.name}, which use "
            "none; leave --bad-words out, or ask for mc4, mc4-3.0.1 or c4-en."
        )
    return BadWordRule(bad_words.read(directory), rules.bad_words)


def run_job(job: Job, options: PipelineOptions) -> None:
    """Runs the graph, on this machine or where the options say."""
    with pipeline_for(options) as pipeline:
        build(job, pipeline)


def pieces(job: Job) -> dict[str, int]:
    """Returns how many pieces of work each step has."""
    ends = {ReadShard.step: job.shards, JudgePages.step: job.shards}
    if isinstance(job.rules, Untouched):
        return ends
    middle = {FindNewest: job.partitions, ClaimLines: job.shards, ShareLines: job.partitions}
    return ends | {step.step: count for step, count in middle.items()}


def build(job: Job, pipeline: beam.Pipeline) -> None:
    """Puts the steps into the pipeline, each behind the one before."""
    space, rules, partitions = job.workspace, job.rules, job.partitions
    judging = isinstance(rules, RuleSet)
    reading = ReadShard(space, (too_long,) if judging else (), judging, partitions, job.cut)
    done = pipeline | "ReadShards" >> Perform(reading, job.shards)
    if isinstance(rules, RuleSet):
        finding = FindNewest(space, job.shards, partitions)
        done = pipeline | "FindNewest" >> Perform(finding, partitions, (done,))
        claiming = ClaimLines(space, _before_lines(rules), partitions)
        done = pipeline | "ClaimLines" >> Perform(claiming, job.shards, (done,))
        sharing = ShareLines(space, job.shards, partitions)
        done = pipeline | "ShareLines" >> Perform(sharing, partitions, (done,))
    last = (*_last(rules, job.listed), *judgement.asked_languages(job.asked))
    judge = JudgePages(space, last, rules.held_out, judging, partitions)
    done = pipeline | "JudgePages" >> Perform(judge, job.shards, (done,))
    _ = pipeline | "WriteFiles" >> WriteAll(
        functools.partial(planned, job), WriteFile(space), (done,)
    )


def planned(job: Job) -> Iterator[File]:
    """Returns the files of the corpus, when every page has been judged."""
    return files(whole(job), job.rules.held_out)


def whole(job: Job) -> tally.Tally:
    """Returns the sum of the tallies of all steps."""
    steps = (ReadShard.step, ClaimLines.step, JudgePages.step)
    maximum = getattr(job.rules.held_out, "maximum", 0)
    return tally.total(
        (one for step in steps for one in job.workspace.tallies(step)), held_out=maximum
    )


def _before_lines(rules: RuleSet) -> tuple[Judgement, ...]:
    if isinstance(rules.lines, EnglishLines):
        return (judgement.clean_english_lines,)
    asked = rules.lines
    rule = functools.partial(too_few_long_lines, lines=asked.lines, characters=asked.characters)
    return (By(rule),)


def _last(rules: RuleSet | Untouched, listed: BadWordRule | None) -> tuple[Judgement, ...]:
    if isinstance(rules, Untouched):
        return (judgement.believe_declaration,)
    left = (By(too_few_sentences_left),) if isinstance(rules.lines, EnglishLines) else ()
    language = {
        LanguageBy.CLD3: judgement.IdentifyLanguage,
        LanguageBy.LANGDETECT: judgement.KeepEnglish,
        LanguageBy.DECLARATION: judgement.BelieveDeclarationBesideCld3,
    }[rules.language_by]
    words = () if listed is None else (By(listed),)
    return (*left, language(rules.certain_probability), *words)
