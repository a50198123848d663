"""Reading: the input files, their packing into shards, and the stage that reads their records.

**Shards.** A shard is one work item; a chunk is the part of it in memory at one time; a partition
is the part of all shards' keys that is compared at one time. The cut follows from the input alone,
never from the workers, so it is the same when a job is resumed. A chunk of 8 M characters is 8 to
32 MB of text. A partition has some 0.9 M lines, 4 to 10 MB of keys (0.057 lines per compressed byte
of input).

A shard sends one element to each partition, so the number of both is bounded: above 34 GB of input
shards grow, and above 137 GB partitions too. A crawl of 9 TB is 2,048 shards of 4 GB and 8,192
partitions: 17 million elements of some 30,000 lines, 120 kB. (No job of that size was run.)

**Input files** are here, in an object store, or in a crawl: its list of paths (`wet.paths.gz`) is
replaced by its files, and each worker fetches them when it processes them. A file of published mC4
has the language in its name. So where declared languages count, a file in a language that was not
requested is not even opened.

**The stage `read`.** Dropped at once are pages of languages that were not requested, where the
declared language counts; pages that are too long; and pages with a newer version in the same chunk.
Each chunk keeps only its newest page per address, as taking the newest is associative. So an
address that a crawl repeats fifty thousand times is spilled once per chunk.

**Broken records** are counted by reason, and the manifest has the first few. To repair an archive,
or to see what a crawl lost, all are needed. Each shard spills its own, one batch per chunk. One
file of the corpus is written from them batch by batch, in the order of the input, so they never
have to fit in memory. A file that the system refuses to open or to read ends the job, because its
content is unknown. Lines of a shard are numbered in 32 bits: the rest of a file with more is a
broken record.
"""

