"""What all pages together decided about the pages of one shard: before an addition, or after it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Int, Shaped, UInt32

from data.language_id.thresholds import decide
from data.numbers import is_among
from pipeline.beam.waves import NO_WAVES, Waves
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.duplicate_lines import duplicate_lines_of
from pipeline.cleaning.exchange import numbers_of
from pipeline.cleaning.growth import growth_files
from pipeline.cleaning.growth.growth_files import GrowthFiles, columns_of
from pipeline.cleaning.line_keys import SpillLineKeys
from pipeline.cleaning.near_duplicates.choice import ChoosePages, sizes_path
from pipeline.cleaning.near_duplicates.languages import thresholds_of
from pipeline.cleaning.newest_per_url import FindNewest
from pipeline.cleaning.spills.page_spill import ROW
from pipeline.cleaning.spills.spilled_pages import SIZES, Rows

Columns = Mapping[str, Shaped[np.ndarray, " rows"]]


class Verdicts(NamedTuple):
    """Verdicts on the pages of one shard.

    Attributes:
        duplicates: rows of pages with a newer version.
        thresholds: threshold of each language's probability; empty without thresholds.
        leaves: rows of near-duplicates.
        sizes: what other candidates stand for.
        claims: pages whose lines were compared, in the order of their lines.
        lost: lines that another page keeps.
    """

    duplicates: Rows
    thresholds: Mapping[str, float]
    leaves: Rows
    sizes: Columns
    claims: Columns
    lost: UInt32[np.ndarray, " lines"]


@dataclass(frozen=True)
class Decided:
    """Reads the verdicts of a job.

    Attributes:
        workspace: workspace of the job.
        addresses, candidates, lines: waves of its exchanges.
        has_near_duplicates: whether its rules remove near-duplicates.
    """

    workspace: Workspace
    addresses: Waves
    candidates: Waves
    lines: Waves
    has_near_duplicates: bool

    def of(self, shard: int, claims: Columns) -> Verdicts:
        """Returns the verdicts on the pages of a shard, of which these claimed lines."""
        space, web = self.workspace, self.has_near_duplicates
        chosen = self.candidates if web else NO_WAVES
        sizes = [sizes_path(space, shard, wave) for wave in chosen.all()]
        tables = [columns_of(path, SIZES) for path in sizes]
        return Verdicts(
            numbers_of(space, FindNewest.step, self.addresses, shard),
            thresholds_of(space, shard) if web else {},
            numbers_of(space, ChoosePages.step, chosen, shard),
            {
                name: np.concatenate([_none(name), *(one[name] for one in tables)])
                for name in SIZES.names
            },
            claims,
            duplicate_lines_of(space, shard, self.lines),
        )

    def now(self, shard: int) -> Verdicts:
        """Returns the verdicts on a shard of the base corpus."""
        return self.of(shard, columns_of(claims_path(self.workspace, shard), growth_files.CLAIMED))


def _none(name: str) -> np.ndarray:
    return pa.array([], SIZES.field(name).type).to_numpy()


def before(growth: GrowthFiles, shard: int, thresholds: Mapping[str, float]) -> Verdicts:
    """Returns the verdicts that are kept beside a corpus."""
    return Verdicts(
        growth.numbers(growth_files.DUPLICATES, shard),
        thresholds,
        growth.numbers(growth_files.LEAVES, shard),
        columns_of(growth.path(growth_files.SIZES, shard), SIZES),
        columns_of(growth.path(growth_files.CLAIMS, shard), growth_files.CLAIMED),
        growth.numbers(growth_files.LOST, shard),
    )


def claims_path(workspace: Workspace, shard: int) -> str:
    """Returns the path of the pages of a shard of the corpus whose lines are compared."""
    return workspace.spill(SpillLineKeys.step, shard, ".claims")


def changed_rows(was: Verdicts, now: Verdicts, answers: Columns) -> Int[np.ndarray, " changed"]:
    """Returns the rows of pages on which a verdict has changed, sorted.

    Args:
        was, now: verdicts before and after.
        answers: the identifier's answers, where thresholds decide languages.
    """
    moved = languages(answers, was.thresholds) != languages(answers, now.thresholds)
    lines = np.setxor1d(was.lost, now.lost)
    parts = [
        np.setxor1d(was.duplicates, now.duplicates),
        answers[ROW][moved],
        np.setxor1d(was.leaves, now.leaves),
        _resized(was.sizes, now.sizes),
        np.setxor1d(was.claims[ROW], now.claims[ROW]),
        *(_rows_of(lines, claims) for claims in (was.claims, now.claims)),
    ]
    changed = np.unique(np.concatenate([part.astype(np.int64) for part in parts]))
    # A page with a newer version on both sides stays one, though its language would be another.
    return np.setdiff1d(changed, np.intersect1d(was.duplicates, now.duplicates))


def languages(answers: Columns, thresholds: Mapping[str, float]) -> Shaped[np.ndarray, " pages"]:
    """Returns the language of each page by the thresholds."""
    pairs = zip(answers["identified_language"], answers["language_probability"], strict=True)
    return np.array([decide(code, certain, thresholds) for code, certain in pairs], object)


def _resized(was: Columns, now: Columns) -> np.ndarray:
    pairs = [np.stack([one[ROW].astype(np.int64), one["size"]], axis=1) for one in (was, now)]
    pairs = [one[one[:, 1] > 1] for one in pairs]  # a page of no group stands for itself, too
    both, counts = np.unique(np.concatenate(pairs), axis=0, return_counts=True)
    return both[counts == 1, 0]


def _rows_of(lines: UInt32[np.ndarray, " lines"], claims: Columns) -> np.ndarray:
    """Returns the rows of the pages that lines are in."""
    if not len(claims["first"]):
        return np.empty(0, np.int64)
    at = np.searchsorted(claims["first"], lines, side="right") - 1
    inside = (at >= 0) & (lines < claims["first"][at] + claims["lines"][at])
    return claims[ROW][at[inside]]


def lines_lost(verdicts: Verdicts, rows: Iterable[int]) -> dict[int, tuple[int, Sequence[int]]]:
    """Returns the number of lines, and the lost ones, of each of these rows that claimed lines."""
    claims, found = verdicts.claims, {}
    order = np.argsort(claims[ROW], kind="stable")
    wanted = np.array(sorted(rows), np.uint32)
    some = order[is_among(claims[ROW][order], wanted)]
    for row, first, lines in zip(*(claims[name][some].tolist() for name in claims), strict=True):
        begin, end = np.searchsorted(verdicts.lost, [first, first + lines])
        found[row] = lines, (verdicts.lost[begin:end] - np.uint32(first)).tolist()
    return found
