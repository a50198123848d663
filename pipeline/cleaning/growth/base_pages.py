"""Work on shards of the base corpus, before lines: takes what is kept."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data.files.atomic import copy_file
from data.files.paths import temporary_folder
from data.language_id.thresholds import decide, steps_of
from data.numbers import is_among
from data.reading import page
from data.reading.page import Page
from pipeline.beam.waves import Waves
from pipeline.beam.workspace import SCRATCH, Workspace
from pipeline.cleaning.corpus_files import broken_records
from pipeline.cleaning.exchange import numbers_of
from pipeline.cleaning.growth import growth_files
from pipeline.cleaning.growth.growth_files import ANSWERED, GrowthFiles, columns_of
from pipeline.cleaning.growth.verdicts import languages
from pipeline.cleaning.judgement import mc4_languages
from pipeline.cleaning.near_duplicates.choice import PACKED, SpillCandidates, write_candidates
from pipeline.cleaning.near_duplicates.groups import groups_of
from pipeline.cleaning.near_duplicates.keys import (
    KEY,
    SpillMinHashKeys,
    keys_of,
    page_numbers,
    write_keys,
)
from pipeline.cleaning.near_duplicates.languages import CERTAINTY, DescribePages, thresholds_of
from pipeline.cleaning.newest_per_url import FindNewest
from pipeline.cleaning.read import ReadShard, versions_path
from pipeline.cleaning.sorted_keys import SortedKeys, spilled_keys
from pipeline.cleaning.spills import spill
from pipeline.cleaning.spills.page_spill import ROW, with_rows
from pipeline.cleaning.spills.spilled_pages import Rows
from pipeline.cleaning.tally import Tally


@dataclass(frozen=True)
class TakePages:
    """Takes the broken records of a shard, and its versions where addresses are compared.

    Before that it checks all that is kept of the shard, as later steps read parts of it.
    """

    workspace: Workspace
    growth: GrowthFiles
    one_page_per_address: bool

    step = ReadShard.step

    def __call__(self, number: int) -> Tally:
        """Takes those of one shard."""
        self.growth.check(number)
        space = self.workspace
        taken = {growth_files.BROKEN: broken_records.spilled(space, self.step, number)}
        if self.one_page_per_address:
            taken[growth_files.VERSIONS] = versions_path(space, number)
        for kind, path in taken.items():
            copy_file(self.growth.path(kind, number), path, f"{space.directory}/{SCRATCH}")
        return Tally(broken=self.growth.tally(number).broken)


@dataclass(frozen=True)
class CountAnswers:
    """Counts the probabilities of languages, of pages that are still the newest."""

    workspace: Workspace
    growth: GrowthFiles
    addresses: Waves

    step = DescribePages.step

    def __call__(self, number: int) -> Tally:
        """Counts those of one shard."""
        answers = columns_of(self.growth.path(growth_files.ANSWERS, number), ANSWERED)
        older = numbers_of(self.workspace, FindNewest.step, self.addresses, number)
        here = ~is_among(answers[ROW], older)
        steps = steps_of(answers["language_probability"][here])
        pairs = zip(answers["identified_language"][here], steps.tolist(), strict=True)
        return Tally(counts=Counter((CERTAINTY, code, str(step)) for code, step in pairs))


def asked_rows(
    growth: GrowthFiles, workspace: Workspace, shard: int, asked: frozenset[str], addresses: Waves
) -> dict[int, str]:
    """Returns the language of each page that may be a near-duplicate, by its row.

    Args:
        growth: what is kept beside the corpus.
        workspace: workspace of the job.
        shard: number of the shard.
        asked: languages that were requested.
        addresses: waves of the exchange of addresses.
    """
    answers = columns_of(growth.path(growth_files.ANSWERS, shard), ANSWERED)
    older = numbers_of(workspace, FindNewest.step, addresses, shard)
    newest = ~is_among(answers[ROW], older)
    codes = languages(answers, thresholds_of(workspace, shard))
    wanted = asked & mc4_languages()
    pairs = zip(answers[ROW][newest].tolist(), codes[newest], strict=True)
    return {row: code for row, code in pairs if code in wanted}


def described_pages(
    growth: GrowthFiles, workspace: Workspace, shard: int, rows: Rows
) -> Iterator[tuple[list[Page], Rows]]:
    """Yields the described pages with these rows, chunk by chunk.

    Their language is that which the current thresholds give them.

    Args:
        growth: what is kept beside the corpus.
        workspace: workspace of the job, whose thresholds decide languages.
        shard: number of the shard.
        rows: rows of the pages, sorted.
    """
    thresholds = thresholds_of(workspace, shard)
    for batch in spill.batches(growth.path(growth_files.DESCRIBED, shard)):
        some = with_rows(batch, rows)
        pages = (
            page._replace(
                language=decide(page.identified_language, page.language_probability, thresholds)
            )
            for page in page.pages(some)
        )
        yield [*pages], some[ROW].to_numpy()


@dataclass(frozen=True)
class TakeMinHashKeys:
    """Takes the MinHash keys of pages whose language is as before; computes those of the others."""

    workspace: Workspace
    growth: GrowthFiles
    asked: frozenset[str]
    addresses: Waves
    partitions: int
    thresholds: dict[str, float]

    step = SpillMinHashKeys.step

    def __call__(self, number: int) -> Tally:
        """Takes those of one shard."""
        space, growth = self.workspace, self.growth
        now = asked_rows(growth, space, number, self.asked, self.addresses)
        same, other = self._by_language(number, now)
        with temporary_folder() as scratch:
            keys = SortedKeys(KEY, scratch, self.partitions)
            for some in spilled_keys(growth.path(growth_files.MINHASH, number), KEY):
                keys.add(some[is_among(some["row"], same)])
            if len(other):
                for pages, rows in described_pages(growth, space, number, other):
                    keys.add(keys_of(pages, rows))
            write_keys(space, number, keys)
        return Tally()

    def _by_language(self, shard: int, now: dict[int, str]) -> tuple[Rows, Rows]:
        """Returns the rows of pages with the same language as before, and those of the others."""
        answers = columns_of(self.growth.path(growth_files.ANSWERS, shard), ANSWERED)
        was = dict(zip(answers[ROW].tolist(), languages(answers, self.thresholds), strict=True))
        older = set(self.growth.numbers(growth_files.DUPLICATES, shard).tolist())
        same = [row for row, code in now.items() if was[row] == code and row not in older]
        rows = np.array(sorted(same), np.uint32)
        return rows, np.setdiff1d(np.array(sorted(now), np.uint32), rows)


@dataclass(frozen=True)
class TakeCandidates:
    """Spills the candidates among a shard's described pages."""

    workspace: Workspace
    growth: GrowthFiles
    partitions: int

    step = SpillCandidates.step

    def __call__(self, number: int) -> Tally:
        """Processes one shard."""
        space = self.workspace
        grouped, groups = groups_of(space, number)
        answers = columns_of(self.growth.path(growth_files.ANSWERS, number), ANSWERED)
        rows = answers[ROW][is_among(page_numbers(number, answers[ROW]), grouped)]
        with spill.writer(space, space.spill(self.step, number), PACKED) as file:
            for pages, some in described_pages(self.growth, space, number, rows):
                at = np.searchsorted(grouped, page_numbers(number, some))
                write_candidates(file, pages, some, groups[at], (number, self.partitions))
        return Tally()
