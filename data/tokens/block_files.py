"""The files of token blocks and their open readers, on this machine or from an object store.

A `BlockFiles` pins a file as a path on this host's disk. `LocalFiles` has it there already.
`StagedFiles` copies it from an object store first, and does not evict it while it is pinned:
ArrayRecord reads local files only. So a block is downloaded whole, and verified by the manifest's
checksum, into a cache of bounded size (`data.files.block_cache`). A transfer that fails or arrives
damaged is retried with growing waits. The schedule determines which blocks each host needs, so the
loader requests them long before it reads (`StagedFiles.prefetch`). The manifest and the vocabulary
are downloaded each time: they are small, and every other file is verified against them.

Readers stay open, as opening one costs as much as reading ten to thirty records. An open reader
takes 40 kB and one file, or two where it is copied from a store. So at most an eighth of the files
that the process may open (`ulimit -n`) are readers of one set of tokens: a run may read several,
and a corpus of mT5's size has more shards than that.

Records are read one by one, with `readahead_buffer_size:0,max_parallelism:0`. That takes 14 us of
CPU per record of 4,096 ids; one call for twenty takes 37 us per record, as ArrayRecord passes them
to its threads.
"""

import queue
import resource
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from array_record.python.array_record_module import ArrayRecordReader

from data.errors import DataError
from data.files.atomic import atomic_write
from data.files.block_cache import BlockCache, CachedFile
from data.files.digests import digest_of_bytes, digest_of_contents
from data.files.paths import download, files_below, join_path, read_bytes
from data.files.stores import with_retries

OPEN_READERS = 4096
READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"


class BlockFile(NamedTuple):
    """One file of an artifact, as recorded in the manifest.

    Attributes:
        name: path relative to the artifact, for example `sw/train-00000-of-00001.arrayrecord`.
        sha256: checksum of its content.
    """

    name: str
    sha256: str


@runtime_checkable
class BlockFiles(Protocol):
    """Access to the files of an artifact."""

    open_bytes: float
    """Total size in bytes of the files that readers may pin; one larger file is allowed."""
    staged: bool
    """Whether files come from an object store, where each is verified before it is pinned."""

    def address(self, name: str) -> str:
        """Returns the path or address of the file, for messages."""
        ...

    def size(self, name: str) -> int | None:
        """Returns the file's size in bytes, None if there is none."""
        ...

    def pin(self, file: BlockFile) -> AbstractContextManager[Path]:
        """Returns a context manager of the file's path on this host, valid inside the context."""
        ...

    def prefetch(self, files: Iterable[BlockFile]) -> None:
        """Starts fetching files that are needed soon, in order; returns at once."""
        ...


@contextmanager
def verified_copy(files: BlockFiles, file: BlockFile) -> Iterator[Path]:
    """Yields the path of a file on this host, after comparing it with its checksum.

    Raises:
        DataError: if the file is missing or altered; the message names it.
    """
    existing_size(files, file)
    with files.pin(file) as path:
        if digest_of_contents(path) != file.sha256:
            raise DataError(
                f"{files.address(file.name)} has another checksum than the manifest records; "
                "restore the file or tokenize again."
            )
        yield path


def existing_size(files: BlockFiles, file: BlockFile) -> int:
    """Returns the size of a file in bytes.

    Raises:
        DataError: if the file is missing.
    """
    size = files.size(file.name)
    if size is None:
        raise DataError(
            f"Token blocks should hold {files.address(file.name)}, which is missing; tokenize "
            "again."
        )
    return size


class LocalFiles:
    """Files in a directory of this host."""

    open_bytes = float("inf")
    staged = False

    def __init__(self, directory: Path):
        self.directory = directory

    def address(self, name: str) -> str:
        """Returns the path."""
        return str(self.directory / name)

    def size(self, name: str) -> int | None:
        """Returns the file's size in bytes, None if there is none."""
        path = self.directory / name
        return path.stat().st_size if path.exists() else None

    def pin(self, file: BlockFile) -> AbstractContextManager[Path]:
        """Returns a context manager of the file's path."""
        return nullcontext(self.directory / file.name)

    def prefetch(self, files: Iterable[BlockFile]) -> None:
        """Does nothing: the files are local."""


class _OpenReader(NamedTuple):
    reader: ArrayRecordReader
    size: int
    pinned: ExitStack


