"""Counts of a work item, which add up over items in any order; their sum is that of the job.

A count is a sum over (kind, language, detail); language or detail is "" where it does not apply. A
tally has counts, positions of broken records, the sorted runs that the item spilled, and seconds of
language identification.
"""

import contextlib
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from msgspec import Struct

from data.corpus_manifest import interval
from data.files.json_files import Count, RelativePath
from data.reading.page import BrokenRecord, Dropped, NotAsked, Page
from pipeline.beam.workspace import Workspace

HOSTS, BLOCKED_ENTRIES, OPTED_OUT_ENTRIES = "hosts", "blocked_entries", "opted_out_entries"
SAMPLES = 5  # broken records per reason in the manifest; `broken/records.parquet` has them all

COUNTED = {
    "read": "pages_read",
    "kept": "pages_kept",
    "not_asked": "pages_not_asked",
    "bytes": "bytes_read",
}


class SortedRun(NamedTuple):
    """A batch of pages of one group, in the order of their digests, in a spilled file.

    Attributes:
        file: path of its file, relative to the workspace.
        batch: number of the batch in that file.
        group: prefix of the corpus files for its pages, such as "pages/sw/train" or "rejected/sw".
        first: smallest digest of its pages, in hexadecimal.
        last: greatest digest of its pages.
        pages: number of pages.
        size: size in bytes.
    """

    file: RelativePath
    batch: Count
    group: RelativePath
    first: str
    last: str
    pages: Count
    size: Count


class TallyRecord(Struct, frozen=True):
    """A tally as it lies in a file; the attributes are those of `Tally`."""

    counts: list[tuple[str, str, str, Count]]
    broken: dict[str, list[tuple[str, int]]] = {}
    smallest: dict[str, list[str]] = {}
    runs: list[SortedRun] = []


@dataclass
class Tally:
    """The tally of one work item, or the sum of several.

    Attributes:
        counts: sums by kind and language, and then by detail.
        broken: first files and offsets of broken records, by reason.
        smallest: smallest digests of each language's pages, as many as may be held out; none in a
            sum.
        runs: sorted runs that a work item spilled for the files of the corpus; none in a sum.
        groups: groups of these runs; in a sum alone.
        identification_seconds: seconds of language identification, for the counters only.
    """

    counts: dict[tuple[str, str], Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    broken: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    smallest: dict[str, list[str]] = field(default_factory=dict)
    runs: list[SortedRun] = field(default_factory=list)
    groups: set[str] = field(default_factory=set)
    identification_seconds: float = 0.0

    def add(self, kind: str, language: str = "", detail: str = "", number: int = 1) -> None:
        """Adds a number to a count."""
        self.counts[kind, language][detail] += number

    def add_counts(self, other: "Tally") -> None:
        """Adds all counts of another tally, zeros included."""
        for key, details in other.counts.items():
            self.counts[key].update(details)

    def details(self, kind: str, language: str = "") -> Counter[str]:
        """Returns the counts of a kind and language by detail, in order."""
        details = self.counts.get((kind, language), {})
        return Counter({detail: details[detail] for detail in sorted(details)})

    def number(self, kind: str, language: str = "") -> int:
        """Returns the sum of a kind and language over all details."""
        return sum(self.counts.get((kind, language), {}).values())

    def count_outcome(self, outcome: Page | Dropped) -> None:
        """Counts a page that passed every rule, was rejected, or was not requested."""
        if isinstance(outcome, NotAsked):
            self.add("not_asked", outcome.page.counted_language)
        elif not isinstance(outcome, Page):
            self.add("rejected", outcome.page.counted_language, outcome.reason)
        else:
            code = outcome.language
            self.add("kept", code, outcome.split)
            self.add("characters", code, number=len(outcome.text))
            for rule, lines in outcome.removed_lines:
                self.add("removed_lines", code, rule, lines)
            self.add("confidence", code, interval(outcome.language_probability))
            if outcome.identified_language != code:
                self.add("said", code, outcome.identified_language)

    def count_broken(self, records: Iterable[BrokenRecord]) -> None:
        """Counts records that are not pages."""
        for record in records:
            self.add("broken", detail=record.reason)
            places = [*self.broken.get(record.reason, ()), (record.file, record.offset)]
            self.broken[record.reason] = sorted(places)[:SAMPLES]

    def as_json(self) -> dict[str, Any]:
        """Returns the tally as a JSON value; seconds would differ on retry."""
        counts = sorted(
            [*key, detail, number]
            for key, details in self.counts.items()
            for detail, number in details.items()
        )
        broken, smallest, runs = self.broken, self.smallest, self.runs
        return {"counts": counts, "broken": broken, "smallest": smallest, "runs": runs}

    def counters(self) -> Counter[str]:
        """Returns what the work item adds to the job's counters, the same on every runner.

        The names are pages_read, pages_kept, pages_not_asked, bytes_read, rejected/REASON,
        broken/REASON and language_milliseconds. Counts of hosts and of entries have no counter,
        because every worker reports each counter by its name, again and again.
        """
        values = Counter({"language_milliseconds": round(1000 * self.identification_seconds)})
        for (kind, _), details in self.counts.items():
            if kind in ("rejected", "broken"):
                values.update({f"{kind}/{reason}": number for reason, number in details.items()})
            elif kind in COUNTED:
                values[COUNTED[kind]] += details.total()
        return values

    @classmethod
    def of_record(cls, record: TallyRecord) -> "Tally":
        """Returns the tally that `as_json` wrote."""
        tally = cls(broken=record.broken, smallest=record.smallest, runs=record.runs)
        for kind, language, detail, number in record.counts:
            tally.add(kind, language, detail, number)
        return tally


def tally_of(workspace: Workspace, step: str, number: int) -> Tally:
    """Returns the tally of a finished work item."""
    return Tally.of_record(workspace.record(step, number, TallyRecord))


def tallies(workspace: Workspace, step: str, items: int) -> Iterator[Tally]:
    """Yields the tallies of a step's work items, in order.

    Raises:
        DataError: if work items are missing.
    """
    return map(Tally.of_record, workspace.records(step, items, TallyRecord))


def total(tallies: Iterable[Tally]) -> Tally:
    """Returns the sum, without the runs and digests, which would not fit in memory."""
    sums = Tally()
    for tally in tallies:
        sums.add_counts(tally)
        sums.groups |= {run.group for run in tally.runs}
        for reason, places in tally.broken.items():
            sums.broken[reason] = sorted(sums.broken.get(reason, []) + places)[:SAMPLES]
    return sums


_spent = threading.local()


@contextlib.contextmanager
def identification_timed() -> Iterator[None]:
    """Adds the time of the block to this thread's seconds of language identification."""
    started = time.perf_counter()
    yield
    _spent.seconds = _seconds() + time.perf_counter() - started


@contextlib.contextmanager
def counted_in(tally: Tally) -> Iterator[None]:
    """Adds the seconds of language identification in the block to the tally."""
    before = _seconds()
    yield
    tally.identification_seconds += _seconds() - before


def _seconds() -> float:
    return getattr(_spent, "seconds", 0.0)
