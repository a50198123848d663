"""Counts of a work item, which add up over items in any order; their sum is that of the job.

A count is a sum over (kind, language, detail); language or detail is "" where it does not apply. A
tally has counts, positions of broken records, and the sorted runs that the item spilled.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct, to_builtins

from data.corpus_manifest import interval
from data.files.json_files import Count, RelativePath
from data.languages import UNDETERMINED
from data.reading.page import BrokenRecord, Dropped, NotAsked, Page

HOSTS, BLOCKED_ENTRIES, OPTED_OUT_ENTRIES = "hosts", "blocked_entries", "opted_out_entries"
DECLARED = "declared"  # kind of count: pages by language, and by what they declare in its place
MOST_DECLARATIONS = 20  # of a work item, as strangers may write any number
OTHER_DECLARATIONS = "others"
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


class Tally(Struct, kw_only=True):
    """The tally of one work item, or the sum of several.

    Attributes:
        counts: sums by kind, then language, then detail.
        broken: first files and offsets of broken records, by reason.
        smallest: smallest digests of each language's pages, as many as may be held out; none in a
            sum.
        runs: sorted runs that a work item spilled for the files of the corpus; none in a sum.
        groups: groups of these runs; in a sum alone, and in no file.
    """

    counts: dict[str, dict[str, dict[str, Count]]] = {}
    broken: dict[str, list[tuple[str, int]]] = {}
    smallest: dict[str, list[str]] = {}
    runs: list[SortedRun] = []
    groups: set[str] = set()

    def add(self, kind: str, language: str = "", detail: str = "", number: int = 1) -> None:
        """Adds a number to a count."""
        details = self.counts.setdefault(kind, {}).setdefault(language, {})
        details[detail] = details.get(detail, 0) + number

    def add_counts(self, other: "Tally", times: int = 1) -> None:
        """Adds all counts of another tally, zeros included, once or -1 times."""
        for kind, language, detail, number in other:
            self.add(kind, language, detail, times * number)

    def __iter__(self) -> Iterator[tuple[str, str, str, int]]:
        """Yields kind, language, detail and number of each count."""
        for kind, languages in self.counts.items():
            for language, details in languages.items():
                for detail, number in details.items():
                    yield kind, language, detail, number

    def languages(self, *kinds: str) -> list[str]:
        """Returns the languages that have counts of any of the kinds, in order."""
        return sorted({language for kind in kinds for language in self.counts.get(kind, ())})

    def details(self, kind: str, language: str = "") -> Counter[str]:
        """Returns the counts of a kind and language by detail, in order."""
        details = self.counts.get(kind, {}).get(language, {})
        return Counter(dict(sorted(details.items())))

    def number(self, kind: str, language: str | None = None) -> int:
        """Returns the sum of a kind over all details of a language, or of all languages."""
        languages = self.counts.get(kind, {})
        asked = languages.values() if language is None else (languages.get(language, {}),)
        return sum(sum(details.values()) for details in asked)

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
            self.add("broken_bytes", detail=record.reason, number=record.size)
            places = [*self.broken.get(record.reason, ()), (record.file, record.offset)]
            self.broken[record.reason] = sorted(places)[:SAMPLES]

    def count_read(self, pages: Sequence[Page]) -> None:
        """Counts pages as they were read, and what they declare that the table of languages lacks.

        Of many declarations only the first are named.
        """
        self.add("read", number=len(pages))
        self.add("text_bytes", number=sum(len(page.text.encode()) for page in pages))
        names = {name for names in self.counts.get(DECLARED, {}).values() for name in names}
        for page in pages:
            if name := page.declaration:
                if name not in names and len(names) >= MOST_DECLARATIONS:
                    name = OTHER_DECLARATIONS
                names.add(name)
                self.add(DECLARED, page.declared_language or UNDETERMINED, name)

    def as_json(self) -> dict[str, Any]:
        """Returns the part of the tally that its file holds, the same on retry."""
        value = to_builtins(self, order="deterministic")
        del value["groups"]
        return value

    def counters(self) -> Counter[str]:
        """Returns the work item's additions to the job's counters, the same on every runner.

        The names are pages_read, pages_kept, pages_not_asked, bytes_read, rejected/REASON and
        broken/REASON. Counts of hosts and of entries have no counter, because every worker reports
        each counter by its name, again and again.
        """
        values = Counter[str]()
        for kind, _, detail, number in self:
            if kind in ("rejected", "broken"):
                values[f"{kind}/{detail}"] += number
            elif kind in COUNTED:
                values[COUNTED[kind]] += number
        return values


def total(tallies: Iterable[Tally]) -> Tally:
    """Returns the sum, without the runs and digests, which would not fit in memory."""
    sums = Tally()
    for tally in tallies:
        sums.add_counts(tally)
        sums.groups |= {run.group for run in tally.runs}
        for reason, places in tally.broken.items():
            sums.broken[reason] = sorted(sums.broken.get(reason, []) + places)[:SAMPLES]
    return sums


def count_kept(counts: Tally, language: str, pages: pa.Table) -> None:
    """Counts pages that stay: by split, characters, and probability of their language."""
    for split, number in value_counts(pages["split"]):
        counts.add("kept", language, split, number)
    counts.add("characters", language, number=_sum_lengths("utf8_length", pages))
    for probability in pages["language_probability"].to_pylist():
        counts.add("confidence", language, interval(probability))


def count_gone(counts: Tally, language: str, pages: pa.Table) -> None:
    """Counts pages that leave, by reason."""
    for reason, number in value_counts(pages["reason"]):
        counts.add("rejected", language, reason, number)
        of_reason = pages.filter(pc.call_function("equal", [pages["reason"], reason]))
        for measure, length in (("characters", "utf8_length"), ("bytes", "binary_length")):
            counts.add(f"rejected_{measure}", language, reason, _sum_lengths(length, of_reason))


def count_lost(counts: Tally, language: str, pages: pa.Table, *, unique_lines: bool) -> None:
    """Counts what no page has after these left: their near-duplicates, and lines if unique."""
    if unique_lines:
        lines = sum(text.count("\n") + 1 for text in pages["text"].to_pylist())
        counts.add("lines_gone", language, number=lines)
    if "cluster_size" in pages.schema.names:
        sizes: Sequence[int] = pages["cluster_size"].to_pylist()
        counts.add("copies_gone", language, number=sum(sizes) - len(sizes))


def _sum_lengths(length: str, pages: pa.Table) -> int:
    """Returns the sum of the lengths of all texts."""
    lengths = pc.call_function(length, [pages["text"]])
    return pc.call_function("sum", [lengths]).as_py() or 0


def value_counts(column: pa.ChunkedArray | pa.Array) -> list[tuple[str, int]]:
    """Returns the values of a column, each with its number of rows."""
    counted = column.value_counts().to_pylist()
    return [(entry["values"], entry["counts"]) for entry in counted]
