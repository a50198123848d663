"""Work on shards of the base corpus before the last rules: what is kept replaces the input.

Taken are pages as read, MinHash keys and candidates, and keys of lines.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data.dedup.line_dedup import LineHashes
from data.files.atomic import copy_file
from data.files.paths import temporary_folder
from data.language_id.thresholds import decide, steps_of
from data.numbers import is_among
from data.reading import page
from data.reading.page import Page
from pipeline.beam.workspace import SCRATCH, Waves, Workspace
from pipeline.corpus import read, spills
from pipeline.corpus.addresses import FindNewest
from pipeline.corpus.counts import Tally
from pipeline.corpus.judgements import CERTAINTY, DescribePages, Rows, mc4_languages, thresholds_of
from pipeline.corpus.keys import SortedKeys, numbers_of, spilled_keys
from pipeline.corpus.lines import LINE_KEY, LineKeys, SpillLineKeys, line_keys, line_keys_of
from pipeline.corpus.near_duplicates import (
    MINHASH_KEY,
    PACKED,
    ChoosePages,
    SpillCandidates,
    SpillMinHashKeys,
    groups_of,
    minhash_keys_of,
    page_numbers,
    write_candidates,
    write_keys,
)
from pipeline.corpus.onto import verdicts
from pipeline.corpus.onto.verdicts import (
    ANSWERED,
    CLAIMED,
    Columns,
    GrowthFiles,
    claims_path,
    columns_of,
    languages,
)
from pipeline.corpus.read import ReadShard, versions_path
from pipeline.corpus.spills import ROW, with_rows


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
        taken = {verdicts.BROKEN: read.spilled_broken(space, self.step, number)}
        if self.one_page_per_address:
            taken[verdicts.VERSIONS] = versions_path(space, number)
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
        answers = columns_of(self.growth.path(verdicts.ANSWERS, number), ANSWERED)
        older = numbers_of(self.workspace, FindNewest.step, self.addresses, number)
        here = ~is_among(answers[ROW], older)
        steps = steps_of(answers["language_probability"][here])
        pairs = zip(answers["identified_language"][here], steps.tolist(), strict=True)
        tally = Tally()
        for code, step in pairs:
            tally.add(CERTAINTY, code, str(step))
        return tally


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
    answers = columns_of(growth.path(verdicts.ANSWERS, shard), ANSWERED)
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
    for batch in spills.batches(growth.path(verdicts.DESCRIBED, shard)):
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
            keys = SortedKeys(MINHASH_KEY, scratch, self.partitions)
            for some in spilled_keys(growth.path(verdicts.MINHASH, number), MINHASH_KEY):
                keys.add(some[is_among(some["row"], same)])
            if len(other):
                for pages, rows in described_pages(growth, space, number, other):
                    keys.add(minhash_keys_of(pages, rows))
            write_keys(space, number, keys)
        return Tally()

    def _by_language(self, shard: int, now: dict[int, str]) -> tuple[Rows, Rows]:
        """Returns the rows of pages with the same language as before, and those of the others."""
        answers = columns_of(self.growth.path(verdicts.ANSWERS, shard), ANSWERED)
        was = dict(zip(answers[ROW].tolist(), languages(answers, self.thresholds), strict=True))
        older = set(self.growth.numbers(verdicts.DUPLICATES, shard).tolist())
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
        answers = columns_of(self.growth.path(verdicts.ANSWERS, number), ANSWERED)
        rows = answers[ROW][is_among(page_numbers(number, answers[ROW]), grouped)]
        with spills.writer(space, space.spill(self.step, number), PACKED) as file:
            for pages, some in described_pages(self.growth, space, number, rows):
                at = np.searchsorted(grouped, page_numbers(number, some))
                write_candidates(file, pages, some, groups[at], (number, self.partitions))
        return Tally()


@dataclass(frozen=True)
class TakeLineKeys:
    """Takes the keys of pages that still claim lines; computes those of pages that newly do.

    Attributes:
        asked: languages that were requested, where near-duplicates are removed; else None, and no
            page newly claims lines.
        addresses, candidates: waves of earlier exchanges.
    """

    workspace: Workspace
    growth: GrowthFiles
    line_hashes: LineHashes
    asked: frozenset[str] | None
    addresses: Waves
    candidates: Waves
    partitions: int

    step = SpillLineKeys.step

    def __call__(self, number: int) -> Tally:
        """Takes those of one shard."""
        was = columns_of(self.growth.path(verdicts.CLAIMS, number), CLAIMED)
        rows = self._rows(number, was)
        stays = is_among(was[ROW], rows)
        claims = [{name: column[stays] for name, column in was.items()}]
        with line_keys(self.workspace, number, self.partitions) as keys:
            for kind in (verdicts.LINES, verdicts.REPEATS):
                for some in spilled_keys(self.growth.path(kind, number), LINE_KEY):
                    at = np.searchsorted(was["first"], some["line"], side="right") - 1
                    keys.add(some[stays[at]])
            claims += self._new_claims(number, np.setdiff1d(rows, was[ROW]), was, keys)
        columns = [np.concatenate([one[name] for one in claims]) for name in CLAIMED.names]
        spills.write(self.workspace, claims_path(self.workspace, number), CLAIMED, columns)
        return Tally()

    def _rows(self, shard: int, was: Columns) -> Rows:
        """Returns the rows of pages that claim lines now, sorted."""
        space = self.workspace
        if self.asked is None:
            older = numbers_of(space, FindNewest.step, self.addresses, shard)
            return np.sort(was[ROW][~is_among(was[ROW], older)])
        asked = asked_rows(self.growth, space, shard, self.asked, self.addresses)
        leaves = numbers_of(space, ChoosePages.step, self.candidates, shard)
        return np.setdiff1d(np.array(sorted(asked), np.uint32), leaves)

    def _new_claims(self, shard: int, rows: Rows, was: Columns, keys: LineKeys) -> list[Columns]:
        """Adds the keys of pages that newly claim lines; returns these pages."""
        found: list[Columns] = []
        line = int((was["first"] + was["lines"]).max(initial=0))
        if not len(rows):
            return found
        for pages, some in described_pages(self.growth, self.workspace, shard, rows):
            new = line_keys_of(pages, self.line_hashes, line)
            lines = np.array([page.text.count("\n") + 1 for page in pages], np.uint32)
            first = (line + np.cumsum(lines) - lines).astype(np.uint32)
            found.append({ROW: some, "first": first, "lines": lines})
            keys.add(new)
            line += len(new)
        return found