class Readers:
    """An LRU cache of open readers, which is empty after unpickling.

    A reader has one position, so one thread reads at a time.
    """

    def __init__(self, files: BlockFiles):
        self.files = files
        self._open: OrderedDict[str, _OpenReader] = OrderedDict()
        self._most = _most_open()
        self._lock = threading.Lock()

    def read(self, file: BlockFile, records: Sequence[int]) -> list[bytes]:
        """Returns records of one file; fastest in ascending order.

        Raises:
            DataError: if ArrayRecord finds the file damaged, too few records, or a wrong checksum.
        """
        with self._lock:
            try:
                return _records(self._reader(file), records)
            except (RuntimeError, IndexError) as error:
                if "Too many open files" in str(error):
                    raise self._too_many(file) from error
                raise DataError(
                    f"{self.files.address(file.name)} is damaged ({error}); restore it or tokenize "
                    "again."
                ) from error

    def _reader(self, file: BlockFile) -> ArrayRecordReader:
        if file.name not in self._open:
            size = self.files.size(file.name) or 0
            self._evict_for(size)
            pinned = ExitStack()
            path = pinned.enter_context(self.files.pin(file))
            self._open[file.name] = _OpenReader(
                ArrayRecordReader(str(path), READER_OPTIONS), size, pinned
            )
        self._open.move_to_end(file.name)
        return self._open[file.name].reader

    def _too_many(self, file: BlockFile) -> DataError:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return DataError(
            f"{self.files.address(file.name)} cannot be opened, as this process has {soft:,} open "
            "files and may have no more; raise the hard limit (ulimit -Hn)."
        )

    def _evict_for(self, size: int) -> None:
        while self._open and (
            len(self._open) >= self._most
            or size + sum(reader.size for reader in self._open.values()) > self.files.open_bytes
        ):
            _, oldest = self._open.popitem(last=False)
            oldest.reader.close()
            oldest.pinned.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self.files}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["files"])


def _records(reader: ArrayRecordReader, records: Sequence[int]) -> list[bytes]:
    contents = []
    for record in records:
        reader.seek(record)
        contents.append(reader.read())
    return contents


def _most_open() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return OPEN_READERS if soft == resource.RLIM_INFINITY else min(OPEN_READERS, soft // 8)


TRANSFERS = 4  # concurrent downloads


class StagedFiles:
    """The files of token blocks in a store, lent through the cache; see `BlockFiles`."""

    staged = True

    def __init__(self, directory: str, cache: BlockCache):
        self.directory = directory
        self.cache = cache
        self.open_bytes = cache.limit_bytes / 8  # that one process may protect from eviction
        self._ahead: _Ahead | None = None

    def address(self, name: str) -> str:
        """Returns the file's address."""
        return join_path(self.directory, name)

    def size(self, name: str) -> int | None:
        """Returns the file's size in bytes, None if there is none."""
        return self._sizes.get(name)

    @contextmanager
    def pin(self, file: BlockFile) -> Iterator[Path]:
        """Lends the file, downloaded first if it is not on this host's disk.

        Raises:
            DataError: if it cannot be downloaded, or differs from the manifest's checksum.
        """
        address = self.address(file.name)
        cached = CachedFile(file.sha256, existing_size(self, file), address)

        def borrow() -> Path:
            return stack.enter_context(self.cache.pin(cached, lambda path: download(address, path)))

        with ExitStack() as stack:
            yield with_retries(borrow, address)

    def prefetch(self, files: Iterable[BlockFile]) -> None:
        """Downloads files in background threads; a file that is already requested is skipped."""
        if self._ahead is None:
            self._ahead = _Ahead(self, self.cache.limit_bytes / 2)
        for file in files:
            self._ahead.request(file, self.size(file.name) or 0)

    @cached_property
    def _sizes(self) -> dict[str, int]:
        files = files_below(self.directory)
        return {file.path[len(self.directory) + 1 :]: file.size for file in files}

    def __getstate__(self) -> dict[str, Any]:  # a worker process has threads of its own
        return self.__dict__ | {"_ahead": None}


class _Ahead:
    """Threads that download requested files; a request is forgotten after enough bytes of others.

    They are daemons: nothing waits for them when a run ends, and a partial download is evicted.
    """

    def __init__(self, files: StagedFiles, memory_bytes: float):
        self._memory_bytes = memory_bytes
        self._requested: OrderedDict[str, int] = OrderedDict()
        self._queue: queue.SimpleQueue[BlockFile] = queue.SimpleQueue()
        for _ in range(TRANSFERS):
            threading.Thread(target=self._work, args=(files,), daemon=True).start()

    def request(self, file: BlockFile, size: int) -> None:
        if file.name in self._requested:
            return
        self._requested[file.name] = size
        while sum(self._requested.values()) > self._memory_bytes:
            self._requested.popitem(last=False)
        self._queue.put(file)

    def _work(self, files: StagedFiles) -> None:
        while True:
            file = self._queue.get()
            with (
                suppress(DataError, OSError),
                files.pin(file),
            ):  # the reader meets the same error and reports it
                pass


def open_directory(
    address: str, names: Sequence[str], cache: Path, limit_bytes: int
) -> tuple[Path, StagedFiles]:
    """Returns a local directory with copies of small files, and the access to all others.

    Args:
        address: address of token blocks in a store.
        names: names of the files to copy.
        cache: directory that the processes of this host share.
        limit_bytes: largest number of bytes of blocks in the cache.

    Raises:
        DataError: if a file cannot be read.
    """
    address = address.rstrip("/")
    directory = cache / "artifacts" / digest_of_bytes(address.encode())[:16]
    for name in names:
        with atomic_write(directory / name, directory / "scratch") as unfinished:
            unfinished.write_bytes(read_bytes(join_path(address, name)))
    return directory, StagedFiles(address, BlockCache(cache / "blocks", limit_bytes))
