"""First step: reads the records of a shard's files as pages, and spills a candidate per address.

A damaged record is counted. A file that the system refuses to open or to read ends the job, because
its content is unknown. Dropped at once are pages of languages that were not requested, where the
declared language counts; pages that are too long; and pages with a newer version in the same chunk.
Each chunk keeps only its newest page per address, as taking the newest is associative. So an
address that a crawl repeats fifty thousand times is spilled once per chunk.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from data.dedup.newest_per_url import PageVersion, newest, version_of
from data.errors import DataError
from data.reading import crawl_paths, json_lines, parquet_pages, web_archive
from data.reading.page import BrokenRecord, Dropped, Page, Rejected, Rule
from data.stores.files import local_copy
from data.stores.retry import retried
from pipeline.beam.workspace import Workspace
from pipeline.cleaning import broken_records, spill
from pipeline.cleaning.exchange import partition_of
from pipeline.cleaning.judgement import Judgement, RejectByRule, judged
from pipeline.cleaning.page_spill import page_spill
from pipeline.cleaning.shards import Cut, chunks
from pipeline.cleaning.tally import Tally

Reader = Callable[[Path], Iterator[Page | BrokenRecord]]
READERS = (
    dict.fromkeys(web_archive.SUFFIXES, web_archive.read)
    | dict.fromkeys(web_archive.HTML_SUFFIXES, web_archive.read_html)
    | dict.fromkeys(json_lines.SUFFIXES, json_lines.read)
    | dict.fromkeys(parquet_pages.SUFFIXES, parquet_pages.read)
)  # the first suffix that matches counts: .warc.wet.gz is text

CANDIDATES = pa.schema(
    [
        ("address", pa.binary(16)),
        ("timestamp", pa.string()),
        ("content", pa.binary(16)),
        ("row", pa.uint32()),
    ]
)
NO_VERSION = PageVersion(b"", "", b"")


@dataclass(frozen=True)
class ReadShard:
    """Spills a shard's pages, and each as a candidate for the newest of its address.

    Attributes:
        requested: judgements of the declared language, where it counts; else empty.
        first_rules: rules that need nothing but the page.
        one_page_per_address: whether older pages of an address are rejected.
        crawl_cache: directory for files fetched from a crawl; None to keep none.
    """

    workspace: Workspace
    requested: tuple[Judgement, ...]
    first_rules: tuple[Rule, ...]
    one_page_per_address: bool
    partitions: int
    cut: Cut
    crawl_cache: str | None

    step = "read"

    def __call__(self, number: int) -> Tally:
        """Reads one shard."""
        row, space = 0, self.workspace
        broken_path = broken_records.spilled(space, self.step, number)
        with (
            page_spill(space, self.step, number, CANDIDATES) as files,
            spill.writer(space, broken_path, broken_records.SCHEMA) as broken_file,
        ):
            records = self._records(number, files.tally)
            for chunk, broken in chunks(records, self.cut.chunk_characters):
                files.tally.counts["read", "", ""] += len(chunk)
                files.tally.count_broken(broken)
                if broken:
                    broken_file.write_batch(broken_records.batch(broken))
                passed, dropped = self._judged(chunk)
                files.write([page for page, _ in passed], dropped)
                for batch in self._candidates([version for _, version in passed], row):
                    files.keys.write_batch(batch)
                row += len(passed)
        return files.tally

    def _records(self, number: int, tally: Tally) -> Iterator[Page | BrokenRecord]:
        for path in self.workspace.shards()[number]:
            with _local(path, self.crawl_cache) as local, _reading(local):
                tally.counts["bytes", "", ""] += local.stat().st_size
                yield from _reader(path)(local)

    def _judged(
        self, chunk: Sequence[Page]
    ) -> tuple[list[tuple[Page, PageVersion]], list[Dropped]]:
        """Returns a chunk's pages that pass, with their versions, and those that are dropped."""
        judgements = [*self.requested, *map(RejectByRule, self.first_rules)]
        outcomes = [judged(page, judgements) for page in chunk]
        pages = [one for one in outcomes if isinstance(one, Page)]
        dropped = [one for one in outcomes if not isinstance(one, Page)]
        if not self.one_page_per_address:
            return [(page, NO_VERSION) for page in pages], dropped
        versions = list(map(version_of, pages))
        passed: list[tuple[Page, PageVersion]] = []
        for page, version, keep in zip(pages, versions, newest(versions), strict=True):
            if keep:
                passed.append((page, version))
            else:
                dropped.append(Rejected(page, "duplicate_url"))
        return passed, dropped

    def _candidates(
        self, versions: Sequence[PageVersion], first_row: int
    ) -> Iterator[pa.RecordBatch]:
        """Yields a chunk's candidates, one batch per partition."""
        if not self.one_page_per_address:
            return
        rows: list[list[tuple]] = [[] for _ in range(self.partitions)]
        for row, version in enumerate(versions, first_row):
            rows[partition_of(version.address, self.partitions)].append((*version, row))
        for part in rows:
            columns = list(zip(*part, strict=True)) or [()] * len(CANDIDATES)
            arrays = [pa.array(c, f.type) for c, f in zip(columns, CANDIDATES, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=CANDIDATES)


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
    if not path.startswith(("http://", "https://")):
        with local_copy(path) as local:
            yield local
        return
    server, _, name = path.partition("://")[2].partition("/")
    base = f"{path.partition('://')[0]}://{server}"
    if cache is not None:
        yield crawl_paths.fetch(name, Path(cache), base)
        return
    with tempfile.TemporaryDirectory() as directory:
        yield crawl_paths.fetch(name, Path(directory), base)


def _reader(path: str) -> Reader:
    return next(reader for suffix, reader in READERS.items() if path.endswith(suffix))
