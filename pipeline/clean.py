"""`mswitch clean`: archives in, pages of each language out, every loss with a reason and a count.

The order is mC4's: length, one page an address, long lines, one page a line, language, split.
Read = kept + rejected holds for every run and is checked at its end; broken records are counted
apart, since they never were pages. The output does not depend on the number of workers.

A run that was cut short starts again from its beginning; resuming at a shard is a later matter.
"""

import functools
import glob
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

import apache_beam as beam
from rich.console import Console

from data import rule_sets
from data.errors import DataError
from data.languages import codes
from data.rule_sets import RuleSet
from data.text_rules import too_few_long_lines, too_long
from pipeline import arguments, artifacts
from pipeline.beam_options import pipeline_options
from pipeline.cleaning_report import manifest_of, print_summary, read_counts
from pipeline.transforms.count_pages import CountPages
from pipeline.transforms.deduplicate import DeduplicateLines, DeduplicateUrls
from pipeline.transforms.identify_language import IdentifyLanguage, KeepAskedLanguages
from pipeline.transforms.judge import Judge
from pipeline.transforms.read_pages import READERS, ReadPages, is_readable
from pipeline.transforms.split import Split
from pipeline.transforms.write_pages import WritePages, WriteRejected

STAGE = "clean"
COUNTS = "counts.json"


def run(arguments: arguments.Clean) -> None:
    """Cleans the input into the directory, or says that this was done before."""
    started = time.monotonic()
    console = Console(stderr=True, highlight=False)
    rules = rule_sets.named(arguments.rules)
    asked = None if arguments.languages is None else codes(arguments.languages)
    paths = input_files(arguments.input)
    settings = {"rules": rules.name, "languages": asked, "input": arguments.input}
    inputs = {"files": artifacts.digest_of_files(paths)}

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
        _run_job(paths, rules, asked, arguments.out, arguments.beam)
    body = manifest_of(read_counts(arguments.out / COUNTS), rules, len(paths))
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


def _run_job(
    paths: list[Path], rules: RuleSet, asked: tuple[str, ...] | None, out: Path, options: list[str]
) -> None:
    with beam.Pipeline(options=pipeline_options(options)) as pipeline:
        pages, broken = pipeline | "Read" >> ReadPages(paths)
        read = pages
        rejected = []
        for name, step in _steps(rules, asked):
            pages, turned_down = pages | name >> step
            rejected.append(turned_down)
        kept = pages | "Split" >> Split(rules.held_out)
        rejected = rejected | "GatherRejected" >> beam.Flatten()
        _ = kept | "Write" >> WritePages(out)
        _ = rejected | "WriteRejected" >> WriteRejected(out)
        outcomes = {"read": read, "kept": kept, "rejected": rejected, "broken": broken}
        _ = outcomes | "Count" >> CountPages(out / COUNTS)


def _steps(rules: RuleSet, asked: tuple[str, ...] | None) -> list[tuple[str, beam.PTransform]]:
    long_lines = functools.partial(
        too_few_long_lines, lines=rules.long_lines, characters=rules.long_line_characters
    )
    steps = [
        ("Length", Judge(too_long)),
        ("OnePageAnAddress", DeduplicateUrls()),
        ("LongLines", Judge(long_lines)),
        ("OnePageALine", DeduplicateLines()),
        ("Language", IdentifyLanguage(rules)),
    ]
    return steps if asked is None else [*steps, ("AskedLanguages", KeepAskedLanguages(asked))]
