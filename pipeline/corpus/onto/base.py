"""The corpus that a job adds to, and work on its shards: what is kept of them replaces the input.

Kept are pages as read, MinHash keys, described pages for candidates, and keys of lines.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from data.files.atomic import copy_file
from data.files.paths import temporary_folder
from data.language_id.thresholds import decide
from data.numbers import is_among
from data.reading import page
from data.reading.page import Page
from pipeline.corpus import spills
from pipeline.corpus.counts import Tally
from pipeline.corpus.judgements import (
    DescribePages,
    PageRules,
    Rows,
    collected_thresholds,
    count_certainties,
)
from pipeline.corpus.keys import SortedKeys, collected_numbers, spilled_keys
from pipeline.corpus.lines import CLAIMED, LINE_KEY, SpillLineKeys, line_keys
from pipeline.corpus.near_duplicates import (
    MINHASH_KEY,
    Grouped,
    SpillCandidates,
    SpillMinHashKeys,
    minhash_keys_of,
    page_numbers,
    write_keys,
)
from pipeline.corpus.onto import verdicts
from pipeline.corpus.onto.verdicts import (
    ANSWERED,
    Exchanges,
    GrowthFiles,
    languages,
)
from pipeline.corpus.read import ReadShard, broken_path, versions_path
from pipeline.corpus.spills import ROW, Columns, columns_of, with_rows
from pipeline.corpus.write import Addition


@dataclass(frozen=True)
class Base(Addition):
    """The corpus that a job adds to.

    Attributes:
        growth: what is kept beside it.
        files: number of its files.
        thresholds: its thresholds of languages.
    """

    growth: GrowthFiles
    files: int
    thresholds: Mapping[str, float]


@dataclass(frozen=True)
class BaseShards:
    """Work on shards of the base corpus: a method per step that does other work on new shards.

    Attributes:
        base: the corpus.
        exchanges: exchanges of the job; None where no page meets another.
        rules: judgements of the job.
        languages: languages in which near-duplicates are looked for.
    """

    base: Base
    exchanges: Exchanges | None
    rules: PageRules
    languages: frozenset[str]

    def read(self, step: ReadShard, shard: int) -> Tally:
        """Copies broken records, and page versions where addresses are compared.

        Before that it checks all that is kept of the shard, as later steps read parts of it.
        """
        growth, space = self.base.growth, step.workspace
        growth.check(shard)
        copies = {verdicts.BROKEN: broken_path(space, shard)}
        if step.one_page_per_address:
            copies[verdicts.VERSIONS] = versions_path(space, shard)
        for kind, path in copies.items():
            copy_file(growth.path(kind, shard), path, space.scratch)
        return Tally(broken=growth.kept(shard).broken)

    def describe(self, _: DescribePages, shard: int) -> Tally:
        """Counts the probabilities of languages, of pages that are still the newest."""
        tally, answers = Tally(), self._newest_answers(shard)
        count_certainties(tally, answers["identified_language"], answers["language_probability"])
        return tally

    def minhash_keys(self, step: SpillMinHashKeys, shard: int) -> Tally:
        """Copies the keys of pages whose language is as before; computes those of the others."""
        same, other = self._rows_by_change(shard)
        path = self.base.growth.path(verdicts.MINHASH, shard)
        with temporary_folder() as scratch:
            keys = SortedKeys(MINHASH_KEY, scratch, step.partitions)
            for batch in spilled_keys(path, MINHASH_KEY):
                keys.add(batch[is_among(batch["row"], same)])
            for pages, rows in self._described_pages(shard, other):
                keys.add(minhash_keys_of(pages, rows))
            write_keys(step.workspace, shard, keys)
        return Tally()

    def candidates(self, step: SpillCandidates, shard: int) -> Tally:
        """Spills the candidates among the described pages."""
        rows = self._newest_answers(shard)[ROW]

        def chunks(grouped: Grouped) -> Iterator[tuple[list[Page], Rows]]:
            at = is_among(page_numbers(shard, rows), grouped)
            return self._described_pages(shard, rows[at])

        return step.spill(shard, chunks)

    def line_keys(self, step: SpillLineKeys, shard: int) -> Tally:
        """Copies the keys of pages that still claim lines; computes those of new claims."""
        growth, space = self.base.growth, step.workspace
        was = columns_of(CLAIMED, growth.path(verdicts.CLAIMS, shard))
        rows = self._claiming_rows(shard, was)
        stays = is_among(was[ROW], rows)
        new = np.setdiff1d(rows, was[ROW])
        with line_keys(space, shard, step.partitions) as keys:
            keys.claims.append([was[name][stays] for name in CLAIMED.names])
            for kind in (verdicts.LINES, verdicts.REPEATS):
                for batch in spilled_keys(growth.path(kind, shard), LINE_KEY):
                    at = np.searchsorted(was["first"], batch["line"], side="right") - 1
                    keys.add(batch[stays[at]])
            keys.line = int((was["first"] + was["lines"]).max(initial=0))
            for pages, numbers in self._described_pages(shard, new):
                keys.claim(pages, numbers, step.line_hashes)
        return Tally()

    def _newest_answers(self, shard: int) -> Columns:
        """Returns the identifier's answers for pages that are still the newest."""
        assert self.exchanges is not None
        answers = columns_of(ANSWERED, self.base.growth.path(verdicts.ANSWERS, shard))
        newest = ~is_among(answers[ROW], collected_numbers(self.exchanges.newest, shard))
        return {name: column[newest] for name, column in answers.items()}

    def _thresholds(self, shard: int) -> Mapping[str, float]:
        """Returns the thresholds of languages that the job decided."""
        assert self.exchanges is not None
        assert self.exchanges.thresholds is not None
        return collected_thresholds(self.exchanges.thresholds, shard)

    def _rows_by_change(self, shard: int) -> tuple[Rows, Rows]:
        """Returns the rows of pages that may be near-duplicates, sorted.

        First those of pages whose language is as before, then those of the others.
        """
        answers = self._newest_answers(shard)
        now = languages(answers, self._thresholds(shard))
        same = now == languages(answers, self.base.thresholds)
        compared = np.array([code in self.languages for code in now], bool)
        return answers[ROW][compared & same], answers[ROW][compared & ~same]

    def _described_pages(self, shard: int, rows: Rows) -> Iterator[tuple[list[Page], Rows]]:
        """Yields the described pages with these rows, sorted, in their language, by chunks."""
        if not len(rows):
            return
        thresholds = self._thresholds(shard)
        for batch in spills.batches(self.base.growth.path(verdicts.DESCRIBED, shard)):
            chunk = with_rows(batch, rows)
            pages = [
                page._replace(
                    language=decide(page.identified_language, page.language_probability, thresholds)
                )
                for page in page.batch_to_pages(chunk)
            ]
            yield pages, chunk[ROW].to_numpy()

    def _claiming_rows(self, shard: int, was: Columns) -> Rows:
        """Returns the rows of pages that claim lines now, sorted."""
        assert self.exchanges is not None
        if self.exchanges.chosen is None:
            return np.setdiff1d(was[ROW], collected_numbers(self.exchanges.newest, shard))
        compared = np.concatenate(self._rows_by_change(shard))
        return np.setdiff1d(compared, collected_numbers(self.exchanges.chosen, shard))
