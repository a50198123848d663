"""The files of the base corpus, in the new one: as they are, or without some rows.

A file only ever loses rows. What is new, or another text than before, lies in new files, so that
token blocks made of the old files stay valid but for the rows that left.
"""

import functools
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.files.atomic import copy_file
from data.files.paths import exists, join_path
from pipeline.beam.workspace import SCRATCH, Workspace
from pipeline.cleaning.corpus_files.broken_records import write_table
from pipeline.cleaning.corpus_files.corpus_plan import PlannedFile
from pipeline.cleaning.growth import delta
from pipeline.cleaning.growth.corpus_rows import GONE, gone_path
from pipeline.cleaning.growth.growth_files import GrowthFacts, GrowthFiles
from pipeline.cleaning.spills import spill
from pipeline.cleaning.tally import Tally
from pipeline.corpus.pages import whole_pages

FILES = "corpus_files"  # kind of count: files of the base corpus, by what became of them
FOUND_ROWS = "found_rows"  # kind of count: rows that were taken out of them, or changed
SAME, REWRITTEN, EMPTY = "same", "rewritten", "empty"


@dataclass(frozen=True)
class KeepFile:
    """Copies a file of the corpus, or writes it again without the rows that left."""

    workspace: Workspace
    growth: GrowthFiles

    step = "files"

    def __call__(self, number: int) -> Tally:
        """Keeps one file."""
        file = _facts(self.growth).files[number]
        source = join_path(self.growth.corpus, file.name)
        target = join_path(self.workspace.out, file.name)
        gone = gone_of(self.workspace, file)
        table = whole_pages(self.growth.corpus, file.name) if gone else None
        left = None if table is None else without(table, gone)
        if left is None or not left.found:
            copy_file(source, target, f"{self.workspace.directory}/{SCRATCH}")
            return _tally(SAME, 0)
        if not len(left.table):
            return _tally(EMPTY, left.found)
        if not exists(target):
            with self.workspace.publish(target) as unfinished:
                pq.write_table(left.table, unfinished, compression="zstd")
        return _tally(REWRITTEN, left.found)


def _tally(what: str, found: int) -> Tally:
    return Tally(counts=Counter({(FILES, "", what): 1, (FOUND_ROWS, "", ""): found}))


@functools.lru_cache(maxsize=1)
def _facts(growth: GrowthFiles) -> GrowthFacts:
    return growth.facts()


def gone_of(workspace: Workspace, file: PlannedFile) -> dict[tuple[str, str], int]:
    """Returns the rows that leave a file's folder: address and reason, and a size if it stays."""
    folder = file.name.rpartition("/")[0]
    found: dict[tuple[str, str], int] = {}
    for shard in range(file.first, file.end):
        found |= _gone_rows(gone_path(workspace, shard)).get(folder, {})
    return found


@functools.lru_cache(maxsize=4)
def _gone_rows(path: str) -> dict[str, dict[tuple[str, str], int]]:
    """Returns the rows that leave each folder; files of one shard follow each other."""
    found: dict[str, dict[tuple[str, str], int]] = defaultdict(dict)
    for batch in spill.batches(path):
        columns = (batch[name].to_pylist() for name in GONE.names)
        for folder, url, reason, size in zip(*columns, strict=True):
            found[folder][url, reason] = size
    return found


class Left(NamedTuple):
    """The rows that are left of a file, and how many of the rows that leave were in it."""

    table: pa.Table
    found: int


def without(table: pa.Table, gone: dict[tuple[str, str], int]) -> Left:
    """Returns a table without the rows that leave, with the new sizes of others."""
    urls = pa.array([url for url, _ in gone], pa.string())
    there = pc.is_in(table["url"], value_set=urls)  # pyright: ignore[reportAttributeAccessIssue]
    some = np.flatnonzero(there.to_numpy(zero_copy_only=False))
    names = [name for name in ("url", "reason") if name in table.column_names]
    rows = table.select(names).take(some).to_pylist()
    found = {
        at: gone.get((row["url"], row.get("reason", "")))
        for at, row in zip(some.tolist(), rows, strict=True)
    }
    sizes = {at: size for at, size in found.items() if size}
    leave = [at for at, size in found.items() if size == 0]
    keep = np.ones(len(table), dtype=bool)
    keep[leave] = False
    return Left(_resized(table, sizes).filter(pa.array(keep)), len(sizes) + len(leave))


def _resized(table: pa.Table, sizes: dict[int, int]) -> pa.Table:
    if not sizes:
        return table
    values = table["cluster_size"].to_numpy().copy()
    values[list(sizes)] = list(sizes.values())
    at = table.column_names.index("cluster_size")
    return table.set_column(at, table.field(at), pa.array(values, pa.int32()))


@dataclass(frozen=True)
class WriteDelta:
    """Writes a file with the changes of some consecutive shards, in their order."""

    workspace: Workspace
    shards: int

    step = "delta"

    def __call__(self, number: int) -> Tally:
        """Writes one file."""
        some = (shard for shard in range(self.shards) if delta.file_of(shard) == number)
        paths = (delta.spilled(self.workspace, shard) for shard in some)
        batches = (one for path in paths for one in spill.batches(path))
        write_table(self.workspace, delta.names(self.shards)[number], batches, delta.SCHEMA)
        return Tally()
