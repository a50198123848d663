"""Judges a shard of the corpus that is added to: only pages on which a verdict has changed.

Each such page is judged twice, by the former verdicts and by the new ones. Rows of the former
outcome leave the files of the corpus, rows of the new one are spilled for new files, and the counts
of the shard are corrected by both.
"""

import heapq
import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from data.dedup.repeated import is_among
from data.reading import page_table
from data.reading.page import Dropped, NotAsked, Page, Rejected
from pipeline.beam.workspace import Workspace
from pipeline.cleaning import identification_time
from pipeline.cleaning.growth import delta, kept
from pipeline.cleaning.growth.kept import ANSWERED, Kept, columns_of
from pipeline.cleaning.growth.verdicts import Decided, Verdicts, before, changed_rows, lines_lost
from pipeline.cleaning.judge import DUPLICATE_LINE, JudgePages, without_duplicate_lines
from pipeline.cleaning.judgement import ApplyThresholds, Judgement, judged
from pipeline.cleaning.near_duplicates.choice import NEAR_DUPLICATE
from pipeline.cleaning.near_duplicates.languages import CERTAINTY
from pipeline.cleaning.read import DUPLICATE_URL
from pipeline.cleaning.spills import last_outcomes, sorted_runs, spill
from pipeline.cleaning.spills.last_outcomes import LastOutcome, OutcomeWriter
from pipeline.cleaning.spills.page_spill import ROW, with_rows
from pipeline.cleaning.spills.sorted_runs import GroupedPage
from pipeline.cleaning.tally import Tally
from pipeline.corpus.all_files import PAGES, REJECTED

GONE_ROWS = "gone_rows"  # kind of count: rows of the corpus's files that a judgement changes
GONE = pa.schema(
    [("folder", pa.string()), ("url", pa.string()), ("reason", pa.string()), ("size", pa.int32())]
)
NO_ANSWERS = {name: np.empty(0, object) for name in ANSWERED.names} | {ROW: np.empty(0, np.uint32)}


class Gone(NamedTuple):
    """A row that leaves a file of the corpus, or changes there.

    Attributes:
        folder: folder of the file.
        url: address of the page.
        reason: why it is rejected; "" for a kept page.
        size: number of near-duplicates that the row stands for from now on; 0 if it leaves.
    """

    folder: str
    url: str
    reason: str
    size: int


class Outcomes(NamedTuple):
    """The outcome of a page before and after the addition."""

    was: Page | Dropped
    now: Page | Dropped


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
class JudgeChanged:
    """Judges the pages of a shard on which a verdict has changed."""

    judge: JudgePages
    stages: Stages
    found: Kept
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
            sorted_runs.writer(space, space.spill(self.step, number), tally) as file,
            last_outcomes.writer(space, number, spills=True) as decided,
            spill.writer(space, gone_path(space, number), GONE) as gone_file,
            spill.writer(space, delta.spilled(space, number), delta.SCHEMA) as delta_file,
        ):
            for pairs in self._outcomes(number, decided):
                gone = [one for both in pairs for one in gone_rows(both)]
                changes = [one for both in pairs for one in delta.changes(*both)]
                written = [row for both in pairs if (row := new_row(both))]
                for was, now in pairs:
                    _count(lost, was)
                    _count(tally, now)
                for row in written:
                    if row.group.startswith(PAGES) and self.judge.most_held_out:
                        smallest[row.group.rpartition("/")[2]].append(row.digest)
                file.write(written)
                gone_file.write_batch(
                    spill.batch(GONE, zip(*gone, strict=True) if gone else [[]] * 4)
                )
                delta_file.write_batch(delta.batch(changes))
                delta.count(tally, changes)
                tally.counts[GONE_ROWS, "", ""] += len(gone)
        least = self.judge.most_held_out
        tally.smallest = {
            code: [one.hex() for one in heapq.nsmallest(least, digests)]
            for code, digests in smallest.items()
        }
        self._correct(tally, lost, number)
        return tally

    def _correct(self, tally: Tally, lost: Tally, number: int) -> None:
        """Adds the former counts of the shard, without those of the outcomes that are lost."""
        tally.counts.update(self.found.tally(number).counts)
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
        web, found = self.stages.has_near_duplicates, self.found
        answers = columns_of(found.path(kept.ANSWERS, number), ANSWERED) if web else NO_ANSWERS
        was, now = before(found, number, self.thresholds), self.decided.now(number)
        changed = changed_rows(was, now, answers)
        recorded = last_outcomes.read(found.path(kept.OUTCOMES, number), changed)
        sides = [_Side.of(was, changed, self, recorded), _Side.of(now, changed, self, {})]
        decided.copy(found.path(kept.OUTCOMES, number), changed)
        newly = np.setdiff1d(now.duplicates, was.duplicates)
        for at, rows in _chunks(found, number, changed):
            read = rows[is_among(rows, newly)] if web else rows
            texts = _pages_at(found.path(kept.PAGES, number), at, read)
            known = _pages_at(found.path(kept.DESCRIBED, number), at, rows if web else rows[:0])
            pairs = [
                Outcomes(*(side.outcome(row, texts.get(row), known.get(row)) for side in sides))
                for row in rows.tolist()
            ]
            last = [row in sides[1].last for row in rows.tolist()]
            decided.write(itertools.compress((both.now for both in pairs), last), rows[last])
            yield pairs


