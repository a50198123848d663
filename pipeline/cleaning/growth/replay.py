"""Replays the judgements of changed pages, under the verdicts before an addition or after it.

A page goes through the same judgements as in a whole job, in the same order; where all pages
together decide, the verdict is looked up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data.reading.page import Dropped, Page, Rejected
from pipeline.cleaning.growth.verdicts import Verdicts, lines_lost
from pipeline.cleaning.judge import JudgePages, without_duplicate_lines
from pipeline.cleaning.judgement import ApplyThresholds, Judgement, judged
from pipeline.cleaning.near_duplicates.choice import NEAR_DUPLICATE
from pipeline.cleaning.read import DUPLICATE_URL
from pipeline.cleaning.spills.last_outcomes import LastOutcome
from pipeline.cleaning.spills.page_spill import ROW


class Stages(NamedTuple):
    """The judgements of a rule set, in the order in which a page meets them.

    Attributes:
        first: before languages are decided, or before lines where they are decided after.
        asked: judgement of the requested languages, after thresholds.
        has_near_duplicates: whether languages have thresholds, and near-duplicates are removed.
    """

    first: tuple[Judgement, ...]
    asked: tuple[Judgement, ...]
    has_near_duplicates: bool


@dataclass(frozen=True)
class Replay:
    """The verdicts on the changed pages, before an addition or after it.

    Attributes:
        duplicates: rows of pages with a newer version.
        leaves: rows of near-duplicates.
        sizes: what other candidates stand for, by row.
        lost: number of lines, and those that another page keeps, by row.
        first: judgements before languages are decided.
        after_first: judgements of languages by the thresholds of that time.
        judge: the last judgements.
        recorded: what the last rules had decided, which is not asked again.
        last: rows of pages that reached the last rules.
    """

    duplicates: frozenset[int]
    leaves: frozenset[int]
    sizes: Mapping[int, int]
    lost: Mapping[int, tuple[int, Sequence[int]]]
    first: tuple[Judgement, ...]
    after_first: tuple[Judgement, ...]
    judge: JudgePages
    recorded: Mapping[int, LastOutcome]
    last: set[int]

    @classmethod
    def of(
        cls,
        verdicts: Verdicts,
        changed: np.ndarray,
        judge: JudgePages,
        stages: Stages,
        recorded: Mapping[int, LastOutcome],
    ) -> "Replay":
        """Returns the replay of the pages with these rows, which are sorted."""
        rows = frozenset(changed.tolist())
        sizes = zip(*(verdicts.sizes[name].tolist() for name in (ROW, "size")), strict=True)
        languages = ApplyThresholds(verdicts.thresholds), *stages.asked
        return cls(
            duplicates=rows.intersection(verdicts.duplicates.tolist()),
            leaves=rows.intersection(verdicts.leaves.tolist()),
            sizes={row: size for row, size in sizes if row in rows},
            lost=lines_lost(verdicts, changed),
            first=stages.first,
            after_first=languages if stages.has_near_duplicates else (),
            judge=judge,
            recorded=recorded,
            last=set(),
        )

    def outcome(self, row: int, read: Page | None, described: Page | None) -> Page | Dropped:
        """Returns a page's outcome.

        Args:
            row: its row.
            read: the page as it was read.
            described: the page after the first judgements, where that is kept.
        """
        page = self._before_lines(row, read, described)
        if not isinstance(page, Page):
            return page
        lines, lost = self.lost[row]
        keep = np.ones(lines, dtype=bool)
        keep[list(lost)] = False
        left = without_duplicate_lines(page, keep)
        if not isinstance(left, Page):
            return left
        self.last.add(row)
        if row in self.recorded:
            return self.judge.with_split(self.recorded[row].again(left))
        return self.judge.outcome(left)

    def _before_lines(self, row: int, read: Page | None, described: Page | None) -> Page | Dropped:
        """Returns a page, or why it is dropped, before lines of other pages are removed."""
        if row in self.duplicates:
            assert read is not None
            return Rejected(read, DUPLICATE_URL)
        page = described
        if page is None:
            assert read is not None
            page = judged(read, self.first)
        page = judged(page, self.after_first) if isinstance(page, Page) else page
        if not isinstance(page, Page):
            return page
        if row in self.leaves:
            return Rejected(page, NEAR_DUPLICATE)
        if row in self.sizes:
            page = page._replace(cluster_size=self.sizes[row])
        return page
