"""Keys of the lines of a shard of the base corpus."""

from dataclasses import dataclass

import numpy as np

from data.dedup.line_dedup import LineHashes
from data.numbers import is_among
from pipeline.beam.waves import Waves
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.exchange import numbers_of
from pipeline.cleaning.growth import growth_files
from pipeline.cleaning.growth.base_pages import asked_rows, described_pages
from pipeline.cleaning.growth.growth_files import CLAIMED, GrowthFiles, columns_of
from pipeline.cleaning.growth.verdicts import Columns, claims_path
from pipeline.cleaning.line_keys import KEY, LineKeys, SpillLineKeys, keys_of, line_keys
from pipeline.cleaning.near_duplicates.choice import ChoosePages
from pipeline.cleaning.newest_per_url import FindNewest
from pipeline.cleaning.sorted_keys import spilled_keys
from pipeline.cleaning.spills import spill
from pipeline.cleaning.spills.page_spill import ROW
from pipeline.cleaning.spills.spilled_pages import Rows
from pipeline.cleaning.tally import Tally


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
        was = columns_of(self.growth.path(growth_files.CLAIMS, number), CLAIMED)
        rows = self._rows(number, was)
        stays = is_among(was[ROW], rows)
        claims = [{name: column[stays] for name, column in was.items()}]
        with line_keys(self.workspace, number, self.partitions) as keys:
            for kind in (growth_files.LINES, growth_files.REPEATS):
                for some in spilled_keys(self.growth.path(kind, number), KEY):
                    at = np.searchsorted(was["first"], some["line"], side="right") - 1
                    keys.add(some[stays[at]])
            claims += self._new_claims(number, np.setdiff1d(rows, was[ROW]), was, keys)
        columns = [np.concatenate([one[name] for one in claims]) for name in CLAIMED.names]
        spill.write(self.workspace, claims_path(self.workspace, number), CLAIMED, columns)
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
            new = keys_of(pages, self.line_hashes, line)
            lines = np.array([page.text.count("\n") + 1 for page in pages], np.uint32)
            first = (line + np.cumsum(lines) - lines).astype(np.uint32)
            found.append({ROW: some, "first": first, "lines": lines})
            keys.add(new)
            line += len(new)
        return found
