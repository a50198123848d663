"""The files of token blocks, local or on an object store, and their open readers.

A `BlockFiles` pins a file as a path on this host's disk. `LocalFiles` has it there already;
`staged_files.StagedFiles` copies it from an object store first, and does not evict it while it is
pinned. Readers stay open, as opening one costs as much as reading ten to thirty records. An
open reader takes 40 kB and one file, or two where it is copied from a store. So at most an eighth
of the files that the process may open (`ulimit -n`) are readers of one set of tokens: a run may
read several, and a corpus of mT5's size has more shards than that.

Records are read one by one, with `readahead_buffer_size:0,max_parallelism:0`. That takes 14 us of
CPU per record of 4,096 ids; one call for twenty takes 37 us per record, as ArrayRecord passes them
to its threads.
"""

import resource
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from array_record.python.array_record_module import ArrayRecordReader

from data.errors import DataError
from data.stores.digests import digest_of_contents

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
def verified(files: BlockFiles, file: BlockFile) -> Iterator[Path]:
    """Yields the path of a file on this host, after comparing it with its checksum.

    Raises:
        DataError: if the file is missing or altered; the message names it.
    """
    address = files.address(file.name)
    if files.size(file.name) is None:
        raise DataError(f"Token blocks should hold {address}, which is missing; tokenize again.")
    with files.pin(file) as path:
        if digest_of_contents(path) != file.sha256:
            raise DataError(
                f"{address} has another checksum than the manifest records; "
                "restore the file or tokenize again."
            )
        yield path


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
            or size + sum(one.size for one in self._open.values()) > self.files.open_bytes
        ):
            self._evict_oldest()

    def _evict_oldest(self) -> None:
        _, oldest = self._open.popitem(last=False)
        oldest.reader.close()
        oldest.pinned.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self.files}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["files"])


def _records(reader: ArrayRecordReader, records: Sequence[int]) -> list[bytes]:
    found = []
    for record in records:
        reader.seek(record)
        found.append(reader.read())
    return found


def _most_open() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return OPEN_READERS if soft == resource.RLIM_INFINITY else min(OPEN_READERS, soft // 8)
