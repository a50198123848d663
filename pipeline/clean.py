"""`mswitch clean`: archives in, pages of each language out, every loss with a reason and a count.

The order is the reference's: length, one page an address, lines, one page a line, language, bad
words, split. `--rules none` takes no step: published corpora pass through unchanged.
Read = kept + rejected holds for every run and is checked at its end; broken records are counted
apart, since they never were pages. The output does not depend on the number of workers.

A run that was cut short starts again from its beginning; resuming at a shard is a later matter.
"""

import functools
import glob
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import apache_beam as beam
from rich.console import Console

from data import bad_words, rule_sets
from data.bad_words import BadWordRule
from data.english_lines import too_few_sentences_left
from data.errors import DataError
from data.languages import codes
from data.rule_sets import EnglishLines, RuleSet, Untouched
from data.text_rules import too_few_long_lines, too_long
from pipeline import arguments, artifacts
from pipeline.beam_options import pipeline_options
from pipeline.cleaning_report import manifest_of, print_summary, read_counts
from pipeline.transforms.clean_lines import CleanLines
from pipeline.transforms.count_pages import CountPages
from pipeline.transforms.deduplicate import DeduplicateLines, DeduplicateUrls
from pipeline.transforms.identify_language import (
    BelieveDeclaration,
    IdentifyLanguage,
    KeepAskedLanguages,
)
from pipeline.transforms.judge import Judge
from pipeline.transforms.read_pages import READERS, ReadPages, is_readable
from pipeline.transforms.split import Split
from pipeline.transforms.write_pages import WritePages, WriteRejected

Steps = list[tuple[str, beam.PTransform]]

STAGE = "clean"
COUNTS = "counts.json"


def run(arguments: arguments.Clean) -> None:
    """Cleans the input into the directory, or says that this was done before."""
    started = time.monotonic()
    console = Console(stderr=True, highlight=False)
    rules = rule_sets.named(arguments.rules)
    asked = None if arguments.languages is None else codes(arguments.languages)
    paths = input_files(arguments.input)
    listed = bad_word_rule(rules, arguments.bad_words)
    settings = {"rules": rules.name, "languages": asked, "input": arguments.input}
    inputs = {"files": artifacts.digest_of_files(paths)}
    if arguments.bad_words is not None:
        inputs["bad_words"] = artifacts.digest_of_directory(arguments.bad_words)

    claim = artifacts.claim(arguments.out, STAGE, settings, inputs)
    if claim is artifacts.Claim.FINISHED:
        console.print(f"clean: {arguments.out} is already finished; nothing to do.")
        return
    if claim is artifacts.Claim.UNFINISHED:
        _clear(arguments.out)
    size = sum(path.stat().st_size for path in paths)
    doing = f"clean: {len(paths)} files, {size / 1e6:.1f} MB, rules {rules.name}"
    console.print(doing)
    with console.status(doing):
        steps = _steps(rules, asked, listed)
        _run_job(paths, rules, steps, arguments.out, arguments.beam)
    counts = read_counts(arguments.out / COUNTS)
    body = manifest_of(counts, rules, files=len(paths), lists=listed is not None)
    (arguments.out / COUNTS).unlink()
    artifacts.finish(arguments.out, STAGE, settings, inputs, body)
    print_summary(console, body, time.monotonic() - started)


def input_files(patterns: Iterable[str]) -> list[Path]:
    """Returns the files that the paths and globs name, each once, in order of name.

    Raises:
        DataError: a pattern names no file, or a file of unknown format.
    """
    files: set[Path] = set()
    for pattern in patterns:
        found = [Path(name) for name in glob.glob(pattern, recursive=True)]
        found = [path for path in found if path.is_file()]
        if not found:
            raise DataError(
                f"Input {pattern!r} was asked for and names no file; "
                "give existing files, or a quoted glob such as 'crawl/*.warc.wet.gz'."
            )
        unreadable = next((path for path in found if not is_readable(path)), None)
        if unreadable is not None:
            raise DataError(
                f"Input {str(unreadable)!r} has an unknown format; "
                f"files must end in {', '.join(READERS)}."
            )
        files.update(found)
    return sorted(files)


def _clear(directory: Path) -> None:
    for name in ("pages", "rejected"):
        shutil.rmtree(directory / name, ignore_errors=True)
    (directory / COUNTS).unlink(missing_ok=True)


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


def _run_job(
    paths: list[Path], rules: RuleSet | Untouched, steps: Steps, out: Path, options: Sequence[str]
) -> None:
    with beam.Pipeline(options=pipeline_options(options)) as pipeline:
        pages, broken = pipeline | "Read" >> ReadPages(paths)
        read = pages
        if isinstance(rules, Untouched):
            pages = pages | "DeclaredLanguage" >> BelieveDeclaration()
        rejected = []
        for name, step in steps:
            pages, turned_down = pages | name >> step
            rejected.append(turned_down)
        kept = pages | "Split" >> Split(rules.held_out)
        rejected = rejected | "GatherRejected" >> beam.Flatten(pipeline=pipeline)
        _ = kept | "Write" >> WritePages(out)
        _ = rejected | "WriteRejected" >> WriteRejected(out)
        outcomes = {"read": read, "kept": kept, "rejected": rejected, "broken": broken}
        _ = outcomes | "Count" >> CountPages(out / COUNTS)


def _steps(
    rules: RuleSet | Untouched, asked: tuple[str, ...] | None, listed: BadWordRule | None
) -> Steps:
    steps = [] if isinstance(rules, Untouched) else _rule_steps(rules)
    if listed is not None:
        steps.append(("BadWords", Judge(listed)))
    if asked is not None:
        steps.append(("AskedLanguages", KeepAskedLanguages(asked)))
    return steps


def _rule_steps(rules: RuleSet) -> Steps:
    before: Steps = [("Length", Judge(too_long)), ("OnePageAnAddress", DeduplicateUrls())]
    language = ("Language", IdentifyLanguage(rules))
    if isinstance(rules.lines, EnglishLines):
        return [
            *before,
            ("EnglishLines", CleanLines()),
            ("OnePageALine", DeduplicateLines()),
            ("SentencesLeft", Judge(too_few_sentences_left)),
            language,
        ]
    long_lines = functools.partial(
        too_few_long_lines, lines=rules.lines.lines, characters=rules.lines.characters
    )
    return [
        *before,
        ("LongLines", Judge(long_lines)),
        ("OnePageALine", DeduplicateLines()),
        language,
    ]
