"""The files of token blocks, wherever they lie, and the readers that are open on them.

A `BlockFiles` lends a file as a path on this host's disk. `LocalFiles` has it there already;
`staging.StagedFiles` copies it from an object store first and keeps it from being evicted while it
is lent. Readers stay open, for opening one costs as much as reading ten to thirty records; but not
more than half the files that the process may open (`ulimit -n`), as a corpus of mT5's size has more
shards than that. An open one takes 40 kB.

Records are read one by one, `readahead_buffer_size:0,max_parallelism:0`: 14 us of CPU a record of
4,096 ids, where one call for twenty takes 37 us each, as ArrayRecord hands them to its threads.
"""

import resource
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from array_record.python.array_record_module import ArrayRecordReader

from data.errors import DataError

OPEN_READERS = 4096
READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"


class BlockFile(NamedTuple):
    """What the manifest says of one file.

    Attributes:
        name: path relative to the artifact, for example `sw/train-00000-of-00001.arrayrecord`.
        sha256: of its content.
    """

    name: str
    sha256: str


@runtime_checkable
class BlockFiles(Protocol):
    """Where the files of an artifact are."""

    open_bytes: float
    """Readers may hold files of so many bytes in all, one larger file apart."""
    staged: bool
    """Whether files come from a store, each compared with its checksum before it is lent."""

    def address(self, name: str) -> str:
        """Returns what a person would call the file."""
        ...

    def size(self, name: str) -> int | None:
        """Returns the file's size in bytes, None if there is none."""
        ...

    def pin(self, file: BlockFile) -> AbstractContextManager[Path]:
        """Lends the file as a path on this host's disk; it stays there for as long."""
        ...

    def prefetch(self, files: Iterable[BlockFile]) -> None:
        """Asks for files that will be wanted soon, the first one first; returns at once."""
        ...


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
        """Lends the file where it lies."""
        return nullcontext(self.directory / file.name)

    def prefetch(self, files: Iterable[BlockFile]) -> None:
        """Does nothing: the files are here."""


class _OpenReader(NamedTuple):
    reader: ArrayRecordReader
    size: int
    lent: ExitStack


class Readers:
    """Open readers, the least recently used closed first; reopened after pickling.

    A reader has one position, so one thread reads at a time.
    """

    def __init__(self, files: BlockFiles):
        self.files = files
        self._open: OrderedDict[str, _OpenReader] = OrderedDict()
        self._most = _most_open()
        self._lock = threading.Lock()

    def read(self, file: BlockFile, records: Sequence[int]) -> list[bytes]:
        """Returns records of one file; cheapest in ascending order.

        Raises:
            DataError: ArrayRecord finds the file damaged, or a record's checksum another.
        """
        with self._lock:
            try:
                return _records(self._reader(file), records)
            except RuntimeError as error:
                raise DataError(
                    f"{self.files.address(file.name)} is damaged ({error}); restore it or tokenize "
                    "again."
                ) from error

    def _reader(self, file: BlockFile) -> ArrayRecordReader:
        if file.name not in self._open:
            size = self.files.size(file.name) or 0
            self._make_room(size)
            lent = ExitStack()
            path = lent.enter_context(self.files.pin(file))
            self._open[file.name] = _OpenReader(
                ArrayRecordReader(str(path), READER_OPTIONS), size, lent
            )
        self._open.move_to_end(file.name)
        return self._open[file.name].reader

    def _make_room(self, size: int) -> None:
        while self._open and (
            len(self._open) >= self._most
            or size + sum(one.size for one in self._open.values()) > self.files.open_bytes
        ):
            self._close_oldest()

    def _close_oldest(self) -> None:
        _, oldest = self._open.popitem(last=False)
        oldest.reader.close()
        oldest.lent.close()

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
    return OPEN_READERS if soft == resource.RLIM_INFINITY else min(OPEN_READERS, soft // 2)