import contextlib
import glob
import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from data.dedup.newest_per_url import PageVersion, newest, version_of
from data.errors import DataError
from data.files.digests import one_spelling
from data.files.paths import (
    exists,
    files_below,
    is_remote,
    join_path,
    local_copy,
    temporary_folder,
)
from data.files.stores import retry
from data.reading import crawl, records, web_archive
from data.reading.crawl import COMMON_CRAWL
from data.reading.one_server import SCHEMES
from data.reading.page import BROKEN, BrokenRecord, Page, Rejected
from data.reading.records import published_as
from pipeline.beam.workspace import Workspace, pack_files
from pipeline.corpus import spills
from pipeline.corpus.counts import Tally
from pipeline.corpus.judgements import Judgement, judge_page
from pipeline.corpus.keys import NUMBERS, numbers_from
from pipeline.corpus.other_formats import no_such_input, unknown_format
from pipeline.corpus.spills import page_spill


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Sizes of the parts of a job.

    Attributes:
        shard_bytes: bytes of input files per shard, unless one file is larger.
        chunk_characters: characters of text in memory at one time.
        partition_bytes: bytes of input per partition.
    """

    shard_bytes: int = 16 << 20
    chunk_characters: int = 8 << 20
    partition_bytes: int = 16 << 20


DEFAULT_CUT = Cut()
MOST_SHARDS = 2048  # twice as many where no two files fit together, and more from 32 TB on
LARGEST_SHARD = 16 << 30  # bytes; a shard numbers its lines by 32 bits
RECORD_CHARACTERS = 200  # added per record, so that a chunk of empty ones ends too
MOST_PARTITIONS = 8192


class InputFile(NamedTuple):
    """A file of the input.

    Attributes:
        path: path or address.
        size: size in bytes.
        stamp: value that changes when the file is rewritten; "" where it is unknown.
    """

    path: str
    size: int
    stamp: str = ""


def shards(files: Sequence[InputFile], cut: Cut) -> list[list[str]]:
    """Returns the paths of each shard's files, in order."""
    full = min(-(-sum(file.size for file in files) // MOST_SHARDS), LARGEST_SHARD)
    full = max(cut.shard_bytes, full)
    return [[file.path for file in shard] for shard in pack_files(files, full)]


def partitions(files: Iterable[InputFile], cut: Cut) -> int:
    """Returns the number of partitions, a power of two."""
    size = sum(file.size for file in files)
    return min(MOST_PARTITIONS, 1 << max(0, -(-size // cut.partition_bytes) - 1).bit_length())


def chunks(
    records: Iterable[Page | BrokenRecord], characters: int
) -> Iterator[tuple[list[Page], list[BrokenRecord]]]:
    """Yields the records in chunks; each ends once it has this number of characters."""
    pages: list[Page] = []
    broken: list[BrokenRecord] = []
    size = 0
    for record in records:
        if isinstance(record, BrokenRecord):
            broken.append(record)
        else:
            pages.append(record)
            size += len(record.text) + len(record.url)
        size += RECORD_CHARACTERS
        if size >= characters:
            yield pages, broken
            pages, broken, size = [], [], 0
    if pages or broken:
        yield pages, broken


BROKEN_FOLDER = "broken"
BROKEN_NAME = f"{BROKEN_FOLDER}/records.parquet"
ROWS_PER_GROUP = 10_000


class BrokenFile(NamedTuple):
    """The file of all broken records.

    Attributes:
        name: path relative to the corpus.
        spills: names of the shards' spilled files, in order.
    """

    name: str
    spills: tuple[str, ...]


def broken_batch(records: Sequence[BrokenRecord]) -> pa.RecordBatch:
    """Returns the broken records of a chunk, in order."""
    return pa.RecordBatch.from_pylist([record._asdict() for record in records], BROKEN)


def write_broken(workspace: Workspace, table: BrokenFile) -> str:
    """Writes the file, unless it exists; returns its name."""
    paths = map(workspace.path_of, table.spills)
    batches = (batch for path in paths for batch in spills.batches(path))
    return write_table(workspace, table.name, batches, BROKEN)


def write_table(
    workspace: Workspace, name: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema
) -> str:
    """Writes a file of the corpus from batches, unless it exists; returns its name."""
    if not exists(join_path(workspace.out, name)):
        with (
            workspace.publish_output(workspace.out, name) as unfinished,
            pq.ParquetWriter(unfinished, schema, compression="zstd") as rows,
        ):
            for group in _row_groups(batches, schema):
                rows.write_table(group)
    return name


def _row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yields tables of a fixed number of rows, so the bytes do not depend on the shards."""
    waiting = schema.empty_table()
    for batch in batches:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch])])  # copies nothing
        while len(waiting) >= ROWS_PER_GROUP:
            yield waiting[:ROWS_PER_GROUP].combine_chunks()
            waiting = waiting[ROWS_PER_GROUP:]
    if len(waiting):
        yield waiting.combine_chunks()


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
TOO_MANY_LINES = "too_many_lines"


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

    name = "read"

    def __call__(self, number: int) -> Tally:
        """Reads one shard."""
        row, space = 0, self.workspace
        with (
            page_spill(space, self.name, number) as files,
            spills.writer(space, versions_path(space, number), VERSIONS) as versions_file,
            spills.writer(space, broken_path(space, number), BROKEN) as broken_file,
        ):
            records = self._records(number, files.tally)
            for chunk, broken in chunks(records, self.cut.chunk_characters):
                files.tally.count_read(chunk)
                files.tally.count_broken(broken)
                if broken:
                    broken_file.write_batch(broken_batch(broken))
                outcomes = [judge_page(page, self.judgements) for page in chunk]
                passed = [page for page in outcomes if isinstance(page, Page)]
                dropped = [other for other in outcomes if not isinstance(other, Page)]
                versions: list[PageVersion] = []
                if self.one_page_per_address:
                    passed, versions, older = _newest(passed)
                    dropped += older
                rows = numbers_from(row, len(passed))
                if self.one_page_per_address:
                    columns = [*zip(*versions, strict=True)] or [[], [], []]
                    versions_file.write_batch(spills.arrow_batch(VERSIONS, [*columns, rows]))
                files.write(passed, dropped, rows)
                row += len(passed)
        return files.tally

    def _records(self, number: int, tally: Tally) -> Iterator[Page | BrokenRecord]:
        lines = 0
        for path in self.workspace.shards(list[list[str]])[number]:
            with _local(path, self.crawl_cache) as local, _reading(local):
                tally.add("bytes", number=local.stat().st_size)
                for record in _reader(path)(local):
                    if isinstance(record, Page):
                        lines += record.text.count("\n") + 1
                        if lines > NUMBERS:
                            detail = (
                                f"{record.url}: the first page without a number; divide the file"
                            )
                            yield BrokenRecord.at(local, 0, TOO_MANY_LINES, detail)
                            break
                    yield record


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
    return workspace.spill(ReadShard.name, shard, ".versions")


def broken_path(workspace: Workspace, shard: int) -> str:
    """Returns the path of the broken records of a shard."""
    return workspace.spill(ReadShard.name, shard, ".broken")


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
        retry(lambda: path.open("rb").close())
        yield
    except OSError as error:
        raise DataError(
            f"{path} is a file of the input and cannot be read ({error}); make it readable, or "
            "clean into a new directory without it."
        ) from error


@contextlib.contextmanager
def _local(path: str, cache: str | None) -> Iterator[Path]:
    """Yields a local file, fetched if necessary; a fetched file stays only if there is a cache."""
    if not path.startswith(SCHEMES):
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


# Lists hold no sizes; this is the size of a WET file of Common Crawl, for cutting into shards.
LISTED_FILE_BYTES = 120_000_000
GLOB = re.compile(r"[*?\[]")


def is_listed(file: InputFile) -> bool:
    """Returns whether a file was named by a crawl's list, which does not tell its size."""
    return file.path.startswith(SCHEMES)


def input_files(patterns: Collection[str], base: str = COMMON_CRAWL) -> list[InputFile]:
    """Returns the files that the paths and globs name, each once, ordered by name.

    Args:
        patterns: paths and globs; `*.paths` and `*.paths.gz` are lists of a crawl's files.
        base: address that the paths of such lists are relative to.

    Raises:
        DataError: if a pattern matches no file, or a file of unknown format.
    """
    _check_base(base)
    if web := next((pattern for pattern in patterns if pattern.startswith(SCHEMES)), None):
        raise DataError(
            f"Input {web!r} is an address of a web server; download the file, or write its path "
            "into a list, LIST.paths, and name the server with --crawl-base."
        )
    files: dict[str, InputFile] = {}
    for pattern in patterns:
        matched = list(_matching_files(pattern, base))
        if not matched:
            raise no_such_input(pattern)
        unreadable = next((file for file in matched if not is_readable(file.path)), None)
        if unreadable is not None:
            raise unknown_format(unreadable.path, tuple(READERS))
        files.update((identity(file.path), file) for file in matched)
    crawl.check_places(from_crawl(files.values()))
    return sorted(files.values())


def names_of(pattern: str) -> list[str]:
    """Returns the names of the files that a glob matches; a path, or a glob without any, itself."""
    if not GLOB.search(pattern) or os.path.isfile(pattern):  # as a[1].jsonl, named by a shell
        return [pattern]
    if is_remote(pattern):
        names = [file.path for file in _matched_in_store(pattern)]
    else:
        names = sorted(filter(os.path.isfile, glob.glob(pattern, recursive=True)))
    return names or [pattern]


def from_crawl(files: Iterable[InputFile]) -> list[str]:
    """Returns the addresses of the files that a crawl's server has, in their order."""
    return [file.path for file in files if file.path.startswith(SCHEMES)]


def of_languages(
    files: Sequence[InputFile], requested: Collection[str]
) -> tuple[list[InputFile], Counter[str]]:
    """Returns the files that may hold pages of these languages, and counts the others by language.

    Raises:
        DataError: if no file can hold such pages.
    """
    names = [published_as(file.path.rpartition("/")[2]).language for file in files]
    others = Counter(name for name in names if name is not None and name not in requested)
    kept = [file for file, name in zip(files, names, strict=True) if name not in others]
    if not kept:
        raise DataError(
            f"Pages in {', '.join(requested)} were requested, and by their names all {len(files)} "
            f"files of the input are in {', '.join(others)}; name other files, or other languages."
        )
    return kept, others


def _check_base(base: str) -> None:
    server = urlsplit(base).netloc
    if not base.startswith(SCHEMES) or not server.strip(".") or "@" in server:
        raise DataError(
            f"{base.rpartition('@')[2]!r} was given as the base of a crawl's paths; give an "
            "address that begins with https:// or http:// and a server's name. A password belongs "
            "in ~/.netrc."
        )


def identity(path: str) -> str:
    """Returns the same path for all names of a file, so that no file is read twice."""
    if not is_remote(path):
        return os.path.realpath(path)
    return path


def _matching_files(pattern: str, base: str) -> Iterator[InputFile]:
    for file in _glob(pattern):
        if file.path.endswith(crawl.SUFFIXES):
            with local_copy(file.path) as listing:
                for name in crawl.read_paths(listing):
                    yield InputFile(f"{base.rstrip('/')}/{name}", LISTED_FILE_BYTES)
        else:
            yield file


def _glob(pattern: str) -> Iterator[InputFile]:
    if not is_remote(pattern):
        is_file = os.path.isfile(pattern)  # as a[1].jsonl, which as a glob is another file
        for name in [pattern] if is_file else glob.glob(pattern, recursive=True):
            if Path(name).is_file():
                path = one_spelling(_in_unicode(name))  # workers may run in another directory
                status = Path(name).stat()
                yield InputFile(path, status.st_size, str(status.st_mtime_ns))
    else:
        yield from _matched_in_store(pattern)


def _matched_in_store(pattern: str) -> Iterator[InputFile]:
    """Yields the files of a store that match a glob, by Beam's rules."""
    from apache_beam.io.filesystem import FileSystem  # imported here: it takes a second to load

    fixed = GLOB.split(pattern)[0]
    matching = re.compile(FileSystem.translate_pattern(pattern))
    directory = fixed if fixed == pattern else fixed.rpartition("/")[0]
    for file in files_below(directory, pattern):
        if matching.fullmatch(file.path):
            yield InputFile(*file)


def _in_unicode(name: str) -> str:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"The name of the input {name!r} is not UTF-8, and could not be passed to workers; "
            "rename the file."
        ) from error
    return name
