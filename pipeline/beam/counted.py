"""Counts of a work item: sums by (kind, language, detail), which add up over items in any order."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from data.files.json_files import Count

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
