"""Kept and rejected pages, spilled in sorted runs for the files of the corpus.

A run is a batch of pages of one group (such as `pages/sw/train`), ordered by the digests of their
addresses, or of their content if they were rejected. A file of the corpus is a range of digests of
one group. Its writer reads only the runs that overlap the range: at most 2 MB more than it needs
per chunk.
"""

import contextlib
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa

from data.reading.page import REJECTED, WRITTEN_WITH_CLUSTERS, Page, Rejected
from data.urls import normalized_hash
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.spills import spill
from pipeline.cleaning.tally import SortedRun, Tally

RUN_BYTES = 2 << 20
SCHEMA = pa.unify_schemas([WRITTEN_WITH_CLUSTERS, REJECTED]).append(
    pa.field("digest", pa.binary(16))
)


class GroupedPage(NamedTuple):
    """A page as a row of a sorted run: its group, and the digest that orders the group."""

    group: str
    digest: bytes
    values: tuple


def kept(page: Page) -> GroupedPage:
    """Returns the row of a page that passed every rule."""
    group = f"pages/{page.language}/{page.split}" if page.split else f"pages/{page.language}"
    return GroupedPage(group, normalized_hash(page.url), (*_values(page), None))


def rejected(one: Rejected) -> GroupedPage:
    """Returns the row of a rejected page."""
    page = one.page._replace(language=one.page.counted_language)
    # Not ordered by address: all pages of one that a crawl repeats 50,000 times would be one file.
    digest = content_digest(page.url, page.timestamp, page.text)
    return GroupedPage(f"rejected/{page.language}", digest, (*_values(page), one.reason))


def content_digest(url: str, timestamp: str, text: str) -> bytes:
    """Returns the digest of a page by what it is: 16 bytes."""
    content = f"{url}\n{timestamp}\n{text}".encode()
    return hashlib.md5(content, usedforsecurity=False).digest()


class SortedRunWriter:
    """Writes runs to one spilled file, and adds each to the tally."""

    def __init__(self, file: pa.RecordBatchFileWriter, name: str, tally: Tally):
        self._file, self._name, self._tally, self._written = file, name, tally, 0

    def write(self, pages: Iterable[GroupedPage]) -> None:
        """Writes the pages of a chunk, one run or more per group."""
        groups: dict[str, list[GroupedPage]] = defaultdict(list)
        for page in pages:
            groups[page.group].append(page)
        for group in sorted(groups):
            for run in _runs(sorted(groups[group], key=lambda page: page.digest)):
                self._write(group, run)

    def _write(self, group: str, run: list[GroupedPage]) -> None:
        rows = ((*page.values, page.digest) for page in run)
        batch = spill.batch(SCHEMA, zip(*rows, strict=True))
        self._file.write_batch(batch)
        first, last = run[0].digest.hex(), run[-1].digest.hex()
        self._tally.runs.append(
            SortedRun(self._name, self._written, group, first, last, len(run), batch.nbytes)
        )
        self._written += 1


@contextlib.contextmanager
def writer(workspace: Workspace, path: str, tally: Tally) -> Iterator[SortedRunWriter]:
    """Yields a writer of runs."""
    with spill.writer(workspace, path, SCHEMA) as file:
        yield SortedRunWriter(file, workspace.name_of(path), tally)


def _values(page: Page) -> tuple:
    return (
        page.text, page.url, page.timestamp, page.language, page.language_probability, page.split,
        page.cluster_size,
    )  # fmt: skip


def _runs(pages: list[GroupedPage]) -> Iterator[list[GroupedPage]]:
    run: list[GroupedPage] = []
    size = 0
    for page in pages:
        run.append(page)
        size += len(page.values[0])
        if size >= RUN_BYTES:
            yield run
            run, size = [], 0
    if run:
        yield run
