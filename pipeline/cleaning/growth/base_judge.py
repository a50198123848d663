"""Judges a shard of the base corpus: only pages on which a verdict has changed.

Each such page is judged twice, by the former verdicts and by the new ones. Rows of the former
outcome leave the files of the corpus, rows of the new one are spilled for new files, and the counts
of the shard are corrected by both.
"""

import heapq
import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from data.numbers import is_among
from data.reading import page
from data.reading.page import Dropped, Page
from pipeline.beam.workspace import Workspace
from pipeline.cleaning import identification_time
from pipeline.cleaning.growth import growth_files
from pipeline.cleaning.growth.corpus_rows import Outcomes, row_changes
from pipeline.cleaning.growth.growth_files import ANSWERED, GrowthFiles, columns_of
from pipeline.cleaning.growth.replay import Replay, Stages
from pipeline.cleaning.growth.verdicts import Decided, before, changed_rows
from pipeline.cleaning.judge import DUPLICATE_LINE, JudgePages
from pipeline.cleaning.near_duplicates.languages import CERTAINTY
from pipeline.cleaning.spills import last_outcomes, spill
from pipeline.cleaning.spills.last_outcomes import OutcomeWriter
from pipeline.cleaning.spills.page_spill import ROW, with_rows
from pipeline.cleaning.tally import Tally
from pipeline.corpus.all_files import PAGES

NO_ANSWERS = {name: np.empty(0, object) for name in ANSWERED.names} | {ROW: np.empty(0, np.uint32)}


@dataclass(frozen=True)
class JudgeChanged:
    """Judges the pages of a shard on which a verdict has changed."""

    judge: JudgePages
    stages: Stages
    growth: GrowthFiles
    decided: Decided
    thresholds: Mapping[str, float]

    @property
    def workspace(self) -> Workspace:
        """Workspace of the job."""
        return self.judge.workspace

    step = JudgePages.step

    def __call__(self, number: int) -> Tally:
        """Judges one shard."""
        space, tally, lost = self.workspace, Tally(), Tally()
        smallest: dict[str, list[bytes]] = defaultdict(list)
        with (
            identification_time.counted_in(tally),
            last_outcomes.writer(space, number, spills=True) as decided,
            row_changes(space, number, tally) as files,
        ):
            for pairs in self._outcomes(number, decided):
                for was, now in pairs:
                    _count(lost, was)
                    _count(tally, now)
                for row in files.write(pairs):
                    if row.group.startswith(PAGES) and self.judge.most_held_out:
                        smallest[row.group.rpartition("/")[2]].append(row.digest)
        least = self.judge.most_held_out
        tally.smallest = {
            code: [one.hex() for one in heapq.nsmallest(least, digests)]
            for code, digests in smallest.items()
        }
        self._correct(tally, lost, number)
        return tally

    def _correct(self, tally: Tally, lost: Tally, number: int) -> None:
        """Adds the former counts of the shard, without those of the outcomes that are lost."""
        tally.counts.update(self.growth.tally(number).counts)
        tally.counts.subtract(lost.counts)
        # Every kept page counts its duplicate lines, none included.
        codes = {code for (kind, code, _), n in tally.counts.items() if kind == "kept" and n}
        zeros = {("removed_lines", code, DUPLICATE_LINE) for code in codes}
        for key in [*tally.counts]:
            # Certainty is counted by the step before thresholds.
            if key[0] == CERTAINTY or not (tally.counts[key] or key in zeros):
                del tally.counts[key]

    def _outcomes(self, number: int, decided: OutcomeWriter) -> Iterator[list[Outcomes]]:
        """Yields both outcomes of the changed pages, chunk by chunk."""
        if not self.judge.one_page_per_line:
            return  # no page meets another
        web, growth = self.stages.has_near_duplicates, self.growth
        answers = (
            columns_of(growth.path(growth_files.ANSWERS, number), ANSWERED) if web else NO_ANSWERS
        )
        was, now = before(growth, number, self.thresholds), self.decided.now(number)
        changed = changed_rows(was, now, answers)
        recorded = last_outcomes.read(growth.path(growth_files.OUTCOMES, number), changed)
        sides = [
            Replay.of(verdicts, changed, self.judge, self.stages, known)
            for verdicts, known in ((was, recorded), (now, {}))
        ]
        decided.copy(growth.path(growth_files.OUTCOMES, number), changed)
        newly = np.setdiff1d(now.duplicates, was.duplicates)
        for at, rows in _chunks(growth, number, changed):
            read = rows[is_among(rows, newly)] if web else rows
            texts = _pages_at(growth.path(growth_files.PAGES, number), at, read)
            known = _pages_at(
                growth.path(growth_files.DESCRIBED, number), at, rows if web else rows[:0]
            )
            pairs = [
                Outcomes(*(side.outcome(row, texts.get(row), known.get(row)) for side in sides))
                for row in rows.tolist()
            ]
            last = [row in sides[1].last for row in rows.tolist()]
            decided.write(itertools.compress((both.now for both in pairs), last), rows[last])
            yield pairs


def _chunks(
    growth: GrowthFiles, shard: int, changed: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the number of each chunk with changed pages, and their rows."""
    first = 0
    for at, versions in enumerate(spill.batches(growth.path(growth_files.VERSIONS, shard))):
        end = first + versions.num_rows
        rows = changed[slice(*np.searchsorted(changed, [first, end]))]
        if len(rows):
            yield at, rows
        first = end


def _pages_at(path: str, chunk: int, rows: np.ndarray) -> dict[int, Page]:
    """Returns the pages of a chunk with these rows, of those that it has."""
    if not len(rows):
        return {}
    (batch,) = spill.batches(path, [chunk])
    some = with_rows(batch, rows)
    return dict(zip(some[ROW].to_pylist(), page.pages(some), strict=True))


def _count(tally: Tally, one: Page | Dropped) -> None:
    if isinstance(one, Page):
        tally.count_kept(one)
    else:
        tally.count_dropped(one)
