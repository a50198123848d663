"""Counts of a work item, which add up over items in any order; their sum is that of the job.

A count is a sum over (kind, language, detail); language or detail is "" where it does not apply. A
tally has counts, positions of broken records, the sorted runs that the item spilled, and seconds of
language identification.
"""

import contextlib
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from msgspec import Struct

from data.corpus_manifest import interval
from data.files.json_files import Count, RelativePath
from data.reading.page import BrokenRecord, Dropped, NotAsked, Page
from pipeline.beam.workspace import Workspace

Key = tuple[str, str, str]
HOSTS, BLOCKED_ENTRIES, OPTED_OUT_ENTRIES = "hosts", "blocked_entries", "opted_out_entries"
UNBOUNDED = (HOSTS, BLOCKED_ENTRIES, OPTED_OUT_ENTRIES)  # kinds whose details have no bound


class CountsRecord(Struct, frozen=True):
    """Counts as they lie in the workspace."""

    counts: list[tuple[str, str, str, Count]]


@dataclass
class Counts:
    """Counts of one work item, or their sum; language or detail is "" where it does not apply.

    Attributes:
        counts: by kind and language, and then by detail.
    """

    counts: dict[tuple[str, str], Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )

    def add(self, kind: str, language: str, detail: str = "", number: int = 1) -> None:
        """Adds a number to a count."""
        self.counts[kind, language][detail] += number

    def details(self, kind: str, language: str) -> dict[str, int]:
        """Returns the counts of a kind and language by detail, in order, without zeros."""
        found = self.counts.get((kind, language), {})
        return {detail: found[detail] for detail in sorted(found) if found[detail]}

    def number(self, kind: str, language: str) -> int:
        """Returns the sum of a kind and language over all details."""
        return sum(self.counts.get((kind, language), {}).values())

    def as_json(self) -> dict[str, Any]:
        """Returns the counts as a JSON value."""
        return {
            "counts": sorted(
                [*key, detail, number]
                for key, details in self.counts.items()
                for detail, number in details.items()
            )
        }

    def counters(self) -> Mapping[str, int]:
        """Returns what a work item adds to the job's counters: sums by kind and detail.

        Hosts and entries of lists are counted together: every worker reports each counter by its
        name, again and again.
        """
        values: Counter[str] = Counter()
        for (kind, _), details in self.counts.items():
            for detail, number in details.items():
                values[f"{kind}/{detail}" if detail and kind not in UNBOUNDED else kind] += number
        return values

    @classmethod
    def total(cls, records: Iterable[CountsRecord]) -> "Counts":
        """Returns the sum of the records of work items."""
        total = cls()
        for record in records:
            for one in record.counts:
                total.add(*one)
        return total


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
    """A tally as it lies in the workspace; the attributes are those of `Tally`."""

    counts: list[tuple[str, str, str, Count]]
    broken: dict[str, list[tuple[str, int]]]
    smallest: dict[str, list[str]]
    runs: list[SortedRun]


@dataclass
class Tally:
    """The tally of one work item, or the sum of several.

    Attributes:
        counts: sums by (kind, language, detail).
        broken: first files and offsets of broken records, by reason.
        smallest: smallest digests of each language's pages, as many as may be held out; none in a
            sum.
        runs: sorted runs that a work item spilled for the files of the corpus; none in a sum.
        groups: groups of these runs.
        identification_seconds: seconds of language identification, for the counters only.
    """

    counts: Counter[Key] = field(default_factory=Counter)
    broken: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    smallest: dict[str, list[str]] = field(default_factory=dict)
    runs: list[SortedRun] = field(default_factory=list)
    groups: set[str] = field(default_factory=set)
    identification_seconds: float = 0.0

    def count_kept(self, page: Page) -> None:
        """Counts a page that passed every rule."""
        code = page.language
        self.counts["kept", code, page.split] += 1
        self.counts["characters", code, ""] += len(page.text)
        for rule, lines in page.removed_lines:
            self.counts["removed_lines", code, rule] += lines
        self.counts["confidence", code, interval(page.language_probability)] += 1
        if page.identified_language != code:
            self.counts["said", code, page.identified_language] += 1

    def count_dropped(self, dropped: Dropped) -> None:
        """Counts a page that a rule rejected, or of a language that was not requested."""
        code = dropped.page.counted_language
        if isinstance(dropped, NotAsked):
            self.counts["not_asked", code, ""] += 1
        else:
            self.counts["rejected", code, dropped.reason] += 1

    def count_broken(self, records: Iterable[BrokenRecord]) -> None:
        """Counts records that are not pages."""
        for record in records:
            self.counts["broken", "", record.reason] += 1
            places = [*self.broken.get(record.reason, ()), (record.file, record.offset)]
            self.broken[record.reason] = sorted(places)[:SAMPLES]

    def as_json(self) -> dict[str, Any]:
        """Returns the tally as a JSON value."""
        counts = sorted([*key, value] for key, value in self.counts.items())
        value = asdict(self) | {"counts": counts}
        del value["identification_seconds"]  # this attempt's, so different on retry
        del value["groups"]
        return value

    def counters(self) -> Counter[str]:
        """Returns what the work item adds to the job's counters, the same on every runner.

        The names are pages_read, pages_kept, pages_not_asked, bytes_read, rejected/REASON,
        broken/REASON and language_milliseconds.
        """
        values = Counter({"language_milliseconds": round(1000 * self.identification_seconds)})
        for (kind, _, detail), value in self.counts.items():
            if kind in ("rejected", "broken"):
                values[f"{kind}/{detail}"] += value
            elif kind in COUNTED:
                values[COUNTED[kind]] += value
        return values

    @classmethod
    def of_record(cls, record: TallyRecord) -> "Tally":
        """Returns the tally that `as_json` wrote."""
        counts = Counter({(kind, code, detail): n for kind, code, detail, n in record.counts})
        groups = {run.group for run in record.runs}
        return cls(counts, record.broken, record.smallest, record.runs, groups)


def tallies(workspace: Workspace, step: str, items: int) -> Iterator[Tally]:
    """Yields the tallies of a step's work items, in order.

    Raises:
        DataError: if work items are missing.
    """
    return map(Tally.of_record, workspace.records(step, items, TallyRecord))


def total(tallies: Iterable[Tally]) -> Tally:
    """Returns the sum, without the runs and digests, which would not fit in memory."""
    counts: Counter[Key] = Counter()
    broken: dict[str, list[tuple[str, int]]] = defaultdict(list)
    groups: set[str] = set()
    for tally in tallies:
        counts.update(tally.counts)
        groups |= tally.groups
        for reason, places in tally.broken.items():
            broken[reason] = sorted(broken[reason] + places)[:SAMPLES]
    return Tally(counts, broken, groups=groups)


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
