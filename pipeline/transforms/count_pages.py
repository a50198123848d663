"""Counts what became of the pages, from the steps' outputs, and leaves the counts in one file.

A count is a sum over (kind, language, detail): language or detail is "" where it says nothing.
The file is all that comes back from the job, so any runner that shares a file system will do.
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.transforms import combiners

from data.page import BrokenRecord, Page, Rejected

SAMPLES = 5  # broken records named by place, a reason

Count = tuple[tuple[str, str, str], int]


class CountPages(beam.PTransform):
    """Writes the counts of {"read", "kept", "rejected", "broken"} to a JSON file."""

    def __init__(self, path: Path):
        super().__init__()
        self._path = str(path)

    def expand(self, input_or_inputs):
        counts = [
            input_or_inputs[name] | f"Count/{name}" >> beam.FlatMap(counter)
            for name, counter in COUNTERS.items()
        ]
        sums = counts | beam.Flatten() | "SumCounts" >> beam.CombinePerKey(sum)
        samples = (
            input_or_inputs["broken"]
            | "KeyByReason"
            >> beam.Map(lambda broken: (broken.reason, (broken.file, broken.offset)))
            | "SampleBroken" >> combiners.Top.SmallestPerKey(SAMPLES)
            | "NameSamples" >> beam.MapTuple(lambda reason, at: (("samples", "", reason), at))
        )
        return (
            (sums, samples)
            | "JoinCounts" >> beam.Flatten()
            | "GatherCounts" >> combiners.ToList()
            | "WriteCounts" >> beam.Map(_write, self._path)
        )


def _of_read(page: Page) -> Iterator[Count]:
    yield ("read", "", ""), 1


def _of_kept(page: Page) -> Iterator[Count]:
    yield ("kept", page.language, page.split), 1
    yield ("characters", page.language, ""), len(page.text)
    for rule, lines in page.removed_lines:
        yield ("removed_lines", page.language, rule), lines
    if page.identified_language != page.language:
        yield ("said", page.language, page.identified_language), 1


def _of_rejected(rejected: Rejected) -> Iterator[Count]:
    yield ("rejected", rejected.page.counted_language, rejected.reason), 1


def _of_broken(broken: BrokenRecord) -> Iterator[Count]:
    yield ("broken", "", broken.reason), 1


COUNTERS = {
    "read": _of_read,
    "kept": _of_kept,
    "rejected": _of_rejected,
    "broken": _of_broken,
}


def _write(counts: Iterable[Any], path: str) -> None:
    temporary = Path(path + ".tmp")
    temporary.write_text(json.dumps(sorted(counts)), encoding="utf-8")
    os.replace(temporary, path)
