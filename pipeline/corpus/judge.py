"""The last step before the files: removes lines that other pages keep, and applies the last rules.

Kept and rejected pages are spilled in sorted runs for the files of the corpus.
"""

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from data.dedup import line_dedup
from data.reading import page
from data.reading.page import Dropped, Page, Rejected
from data.rules.held_out import AsPublished, OneIn, ShareOfEachLanguage, ShareOfUnsplitPages
from data.urls import normalized_hash
from pipeline.beam.workspace import Workspace
from pipeline.corpus import spills
from pipeline.corpus.counts import Tally
from pipeline.corpus.judgements import Judgement, Rows, judge_page
from pipeline.corpus.lines import FindDuplicateLines, SpillLineKeys, duplicate_lines
from pipeline.corpus.read import ReadShard
from pipeline.corpus.spills import ROW, SortedRunWriter, row_of

DUPLICATE_LINE = "duplicate_line"  # rule of lines that another page keeps


@dataclass(frozen=True)
class JudgePages:
    """Spills a shard's kept and rejected pages.

    Attributes:
        lines: exchange that found the one page that keeps each line; None if lines stay.
        growable: whether what the last rules decided is spilled, too, for a later addition.
    """

    workspace: Workspace
    judgements: tuple[Judgement, ...]
    held_out: OneIn | ShareOfEachLanguage | AsPublished
    lines: FindDuplicateLines | None
    growable: bool = False

    name = "judge"

    def __call__(self, number: int) -> Tally:
        """Judges one shard."""
        tally, space = Tally(), self.workspace
        with (
            self.run_writer(number, tally) as file,
            spills.outcome_writer(space, number, spills=self.growable) as decided,
        ):
            for chunk, rows in self._chunks(number):
                outcomes = [self.outcome(page) for page in chunk]
                judged_here = [isinstance(page, Page) for page in chunk]
                decided.write(itertools.compress(outcomes, judged_here), rows[judged_here])
                for outcome in outcomes:
                    tally.count_outcome(outcome)
                file.write(row for outcome in outcomes if (row := row_of(outcome)))
        return tally

    def run_writer(self, shard: int, tally: Tally) -> AbstractContextManager[SortedRunWriter]:
        """Returns a writer of the shard's kept and rejected pages."""
        path, held_out = self.workspace.spill(self.name, shard), self.held_out
        most = held_out.maximum if isinstance(held_out, ShareOfEachLanguage) else 0
        return spills.run_writer(self.workspace, path, tally, most)

    def _chunks(self, number: int) -> Iterator[tuple[list[Page | Rejected], Rows]]:
        if self.lines is None:
            for batch in spills.batches(self.workspace.spill(ReadShard.name, number)):
                yield list(page.batch_to_pages(batch)), batch[ROW].to_numpy()
            return
        duplicates, line = duplicate_lines(self.lines, number), 0
        for batch in spills.batches(self.workspace.spill(SpillLineKeys.name, number)):
            pages = list(page.batch_to_pages(batch))
            lengths = [page.text.count("\n") + 1 for page in pages]
            ends = line + np.cumsum([0, *lengths])
            keep = np.ones(ends[-1] - line, dtype=bool)
            first, end = np.searchsorted(duplicates, [line, ends[-1]])
            keep[duplicates[first:end] - line] = False
            by_page = np.split(keep, (ends - line)[1:-1])
            yield list(map(without_duplicate_lines, pages, by_page)), batch[ROW].to_numpy()
            line = ends[-1]

    def outcome(self, page: Page | Rejected) -> Page | Dropped:
        """Returns a page after the last rules, with its split."""
        outcome = judge_page(page, self.judgements) if isinstance(page, Page) else page
        return self.with_split(outcome)

    def with_split(self, outcome: Page | Dropped) -> Page | Dropped:
        """Returns an outcome; a kept page has its split."""
        return (
            outcome._replace(split=self._split(outcome)) if isinstance(outcome, Page) else outcome
        )

    def _split(self, page: Page) -> str:
        """Returns the page's split, or "" if it depends on all pages of the language."""
        if isinstance(self.held_out, ShareOfUnsplitPages):
            self.held_out.check(page.url, page.split)
        if isinstance(self.held_out, ShareOfEachLanguage):
            return ""
        if isinstance(self.held_out, AsPublished):
            return page.split or self.held_out.otherwise.split(normalized_hash(page.url))
        return self.held_out.split(normalized_hash(page.url))


def without_duplicate_lines(page: Page, keep: Bool[np.ndarray, " lines"]) -> Page | Rejected:
    """Returns the page with the lines that it keeps, or rejects it if no text is left."""
    text = page.text if keep.all() else line_dedup.keep_lines(page.text, keep)
    if not text:
        return Rejected(page, "only_duplicate_lines")
    removed = page.text.count("\n") - text.count("\n")
    return page._replace(text=text, removed_lines=(*page.removed_lines, (DUPLICATE_LINE, removed)))
