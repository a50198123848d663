"""Judging in an addition: of a shard of the base corpus, only changed pages are judged.

A page on which a verdict has changed is judged twice, by the verdicts before the addition and by
those after it. Rows of the former outcome leave the files of the corpus, rows of the new one are
spilled for new files, and the counts of the shard are corrected by both.

A page goes through the same judgements as in a whole job, in the same order; where all pages
together decide, the verdict is looked up.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.numbers import is_among
from data.reading import page
from data.reading.page import Dropped, Page, Rejected
from pipeline.beam.job import Record, Stage
from pipeline.beam.workspace import Workspace
from pipeline.corpus import spills
from pipeline.corpus.counts import Tally
from pipeline.corpus.judge import DUPLICATE_LINE, JudgePages, without_duplicate_lines
from pipeline.corpus.judgements import (
    CERTAINTY,
    ApplyThresholds,
    DescribePages,
    Judgement,
    PageRules,
    judge_page,
)
from pipeline.corpus.lines import SpillLineKeys
from pipeline.corpus.near_duplicates import NEAR_DUPLICATE, SpillCandidates, SpillMinHashKeys
from pipeline.corpus.onto import verdicts
from pipeline.corpus.onto.base import BaseShards
from pipeline.corpus.onto.delta import Outcomes, judge_added, row_changes
from pipeline.corpus.onto.verdicts import (
    ANSWERED,
    Exchanges,
    GrowthFiles,
    Verdicts,
    before,
    changed_rows,
    lines_kept,
)
from pipeline.corpus.read import DUPLICATE_URL, ReadShard
from pipeline.corpus.spills import ROW, LastOutcome, OutcomeWriter, columns_of, with_rows


@dataclass(frozen=True)
class ByOrigin:
    """A step that does other work on shards of the base corpus than on new ones."""

    workspace: Workspace
    name: str
    of_base: Callable[[int], Record]
    of_new: Callable[[int], Record]
    base_shards: int

    def __call__(self, number: int) -> Record:
        """Does one work item."""
        return (self.of_base if number < self.base_shards else self.of_new)(number)


def over_base(stages: Iterable[Stage], shards: BaseShards) -> Iterator[Stage]:
    """Yields the stages; on shards of the base corpus, steps use what was kept."""
    work: dict[str, Callable[[Any, int], Record]] = {
        ReadShard.name: shards.read,
        DescribePages.name: shards.describe,
        SpillMinHashKeys.name: shards.minhash_keys,
        SpillCandidates.name: shards.candidates,
        SpillLineKeys.name: shards.line_keys,
        JudgePages.name: functools.partial(judge_changed, shards),
    }
    for stage in stages:
        if isinstance(stage, tuple) or stage.name not in work:
            yield stage
            continue
        of_new = functools.partial(judge_added, stage) if isinstance(stage, JudgePages) else stage
        of_base = functools.partial(work[stage.name], stage)
        yield ByOrigin(stage.workspace, stage.name, of_base, of_new, shards.base.shards)


def judge_changed(shards: BaseShards, judge: JudgePages, shard: int) -> Tally:
    """Judges the pages of a shard of the base corpus on which a verdict has changed."""
    tally, lost = Tally(), Tally()
    with (
        spills.outcome_writer(judge.workspace, shard, spills=True) as decided,
        row_changes(judge, shard, tally) as files,
    ):
        if shards.exchanges is not None:  # else no page meets another
            for pairs in _outcomes(shards, shards.exchanges, judge, shard, decided):
                for was, now in pairs:
                    lost.count_outcome(was)
                    tally.count_outcome(now)
                files.write(pairs)
    _correct(tally, shards.base.growth.kept(shard), lost)
    return tally


def _correct(tally: Tally, former: Tally, lost: Tally) -> None:
    """Adds the former counts of the shard, without those of the outcomes that are lost."""
    tally.add_counts(former)
    tally.add_counts(lost, -1)
    tally.counts.pop(CERTAINTY, None)  # which the step before thresholds counts
    for kind, languages in tally.counts.items():
        for code, details in [*languages.items()]:
            # Every kept page counts its duplicate lines, none included.
            counts_zeros = kind == "removed_lines" and tally.number("kept", code) > 0
            zero = DUPLICATE_LINE if counts_zeros else None
            left = {detail: n for detail, n in details.items() if n or detail == zero}
            if left:
                languages[code] = left
            else:
                del languages[code]


def _outcomes(
    shards: BaseShards,
    exchanges: Exchanges,
    judge: JudgePages,
    shard: int,
    decided: OutcomeWriter,
) -> Iterator[list[Outcomes]]:
    """Yields both outcomes of the changed pages, chunk by chunk."""
    growth, web = shards.base.growth, exchanges.chosen is not None
    was = before(growth, shard, shards.base.thresholds if web else None)
    now = exchanges.verdicts(shard)
    answers = columns_of(ANSWERED, *([growth.path(verdicts.ANSWERS, shard)] if web else []))
    changed = changed_rows(was, now, answers)
    recorded = spills.read_outcomes(growth.path(verdicts.OUTCOMES, shard), changed)
    side_was = Replay(was, changed, shards.rules, judge, recorded)
    side_now = Replay(now, changed, shards.rules, judge, {})
    decided.copy(growth.path(verdicts.OUTCOMES, shard), changed)
    newly_older = np.setdiff1d(now.duplicates, was.duplicates)
    for chunk, rows in _chunks(growth, shard, changed):
        read = rows[is_among(rows, newly_older)] if web else rows
        texts = _pages_at(growth.path(verdicts.PAGES, shard), chunk, read)
        described = rows if web else rows[:0]
        known = _pages_at(growth.path(verdicts.DESCRIBED, shard), chunk, described)
        pairs = [
            (
                side_was.outcome(row, texts.get(row), known.get(row)),
                side_now.outcome(row, texts.get(row), known.get(row)),
            )
            for row in rows.tolist()
        ]
        last = [row in side_now.last for row in rows.tolist()]
        decided.write(itertools.compress((now for _, now in pairs), last), rows[last])
        yield pairs


def _chunks(
    growth: GrowthFiles, shard: int, changed: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the number of each chunk with changed pages, and their rows."""
    first = 0
    for chunk, versions in enumerate(spills.batches(growth.path(verdicts.VERSIONS, shard))):
        end = first + versions.num_rows
        rows = changed[slice(*np.searchsorted(changed, [first, end]))]
        if len(rows):
            yield chunk, rows
        first = end


