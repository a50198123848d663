"""First step: reads the records of a shard's files as pages, and spills a version per address.

A damaged record is counted. A file that the system refuses to open or to read ends the job, because
its content is unknown. Dropped at once are pages of languages that were not requested, where the
declared language counts; pages that are too long; and pages with a newer version in the same chunk.
Each chunk keeps only its newest page per address, as taking the newest is associative. So an
address that a crawl repeats fifty thousand times is spilled once per chunk.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from data.dedup.newest_per_url import PageVersion, newest, version_of
from data.errors import DataError
from data.files.paths import local_copy, temporary_folder
from data.files.stores import retried
from data.reading import crawl, records, web_archive
from data.reading.page import BROKEN, BrokenRecord, Page, Rejected
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.corpus_files import broken_records
from pipeline.cleaning.exchange import numbers_from
from pipeline.cleaning.judgement import Judgement, judged
from pipeline.cleaning.shards import Cut, chunks
from pipeline.cleaning.spills import spill
from pipeline.cleaning.spills.page_spill import page_spill
from pipeline.cleaning.tally import Tally

Reader = Callable[[Path], Iterator[Page | BrokenRecord]]
READERS = (
    dict.fromkeys(web_archive.SUFFIXES, web_archive.read)
    | dict.fromkeys(web_archive.HTML_SUFFIXES, web_archive.read_html)
    | dict.fromkeys(records.JSON_LINES_SUFFIXES, records.read_json_lines)
    | dict.fromkeys(records.PARQUET_SUFFIXES, records.read_parquet)
)  # the first suffix that matches counts: .warc.wet.gz is text

VERSIONS = pa.schema(
    [
        ("address", pa.binary(16)),
        ("timestamp", pa.string()),
        ("content", pa.binary(16)),
        ("row", pa.uint32()),
    ]
)
DUPLICATE_URL = "duplicate_url"


@dataclass(frozen=True)
class ReadShard:
    """Spills a shard's pages, and the version of its address that each page is.

    Attributes:
        judgements: judgements that need no other page.
        one_page_per_address: whether older versions of an address are rejected.
        crawl_cache: directory for files fetched from a crawl; None to keep none.
    """

    workspace: Workspace
    judgements: tuple[Judgement, ...]
    one_page_per_address: bool
    cut: Cut
    crawl_cache: str | None

    step = "read"

    def __call__(self, number: int) -> Tally:
        """Reads one shard."""
        row, space = 0, self.workspace
        broken_path = broken_records.spilled(space, self.step, number)
        with (
            page_spill(space, self.step, number) as files,
            spill.writer(space, versions_path(space, number), VERSIONS) as versions_file,
            spill.writer(space, broken_path, BROKEN) as broken_file,
        ):
            records = self._records(number, files.tally)
            for chunk, broken in chunks(records, self.cut.chunk_characters):
                files.tally.counts["read", "", ""] += len(chunk)
                files.tally.count_broken(broken)
                if broken:
                    broken_file.write_batch(broken_records.batch(broken))
                outcomes = [judged(page, self.judgements) for page in chunk]
                passed = [one for one in outcomes if isinstance(one, Page)]
                dropped = [one for one in outcomes if not isinstance(one, Page)]
                versions: list[PageVersion] = []
                if self.one_page_per_address:
                    passed, versions, older = _newest(passed)
                    dropped += older
                rows = numbers_from(row, len(passed), "pages")
                if self.one_page_per_address:
                    columns = [*zip(*versions, strict=True)] or [[], [], []]
                    versions_file.write_batch(spill.batch(VERSIONS, [*columns, rows]))
                files.write(passed, dropped, rows)
                row += len(passed)
        return files.tally

    def _records(self, number: int, tally: Tally) -> Iterator[Page | BrokenRecord]:
        for path in self.workspace.shards(list[list[str]])[number]:
            with _local(path, self.crawl_cache) as local, _reading(local):
                tally.counts["bytes", "", ""] += local.stat().st_size
                yield from _reader(path)(local)


def _newest(pages: Sequence[Page]) -> tuple[list[Page], list[PageVersion], list[Rejected]]:
    """Returns the newest page of each address in a chunk, their versions, and the other pages."""
    versions = list(map(version_of, pages))
    keep = newest(versions).tolist()
    older = [
        Rejected(page, DUPLICATE_URL) for page, new in zip(pages, keep, strict=True) if not new
    ]
    return list(itertools.compress(pages, keep)), list(itertools.compress(versions, keep)), older


def versions_path(workspace: Workspace, shard: int) -> str:
    """Returns the path of the versions that the pages of a shard are."""
    return workspace.spill(ReadShard.step, shard, ".versions")


def is_readable(path: str) -> bool:
    """Returns whether a reader exists for the file's name."""
    return path.endswith(tuple(READERS))


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Ends the job if a file cannot be read: its records may be intact.

    Raises:
        DataError: if the system repeatedly refuses to open the file, or to continue reading it.
    """
    try:
        retried(lambda: path.open("rb").close())
        yield
    except OSError as error:
        raise DataError(
            f"{path} is a file of the input and cannot be read ({error}); make it readable, or "
            "clean into a new directory without it."
        ) from error


@contextlib.contextmanager
def _local(path: str, cache: str | None) -> Iterator[Path]:
    """Yields a local file, fetched if necessary; a fetched file stays only if there is a cache."""
    if not path.startswith(crawl.SCHEMES):
        with local_copy(path) as local:
            yield local
        return
    if cache is not None:
        yield crawl.fetch(path, Path(cache))
        return
    with temporary_folder() as directory:
        yield crawl.fetch(path, Path(directory))


def _reader(path: str) -> Reader:
    return next(reader for suffix, reader in READERS.items() if path.endswith(suffix))
