"""The stages of a job that adds to a corpus: in a shard of the base, only changed pages are judged.

A page on which a verdict has changed is judged twice, by the verdicts before the addition and by
those after it. Rows of the former outcome leave the files of the corpus, rows of the new one are
spilled for new files, and the counts of the shard are corrected by both.

A page goes through the same judgements as in a whole job, in the same order; where all pages
together decide, the verdict is looked up.
"""

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from data.dedup.line_dedup import LineHashes
from data.numbers import is_among
from data.reading import page
from data.reading.page import Dropped, Page, Rejected
from pipeline.beam.job import Record, WorkStep
from pipeline.beam.workspace import Workspace
from pipeline.corpus import counts, spills
from pipeline.corpus.counts import Tally
from pipeline.corpus.judge import DUPLICATE_LINE, JudgePages, without_duplicate_lines
from pipeline.corpus.judgements import CERTAINTY, ApplyThresholds, Judgement, judged
from pipeline.corpus.near_duplicates import NEAR_DUPLICATE
from pipeline.corpus.onto import verdicts
from pipeline.corpus.onto.base import (
    CountAnswers,
    TakeCandidates,
    TakeLineKeys,
    TakeMinHashKeys,
    TakePages,
)
from pipeline.corpus.onto.delta import JudgeAdded, Outcomes, row_changes
from pipeline.corpus.onto.verdicts import (
    ANSWERED,
    Decided,
    GrowthFiles,
    Verdicts,
    before,
    changed_rows,
    columns_of,
    lines_lost,
)
from pipeline.corpus.pages import PAGES_FOLDER
from pipeline.corpus.read import DUPLICATE_URL
from pipeline.corpus.spills import ROW, LastOutcome, OutcomeWriter, with_rows


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
            counts.counted_in(tally),
            spills.outcome_writer(space, number, spills=True) as decided,
            row_changes(space, number, tally) as files,
        ):
            for pairs in self._outcomes(number, decided):
                for was, now in pairs:
                    lost.count_outcome(was)
                    tally.count_outcome(now)
                for row in files.write(pairs):
                    if row.group.startswith(PAGES_FOLDER) and self.judge.most_held_out:
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
        tally.add_counts(self.growth.tally(number))
        for key, details in lost.counts.items():
            tally.counts[key].subtract(details)
        for (kind, code), details in [*tally.counts.items()]:
            # Every kept page counts its duplicate lines, none included.
            counts_zeros = kind == "removed_lines" and tally.number("kept", code) > 0
            zero = DUPLICATE_LINE if counts_zeros else None
            left = {detail: n for detail, n in details.items() if n or detail == zero}
            if left and kind != CERTAINTY:  # which the step before thresholds counts
                tally.counts[kind, code] = Counter(left)
            else:
                del tally.counts[kind, code]

    def _outcomes(self, number: int, decided: OutcomeWriter) -> Iterator[list[Outcomes]]:
        """Yields both outcomes of the changed pages, chunk by chunk."""
        if not self.judge.one_page_per_line:
            return  # no page meets another
        web, growth = self.stages.has_near_duplicates, self.growth
        answers = columns_of(growth.path(verdicts.ANSWERS, number), ANSWERED) if web else NO_ANSWERS
        was, now = before(growth, number, self.thresholds), self.decided.now(number)
        changed = changed_rows(was, now, answers)
        recorded = spills.read_outcomes(growth.path(verdicts.OUTCOMES, number), changed)
        sides = [
            Replay.of(verdicts, changed, self.judge, self.stages, known)
            for verdicts, known in ((was, recorded), (now, {}))
        ]
        decided.copy(growth.path(verdicts.OUTCOMES, number), changed)
        newly = np.setdiff1d(now.duplicates, was.duplicates)
        for at, rows in _chunks(growth, number, changed):
            read = rows[is_among(rows, newly)] if web else rows
            texts = _pages_at(growth.path(verdicts.PAGES, number), at, read)
            known = _pages_at(
                growth.path(verdicts.DESCRIBED, number), at, rows if web else rows[:0]
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
    for at, versions in enumerate(spills.batches(growth.path(verdicts.VERSIONS, shard))):
        end = first + versions.num_rows
        rows = changed[slice(*np.searchsorted(changed, [first, end]))]
        if len(rows):
            yield at, rows
        first = end


def _pages_at(path: str, chunk: int, rows: np.ndarray) -> dict[int, Page]:
    """Returns the pages of a chunk with these rows, of those that it has."""
    if not len(rows):
        return {}
    (batch,) = spills.batches(path, [chunk])
    some = with_rows(batch, rows)
    return dict(zip(some[ROW].to_pylist(), page.pages(some), strict=True))


@dataclass(frozen=True)
class ByOrigin:
    """Runs one step on shards of the base corpus and another on new shards."""

    of_base: Any
    of_new: Any
    base_shards: int

    @property
    def workspace(self) -> Workspace:
        """Workspace of the job."""
        return self.of_new.workspace

    @property
    def step(self) -> str:
        """Name in the workspace."""
        return self.of_new.step

    def __call__(self, number: int) -> Record:
        """Does one work item."""
        return (self.of_base if number < self.base_shards else self.of_new)(number)


@dataclass(frozen=True)
class Base:
    """The corpus that a job adds to.

    Attributes:
        growth: what is kept beside it.
        shards: number of its shards.
        files: number of its files.
        generation: number of additions, the job's included.
        thresholds: its thresholds of languages.
        held_out_up_to: digests up to which its languages' pages are held out, where a share is.
        pages: number of its kept pages by language.
    """

    growth: GrowthFiles
    shards: int
    files: int
    generation: int
    thresholds: Mapping[str, float]
    held_out_up_to: Mapping[str, str]
    pages: Mapping[str, int]


@dataclass(frozen=True)
class AdditionContext:
    """What an addition needs to know of a job's exchanges and judgements.

    Attributes:
        decided: the verdicts of its exchanges.
        stages: the judgements before the last ones.
        asked: requested languages, where near-duplicates are removed.
        line_hashes: hashes of lines; None where no lines are compared.
        minhash: number of partitions of MinHash keys.
    """

    decided: Decided
    stages: Stages
    asked: frozenset[str] | None
    line_hashes: LineHashes | None
    minhash: int


def work_on_base(base: Base, context: AdditionContext, judge: JudgePages) -> dict[str, WorkStep]:
    """Returns the work on shards of the base corpus, by the name of its step."""
    space, growth, decided = judge.workspace, base.growth, context.decided
    thresholds = dict(base.thresholds)
    steps: list[WorkStep] = [
        TakePages(space, growth, judge.one_page_per_line),
        JudgeChanged(judge, context.stages, growth, decided, thresholds),
    ]
    if context.line_hashes is not None:
        steps.append(
            TakeLineKeys(
                space, growth, context.line_hashes, context.asked,
                decided.addresses, decided.candidates, decided.lines.partitions,
            )
        )  # fmt: skip
    if context.asked is not None:
        addresses = decided.addresses
        steps += [
            CountAnswers(space, growth, addresses),
            TakeMinHashKeys(space, growth, context.asked, addresses, context.minhash, thresholds),
            TakeCandidates(space, growth, decided.candidates.partitions),
        ]
    return {step.step: step for step in steps}


def with_base(
    some: Sequence[Any], base: Base, context: AdditionContext, judge: JudgePages
) -> list[Any]:
    """Returns the stages; on shards of the base corpus, steps reuse what was kept."""
    work = work_on_base(base, context, judge)
    found: list[Any] = []
    for stage in some:
        of_base = work.get(getattr(stage, "step", ""))
        of_new = JudgeAdded(stage) if isinstance(stage, JudgePages) else stage
        found.append(ByOrigin(of_base, of_new, base.shards) if of_base else stage)
    return found