def _pages_at(path: str, chunk: int, rows: np.ndarray) -> dict[int, Page]:
    """Returns the pages of a chunk with these rows, of those that it has."""
    if not len(rows):
        return {}
    (batch,) = spills.batches(path, [chunk])
    changed = with_rows(batch, rows)
    return dict(zip(changed[ROW].to_pylist(), page.batch_to_pages(changed), strict=True))


class Replay:
    """Judges changed pages again, by the verdicts before an addition or after it.

    Attributes:
        last: rows of pages that reached the last rules.
    """

    def __init__(
        self,
        verdicts: Verdicts,
        changed: np.ndarray,
        rules: PageRules,
        judge: JudgePages,
        recorded: Mapping[int, LastOutcome],
    ):
        """Looks up the verdicts.

        Args:
            verdicts: verdicts on all pages of a shard.
            changed: rows of the changed pages, sorted.
            rules: judgements of the job.
            judge: the last judgements.
            recorded: what the last rules had decided, which is not asked again.
        """
        self._first, self._judge, self._recorded = rules.first, judge, recorded
        self._languages: tuple[Judgement, ...] = ()
        if verdicts.thresholds is not None:
            self._languages = ApplyThresholds(verdicts.thresholds), *rules.requested
        self._duplicates = set(verdicts.duplicates.tolist())
        self._leaves = set(verdicts.leaves.tolist())
        sizes = (column.tolist() for column in verdicts.sizes.values())
        self._sizes = dict(zip(*sizes, strict=True))
        self._keeps = lines_kept(verdicts, changed)
        self.last: set[int] = set()

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
        left = without_duplicate_lines(page, self._keeps[row])
        if not isinstance(left, Page):
            return left
        self.last.add(row)
        if row in self._recorded:
            return self._judge.with_split(self._recorded[row].again(left))
        return self._judge.outcome(left)

    def _before_lines(self, row: int, read: Page | None, described: Page | None) -> Page | Dropped:
        """Returns a page, or why it is dropped, before lines of other pages are removed."""
        if row in self._duplicates:
            assert read is not None
            return Rejected(read, DUPLICATE_URL)
        page = described
        if page is None:
            assert read is not None
            page = judge_page(read, self._first)
        page = judge_page(page, self._languages) if isinstance(page, Page) else page
        if not isinstance(page, Page):
            return page
        if row in self._leaves:
            return Rejected(page, NEAR_DUPLICATE)
        if row in self._sizes:
            page = page._replace(cluster_size=self._sizes[row])
        return page
