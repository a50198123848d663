"""First step: reads the records of a shard's files as pages; each page claims its address.

A damaged record is counted. A file that the system refuses to open or to read ends the job, because
its content is unknown. Removed at once are pages of languages that were not asked for, where the
declared language counts; pages that are too long; and pages that lose to a newer one of the same
chunk. Each chunk keeps only its local winners; taking the newest is associative. So an address that
a crawl repeats fifty thousand times is claimed once per chunk.
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
from data.stores.retry import again_and_again
from pipeline.beam.workspace import Workspace
from pipeline.cleaning import broken, passes, spill
from pipeline.cleaning.judgement import Judgement, judged
from pipeline.cleaning.shards import Cut, chunks
from pipeline.cleaning.tally import Tally

Reader = Callable[[Path], Iterator[Page | BrokenRecord]]
READERS = (
    dict.fromkeys(web_archive.SUFFIXES, web_archive.read)
    | dict.fromkeys(web_archive.HTML_SUFFIXES, web_archive.read_html)
    | dict.fromkeys(json_lines.SUFFIXES, json_lines.read)
    | dict.fromkeys(parquet_pages.SUFFIXES, parquet_pages.read)
)  # the first suffix that fits: .warc.wet.gz is text

CLAIMS = pa.schema(
    [
        ("address", pa.binary(16)),
        ("timestamp", pa.string()),
        ("content", pa.binary(16)),
        ("row", pa.uint32()),
    ]
)


@dataclass(frozen=True)
class ReadShard:
    """Spills a shard's pages, and their claims by partition.

    Attributes:
        asked: judgements of the declared language, where it counts; else empty.
    """

    workspace: Workspace
    asked: tuple[Judgement, ...]
    first_rules: tuple[Rule, ...]
    one_page_an_address: bool
    partitions: int
    cut: Cut
    crawl_cache: str | None

    step = "read"

    def __call__(self, number: int) -> Tally:
        """Reads one shard."""
        row = 0
        with (
            passes.begun(self.workspace, self.step, number, CLAIMS) as files,
            spill.writer(
                self.workspace, broken.spilled(self.workspace, self.step, number), broken.SCHEMA
            ) as losses,
        ):
            records = self._records(number, files.tally)
            for chunk, lost in chunks(records, self.cut.chunk_characters):
                files.tally.counts["read", "", ""] += len(chunk)
                files.tally.count_broken(lost)
                if lost:
                    losses.write_batch(broken.batch(lost))
                pages, others = self._asked_for(chunk)
                stay, go = self._judge(pages)
                files.write([page for page, _ in stay], [*others, *go])
                for batch in self._claims([claim for _, claim in stay], row):
                    files.claims.write_batch(batch)
                row += len(stay)
        return files.tally

    def _records(self, number: int, tally: Tally) -> Iterator[Page | BrokenRecord]:
        for path in self.workspace.shards()[number]:
            with _here(path, self.crawl_cache) as local, _reading(local):
                tally.counts["bytes", "", ""] += local.stat().st_size
                yield from _reader(path)(local)

    def _asked_for(self, chunk: Sequence[Page]) -> tuple[list[Page], list[Dropped]]:
        outcomes = [judged(page, self.asked) for page in chunk]
        pages = [one for one in outcomes if isinstance(one, Page)]
        return pages, [one for one in outcomes if not isinstance(one, Page)]

    def _judge(
        self, chunk: Sequence[Page]
    ) -> tuple[list[tuple[Page, PageVersion]], list[Rejected]]:
        stay: list[Page] = []
        go: list[Rejected] = []
        for page in chunk:
            reason = next(filter(None, (rule(page) for rule in self.first_rules)), None)
            stay.append(page) if reason is None else go.append(Rejected(page, reason))
        if not self.one_page_an_address:
            return [(page, NO_VERSION) for page in stay], go
        claims = list(map(version_of, stay))
        winners: list[tuple[Page, PageVersion]] = []
        for one, stays in zip(zip(stay, claims, strict=True), newest(claims), strict=True):
            winners.append(one) if stays else go.append(Rejected(one[0], "duplicate_url"))
        return winners, go

    def _claims(self, claims: Sequence[PageVersion], first_row: int) -> Iterator[pa.RecordBatch]:
        """Yields a chunk's claims, one batch per partition."""
        if not self.one_page_an_address:
            return
        rows: list[list[tuple]] = [[] for _ in range(self.partitions)]
        for row, claim in enumerate(claims, first_row):
            rows[partition_of(claim.address, self.partitions)].append((*claim, row))
        for part in rows:
            columns = list(zip(*part, strict=True)) or [()] * len(CLAIMS)
            arrays = [pa.array(c, field.type) for c, field in zip(columns, CLAIMS, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=CLAIMS)


NO_VERSION = PageVersion(b"", "", b"")


def is_readable(path: str) -> bool:
    """Returns whether a reader exists for the file's name."""
    return path.endswith(tuple(READERS))


def partition_of(digest: bytes, partitions: int) -> int:
    """Returns the partition of a hash: its first bits."""
    return int.from_bytes(digest[:4], "big") * partitions >> 32


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Ends the job where a file cannot be read, which is no evidence about its records.

    Raises:
        DataError: if the system repeatedly refuses to open the file, or to continue reading it.
    """
    try:
        again_and_again(lambda: path.open("rb").close())
        yield
    except OSError as error:
        raise DataError(
            f"{path} is a file of the input and cannot be read ({error}); make it readable, or "
            "clean into a new directory without it."
        ) from error


@contextlib.contextmanager
def _here(path: str, cache: str | None) -> Iterator[Path]:
    """Yields the file on this machine, local or fetched; fetched files stay only in the cache."""
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