@dataclass(frozen=True)
class _Side:
    """The verdicts on the changed pages, of one of both sides.

    Attributes:
        recorded: what the last rules had decided, which is not asked again.
        last: rows of pages that reached the last rules.
    """

    duplicates: frozenset[int]
    leaves: frozenset[int]
    sizes: Mapping[int, int]
    lost: Mapping[int, tuple[int, Sequence[int]]]
    after_first: tuple[Judgement, ...]
    judging: JudgeChanged
    recorded: Mapping[int, LastOutcome]
    last: set[int]

    @classmethod
    def of(
        cls,
        verdicts: Verdicts,
        changed: np.ndarray,
        judging: JudgeChanged,
        recorded: Mapping[int, LastOutcome],
    ) -> "_Side":
        rows = frozenset(changed.tolist())
        sizes = zip(*(verdicts.sizes[name].tolist() for name in (ROW, "size")), strict=True)
        web, asked = judging.stages.has_near_duplicates, judging.stages.asked
        return cls(
            rows.intersection(verdicts.duplicates.tolist()),
            rows.intersection(verdicts.leaves.tolist()),
            {row: size for row, size in sizes if row in rows},
            lines_lost(verdicts, changed),
            (ApplyThresholds(verdicts.thresholds), *asked) if web else (),
            judging,
            recorded,
            set(),
        )

    def outcome(self, row: int, read: Page | None, described: Page | None) -> Page | Dropped:
        """Returns a page's outcome.

        Args:
            row: its row.
            read: the page as it was read.
            described: the page after the first judgements, where that is kept.
        """
        if row in self.duplicates:
            assert read is not None
            return Rejected(read, DUPLICATE_URL)
        page = described
        if page is None:
            assert read is not None
            page = judged(read, self.judging.stages.first)
        page = judged(page, self.after_first) if isinstance(page, Page) else page
        if not isinstance(page, Page):
            return page
        if row in self.leaves:
            return Rejected(page, NEAR_DUPLICATE)
        if row in self.sizes:
            page = page._replace(cluster_size=self.sizes[row])
        lines, lost = self.lost[row]
        keep = np.ones(lines, dtype=bool)
        keep[list(lost)] = False
        left = without_duplicate_lines(page, keep)
        if not isinstance(left, Page):
            return left
        self.last.add(row)
        if row in self.recorded:
            return self.judging.judge.with_split(self.recorded[row].again(left))
        return self.judging.judge.outcome(left)


def _chunks(found: Kept, shard: int, changed: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the number of each chunk with changed pages, and their rows."""
    first = 0
    for at, versions in enumerate(spill.batches(found.path(kept.VERSIONS, shard))):
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
    return dict(zip(some[ROW].to_pylist(), page_table.pages(some), strict=True))


def _count(tally: Tally, one: Page | Dropped) -> None:
    if isinstance(one, Page):
        tally.count_kept(one)
    else:
        tally.count_dropped(one)


def _row(one: Page | Dropped) -> GroupedPage | None:
    """Returns the row of an outcome in the corpus; None if it has none."""
    if isinstance(one, NotAsked):
        return None
    return sorted_runs.kept(one) if isinstance(one, Page) else sorted_runs.rejected(one)


def new_row(both: Outcomes) -> GroupedPage | None:
    """Returns the row to write for a page, unless the corpus has it, or has it but for its size."""
    return None if _row(both.was) == _row(both.now) or _resized(both) else _row(both.now)


def gone_rows(both: Outcomes) -> Iterator[Gone]:
    """Yields the row of the corpus that a page loses, or that has another size."""
    was, now = both
    if isinstance(was, NotAsked) or _row(was) == _row(now):
        return
    if isinstance(was, Page):
        size = now.cluster_size if isinstance(now, Page) and _resized(both) else 0
        yield Gone(f"{PAGES}/{was.language}", was.url, "", size)
    else:
        yield Gone(f"{REJECTED}/{was.page.counted_language}", was.page.url, was.reason, 0)


def _resized(both: Outcomes) -> bool:
    """Returns whether a page is kept as it was, but stands for another number of pages."""
    was, now = both
    if not isinstance(was, Page) or not isinstance(now, Page):
        return False
    return _row(was) == _row(now._replace(cluster_size=was.cluster_size))


def gone_path(workspace: Workspace, shard: int) -> str:
    """Returns the path of the rows that leave files of the corpus."""
    return workspace.spill(JudgePages.step, shard, ".gone")
