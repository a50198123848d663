"""An estimate: pages, CPU time and bytes of a cleaning job, extrapolated from a sample.

The sample consists of whole files, spread over the input. It is cleaned by the same steps in one
process, and every amount is scaled by the ratio of bytes, or by the ratio of file counts if a
crawl's list names files, because such lists hold no sizes. Three things are not modelled: a sample
has fewer duplicate lines and addresses than the whole, so more of it is kept; cores differ; and
starting workers and waiting for the store take time.
"""

import bisect
import math
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from pipeline.beam.options import pipeline_options
from pipeline.corpus.clean import input_words
from pipeline.corpus.job import begin_job
from pipeline.corpus.read import InputFile, input_files, is_listed
from pipeline.corpus.rules import find_rules
from pipeline.corpus.submission import run_job, total_of
from pipeline.following import new_beside
from pipeline.stage import bytes_in_words
from pipeline.terminal import Terminal, print_next


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """Amounts of a cleaning job: measured for the sample, extrapolated for the whole input.

    Attributes:
        files: number of input files.
        input_bytes: size of the input files as stored, compressed or not.
        pages: number of pages read.
        kept: number of pages kept.
        core_seconds: CPU time.
        spilled_bytes: bytes spilled between steps.
        corpus_bytes: bytes of kept and rejected pages.
    """

    files: float
    input_bytes: float
    pages: float
    kept: float
    core_seconds: float
    spilled_bytes: float
    corpus_bytes: float

    def times(self, factor: float) -> "Amounts":
        """Returns the amounts for `factor` times the input."""
        return Amounts(**{name: value * factor for name, value in vars(self).items()})


def estimate(
    inputs: Sequence[str], rules: str, crawl_base: str, *, sample_bytes: int, price: float
) -> None:
    """Cleans a sample and prints its amounts and those of the whole input.

    Args:
        inputs: files and globs.
        rules: name of the rule set.
        crawl_base: address that the paths of a crawl's list are relative to.
        sample_bytes: least size of the sample.
        price: price of one core for one hour; 0 for none.

    Raises:
        DataError: if there is no such input.
    """
    files = input_files(inputs, crawl_base)
    sampled = sample(files, sample_bytes)
    with tempfile.TemporaryDirectory() as directory:
        measured = measure(sampled, rules, Path(directory))
    part, by = share_of(sampled, files)
    console = Terminal(highlight=False)
    console.print(table_of(measured, measured.times(1 / part), price))
    console.print(
        f"Extrapolated from {part:.1%} of the input by {by}, cleaned in one process here; "
        "starting workers and waiting for a store are not included."
    )
    print_next(
        "estimate",
        "clean",
        *input_words(inputs, rules, crawl_base),
        "--out",
        new_beside("corpus", "corpus"),
    )


def share_of(sampled: Sequence[InputFile], files: Sequence[InputFile]) -> tuple[float, str]:
    """Returns the share of the input that a sample is, and what it was measured by.

    A crawl's list has no sizes; its files are about equally large.
    """
    if any(map(is_listed, files)):
        return len(sampled) / max(len(files), 1), "number of files"
    sizes = [sum(file.size for file in part) for part in (sampled, files)]
    return sizes[0] / max(sizes[1], 1) or 1.0, "bytes"


def sample(files: Sequence[InputFile], size: int) -> list[InputFile]:
    """Returns about the fewest files, spread evenly over the input, that reach a size in bytes."""

    def spread(count: int) -> list[InputFile]:
        return [files[index * len(files) // count] for index in range(count)]

    counts = range(1, len(files))
    at = bisect.bisect_left(counts, size, key=lambda n: sum(file.size for file in spread(n)))
    return spread(counts[at]) if at < len(counts) else list(files)


def measure(files: Sequence[InputFile], rules: str, directory: Path) -> Amounts:
    """Cleans the files and returns the amounts."""
    job = begin_job(str(directory), find_rules(rules), files)
    before = _core_seconds()
    run_job(job, pipeline_options(()))
    tally = total_of(job)
    return Amounts(
        files=len(files),
        input_bytes=math.nan if any(map(is_listed, files)) else sum(file.size for file in files),
        pages=tally.number("read"),
        kept=tally.number("kept"),
        core_seconds=_core_seconds() - before,
        spilled_bytes=_size(Path(job.workspace.directory)),
        corpus_bytes=_size(directory / "pages") + _size(directory / "rejected"),
    )


def table_of(measured: Amounts, whole: Amounts, price: float) -> Table:
    """Returns the table of both columns, with the cost if a price is given."""
    table = Table("", "sample", "whole", box=None, pad_edge=False)
    for title, name, shown in ROWS:
        values = (getattr(amounts, name) for amounts in (measured, whole))
        table.add_row(title, *("?" if math.isnan(value) else shown(value) for value in values))
    if price:
        costs = (amounts.core_seconds / 3600 * price for amounts in (measured, whole))
        table.add_row(f"money at {price:g} per core-hour", *(f"{cost:,.2f}" for cost in costs))
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _number_in_words(value: float) -> str:
    return f"{value:,.0f}"


def _in_hours(seconds: float) -> str:
    return f"{seconds / 3600:,.3g}"


ROWS = (
    ("files", "files", _number_in_words),
    ("input", "input_bytes", bytes_in_words),
    ("pages", "pages", _number_in_words),
    ("kept", "kept", _number_in_words),
    ("core-hours", "core_seconds", _in_hours),
    ("spilled between steps", "spilled_bytes", bytes_in_words),
    ("corpus", "corpus_bytes", bytes_in_words),
)


def _core_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _size(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
