"""The two steps of `withdraw`: count the pages of listed sites, then write files without them.

Before a file changes, its counts are recorded, and then that it is about to change. So a killed job
counts each page once, and the second step may be repeated: it removes the pages still there.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool

from data.rights.hosts import host_of
from data.rights.reasons import BLOCKED
from data.stores.files import exists, join_path, local_copy
from data.stores.parquet_files import sentences_for
from data.stores.ranges import open_ranges
from pipeline.beam.counted import HOSTS, Counts, CountsRecord
from pipeline.beam.workspace import Workspace
from pipeline.corpus.all_files import PAGES, CorpusFile
from pipeline.selection.late_rules import listed
from pipeline.selection.select_files import count_gone, count_kept, count_lost


@dataclass(frozen=True)
class FindSites:
    """Counts the pages of listed sites in one file; text is read only where there are any."""

    workspace: Workspace
    corpus: str
    sites: tuple[str, ...]
    unique_lines: bool

    step = "find"

    def __call__(self, number: int) -> Counts:
        """Counts one file."""
        file, counts = self.workspace.shards(list[CorpusFile])[number], Counts()
        path = join_path(self.corpus, file.name)
        with sentences_for(path), open_ranges(path) as source:
            urls = pq.read_table(source, columns=["url"])["url"].to_pylist()
        of_sites = rows_of(urls, self.sites)
        if of_sites.any():
            with sentences_for(path), local_copy(path) as here:
                gone = pq.read_table(here).filter(pa.array(of_sites))
            self._count(file, gone, counts)
        return counts

    def _count(self, file: CorpusFile, gone: pa.Table, counts: Counts) -> None:
        if file.name.startswith(f"{PAGES}/"):
            count_kept(counts, file.language, gone)
            count_lost(counts, file.language, gone, unique_lines=self.unique_lines)
        else:
            count_gone(counts, file.language, gone)
        for url in gone["url"].to_pylist():
            counts.add(HOSTS, "", host_of(url))
        counts.add("files", "", "")


@dataclass(frozen=True)
class RemoveSites:
    """Writes a file without the pages of listed sites, if it has any."""

    workspace: Workspace
    corpus: str
    sites: tuple[str, ...]

    step = "remove"
    begun = "begun"  # folder of the workspace that names files before they change

    def __call__(self, number: int) -> Counts:
        """Writes one file."""
        file = self.workspace.shards(list[CorpusFile])[number]
        path = join_path(self.corpus, file.name)
        if self.workspace.record(FindSites.step, number, CountsRecord).counts:
            with sentences_for(path), local_copy(path) as here:
                pages = pq.read_table(here)
            of_sites = rows_of(pages["url"].to_pylist(), self.sites)
            stay = pages.filter(pa.array(~of_sites))
            self.workspace.leave(self.begun, f"{number:05d}", file.name)
            with self.workspace.publish(path) as unfinished:
                pq.write_table(stay, unfinished, compression="zstd")
        return Counts()


def blank_details(workspace: Workspace, path: str, sites: tuple[str, ...]) -> None:
    """Removes listed addresses from a list of broken records, if it exists; the records stay."""
    if not exists(path):
        return
    with sentences_for(path), local_copy(path) as here, pq.ParquetFile(here) as file:
        if not any(named_in(one, sites).any() for one in file.iter_batches()):
            return
        at = file.schema_arrow.get_field_index("detail")
        with (
            workspace.publish(path) as unfinished,
            pq.ParquetWriter(unfinished, file.schema_arrow, compression="zstd") as rows,
        ):
            for batch in file.iter_batches():
                parts = zip(_details(batch), named_in(batch, sites), strict=True)
                left = ["" if gone else detail for detail, gone in parts]
                rows.write_batch(batch.set_column(at, "detail", pa.array(left, pa.string())))


def named_in(records: pa.RecordBatch, sites: tuple[str, ...]) -> Bool[np.ndarray, " records"]:
    """Returns which details are a listed address, or begin with one before the error's text."""
    details = _details(records)
    return rows_of(details, sites) | rows_of([one.partition(": ")[0] for one in details], sites)


def _details(records: pa.RecordBatch) -> list[str]:
    return records["detail"].to_pylist()


def rows_of(urls: list[str], sites: tuple[str, ...]) -> Bool[np.ndarray, " pages"]:
    """Returns which addresses the lists name."""
    found = listed(sites, BLOCKED).refused(urls)
    return np.array([one is not None for one in found], bool)
