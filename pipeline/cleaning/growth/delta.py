"""The difference between a corpus and the one that is made of it, page by page.

    pages of the new corpus = pages of the old one - retracted + reinstated + added

A page is its address, time and text. So a page of the old corpus that lost a line to a new page is
retracted as it was and reinstated as it is. The changes of some consecutive shards lie in one file.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from data.reading.page import Dropped, NotAsked, Page, Rejected
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.judge import JudgePages
from pipeline.cleaning.spills import spill
from pipeline.cleaning.spills.sorted_runs import content_digest
from pipeline.cleaning.tally import Tally

FOLDER = "delta"
SHARDS_PER_FILE = 16  # a crawl of 9 TB has 2,048 shards: 128 files that workers write at once
ADDED, RETRACTED, REINSTATED = "added", "retracted", "reinstated"
KINDS = (ADDED, RETRACTED, REINSTATED)  # of counts
NEW = "new"  # why a page of the new input is added
LANGUAGE, LINES = "other_language", "other_lines"
SCHEMA = pa.schema(
    [
        ("url", pa.string()),
        ("digest", pa.string()),
        ("language", pa.string()),
        ("change", pa.string()),
        ("reason", pa.string()),
    ]
)


class Change(NamedTuple):
    """A row of the difference.

    Attributes:
        url: address of the page.
        digest: MD5 of its address, time and text, in hexadecimal.
        language: language of the page, in the corpus that has it.
        change: one of `KINDS`.
        reason: why: the rule that rejects it now, or rejected it before; `new`; `other_lines` or
            `other_language` where the page is in both corpora, but not the same.
    """

    url: str
    digest: str
    language: str
    change: str
    reason: str


def changes(was: Page | Dropped, now: Page | Dropped) -> Iterator[Change]:
    """Yields the changes of a page on which a verdict has changed."""
    if isinstance(was, Page) and isinstance(now, Page):
        if (was.text, was.language) == (now.text, now.language):
            return
        why = LINES if was.language == now.language else LANGUAGE
        yield _change(was, RETRACTED, why)
        yield _change(now, REINSTATED, why)
    elif isinstance(was, Page):
        yield _change(was, RETRACTED, _reason(now))
    elif isinstance(now, Page):
        yield _change(now, REINSTATED, _reason(was))


def _reason(one: Page | Dropped) -> str:
    if isinstance(one, Rejected):
        return one.reason
    return "not_asked" if isinstance(one, NotAsked) else ""


def _change(page: Page, change: str, reason: str) -> Change:
    digest = content_digest(page.url, page.timestamp, page.text).hex()
    return Change(page.url, digest, page.language, change, reason)


def count(tally: Tally, some: Iterable[Change]) -> None:
    """Counts changes."""
    for one in some:
        tally.counts[one.change, one.language, one.reason] += 1


def batch(some: Iterable[Change]) -> pa.RecordBatch:
    """Returns changes as a table."""
    return pa.RecordBatch.from_pylist([one._asdict() for one in some], SCHEMA)


def spilled(workspace: Workspace, shard: int) -> str:
    """Returns the path of a shard's changes."""
    return workspace.spill(JudgePages.step, shard, ".delta")


def file_of(shard: int) -> int:
    """Returns the number of the file with a shard's changes."""
    return shard // SHARDS_PER_FILE


def names(shards: int) -> list[str]:
    """Returns the names of the files with the changes of all shards, in order."""
    files = file_of(shards - 1) + 1
    return [f"{FOLDER}/pages-{number:05d}-of-{files:05d}.parquet" for number in range(files)]


@dataclass(frozen=True)
class JudgeAdded:
    """Judges a new shard; lists the pages that it adds to the corpus."""

    judge: JudgePages

    @property
    def workspace(self) -> Workspace:
        """Workspace of the job."""
        return self.judge.workspace

    step = JudgePages.step

    def __call__(self, number: int) -> Tally:
        """Judges one shard."""
        tally, space = self.judge(number), self.workspace
        numbers = [run.batch for run in tally.runs if run.group.startswith("pages/")]
        with spill.writer(space, spilled(space, number), SCHEMA) as file:
            for rows in spill.batches(space.spill(self.step, number), numbers):
                names = ("url", "timestamp", "text", "language")
                pages = zip(*(rows[name].to_pylist() for name in names), strict=True)
                added = [
                    Change(url, content_digest(url, time, text).hex(), code, ADDED, NEW)
                    for url, time, text, code in pages
                ]
                count(tally, added)
                file.write_batch(batch(added))
        return tally
