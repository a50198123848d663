"""Places of files, on this machine or in an object store: named, read, listed and removed alike.

A path with a scheme (`s3://bucket/name`) is remote: it is read through fsspec, and a failed request
is retried (`stores`). Every other path is local. `pathlib` would make `s3:/bucket` of
`s3://bucket`. So what may lie on this machine or in a store is a `Place`: a `Path`, or an `Address`
with those of its operations that need no look at the store.

No file is memory-mapped: one cut short by another process would end this one by SIGBUS.

Temporary folders go with their process. Engines end workers with signals that leave no time to
remove anything. So each folder is locked by its process, the kernel drops the lock when that ends,
in whatever way, and the next process on this disk removes what is not locked. Locks hold across
containers, in which numbers of processes do not.
"""

import contextlib
import fcntl
import functools
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from data.errors import DataError
from data.files.stores import open_store, with_retries

if TYPE_CHECKING:
    import pyarrow as pa

PREFIX = "mswitch-scratch-"  # and the number of the process, for people
PIECE_BYTES = 1 << 20
STAMPS = ("generation", "ETag", "etag", "mtime", "LastModified", "last_modified", "created")
AHEAD_BYTES = 256 << 10  # read with every small request: a footer, the head of a batch


class Address(str):
    """An address such as `s3://bucket/runs/switch`."""

    __slots__ = ()

    def __truediv__(self, name: str) -> "Address":
        return Address(f"{self.rstrip('/')}/{name}")

    @property
    def name(self) -> str:
        """The last part."""
        return self.rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> "Address":
        """The address without its last part; a bucket's is the bucket itself."""
        above = self.rstrip("/").rpartition("/")[0]
        return self if above.endswith(":/") else Address(above)

    def with_name(self, name: str) -> "Address":
        """Returns the address with another last part."""
        return self.parent / name


Place = Path | Address


def place(text: str | Path) -> Place:
    """Returns where a path or an address leads."""
    if isinstance(text, Path) or "://" not in text:
        return Path(text)
    return Address(text.rstrip("/"))


def is_remote(path: str | Path) -> bool:
    """Returns whether the path is an address in an object store."""
    return "://" in str(path)


def absolute(path: str) -> str:
    """Returns the path as every process of this machine resolves it."""
    return path if is_remote(path) else os.path.abspath(path)


def join_path(directory: str | Path, *names: str) -> str:
    """Returns the path of something in the directory."""
    return "/".join((str(directory).rstrip("/"), *names))


def exists(path: str | Path) -> bool:
    """Returns whether there is such a file."""
    return size_of(path) is not None if is_remote(path) else Path(path).exists()


def size_of(path: str | Path) -> int | None:
    """Returns the size of a file in bytes; None if there is no such file."""
    if not is_remote(path):
        return Path(path).stat().st_size if Path(path).is_file() else None
    filesystem, root = open_store(str(path))
    entry = with_retries(_unless_missing(lambda: filesystem.info(root)), str(path))
    return entry["size"] if entry and entry["type"] == "file" else None


def is_directory(path: str | Path) -> bool:
    """Returns whether there is such a directory; in a store, anything below it."""
    return bool(names_in(path)) if is_remote(path) else Path(path).is_dir()


def instead_of_directory(path: str | Path) -> str:
    """Returns what a path is instead of a directory, in words."""
    return "is a file" if exists(path) else "does not exist"


def sizes_in(directory: str | Path) -> dict[str, int]:
    """Returns names and bytes of the files in a directory, sorted; empty if there is none."""
    if is_remote(directory):
        return {name: entry["size"] for name, entry in _entries(directory, "file").items()}
    files = (path for path in _children(directory) if path.is_file())
    return {file.name: file.stat().st_size for file in files}


def names_in(directory: str | Path) -> list[str]:
    """Returns the names of files and directories in a directory, sorted; empty if there is none."""
    if is_remote(directory):
        return [*_entries(directory, "file", "directory")]
    return [path.name for path in _children(directory)]


def directories_in(directory: str | Path) -> list[str]:
    """Returns the names of the directories in a directory, sorted; empty if there is none."""
    if is_remote(directory):
        return [*_entries(directory, "directory")]
    return [path.name for path in _children(directory) if path.is_dir()]


def _children(directory: str | Path) -> list[Path]:
    try:
        return sorted(Path(directory).iterdir())
    except (FileNotFoundError, NotADirectoryError):  # another process may have just removed it
        return []


def _entries(directory: str | Path, *kinds: str) -> dict[str, dict[str, Any]]:
    """Returns a store's entries of these kinds in a directory, by name."""
    filesystem, root = open_store(str(directory))
    action = _unless_missing(lambda: filesystem.ls(root, detail=True))
    entries = with_retries(action, str(directory)) or ()
    named = ((entry["name"].rstrip("/").rsplit("/", 1)[-1], entry) for entry in entries)
    return dict(sorted((name, entry) for name, entry in named if entry["type"] in kinds))


def _unless_missing(action: Callable[[], Any]) -> Callable[[], Any]:
    """Returns the action, made to return None where the store holds nothing under the path."""

    def quiet_action() -> Any:
        with contextlib.suppress(FileNotFoundError):
            return action()

    return quiet_action


class StoredFile(NamedTuple):
    """A file below a directory of a store.

    Attributes:
        path: address of the file.
        size: number of bytes.
        stamp: string that changes when the file is rewritten; "" if the store reports none.
    """

    path: str
    size: int
    stamp: str


def files_below(directory: str, pattern: str | None = None) -> Iterator[StoredFile]:
    """Yields every file below a directory of a store, by path; a file itself if it is one.

    Args:
        directory: address of the directory.
        pattern: what the user gave, for the message of an error; the directory if left out.
    """
    directory = directory.rstrip("/")
    filesystem, root = open_store(directory)
    # Not fsspec's glob: it skips directories that the store fails to list.
    entries = with_retries(lambda: filesystem.find(root, detail=True), pattern or directory)
    for name, entry in sorted(entries.items()):
        stamp = next((str(entry[key]) for key in STAMPS if entry.get(key)), "")
        yield StoredFile(directory + name.removeprefix(root), entry["size"], stamp)


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[Path]:
    """Yields the file as a local path; a downloaded copy is removed afterwards."""
    if not is_remote(path):
        yield Path(path)
        return
    with temporary_folder() as directory:
        copy = Path(directory, *path.rsplit("/", 2)[-2:])
        copy.parent.mkdir()
        with_retries(lambda: download(path, copy), path)
        yield copy


def download(path: str, to: Path) -> None:
    """Copies a file of a store to a local path, in one attempt."""
    filesystem, root = open_store(path)
    filesystem.get_file(root, str(to))


def open_file(path: str | Path) -> BufferedReader:
    """Opens a local file to read; others may have put a pipe or a device in its place.

    Raises:
        DataError: if it is neither a file nor a directory: a pipe waits, and a device has no end.
    """
    file = open(path, "rb", opener=lambda name, how: os.open(name, how | os.O_NONBLOCK))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise DataError(f"{path} should be a file and is a pipe or a device; name a file.")
    return file


def read_bytes(path: str | Path) -> bytes:
    """Returns the content of a file that fits into memory."""
    if not is_remote(path):
        with open_file(path) as file:
            return file.read()
    filesystem, root = open_store(str(path))
    return with_retries(lambda: filesystem.cat_file(root), str(path))


def read_at_most(path: str | Path, most_bytes: int) -> bytes | None:
    """Returns the content of a file; None if it is larger.

    No more than one byte beyond the limit is read, and nothing of a store's file that is larger.
    """
    if not is_remote(path):
        parts, left = [], most_bytes + 1
        with open_file(path) as file:  # in pieces, as all bytes that are asked for are reserved
            while part := file.read(min(left, PIECE_BYTES)):
                parts.append(part)
                left -= len(part)
        content = b"".join(parts)
    elif (size := size_of(path)) == 0:
        content = b""  # S3 answers 416 to a range of an empty object
    elif size is not None and size > most_bytes:
        return None
    else:
        filesystem, root = open_store(str(path))
        read = functools.partial(filesystem.cat_file, root, start=0, end=most_bytes + 1)
        content = with_retries(read, str(path))
    return content if len(content) <= most_bytes else None


def remove(path: str | Path) -> None:
    """Removes a file, or a directory with its content, if it exists.

    Raises:
        OSError: if something in it cannot be removed: another owner's, or a disk that fails.
    """
    if is_remote(path):
        filesystem, root = open_store(str(path))
        action = _unless_missing(lambda: filesystem.rm(root, recursive=True))
        with_retries(action, str(path), "removed")
        return
    if Path(path).is_dir():
        shutil.rmtree(os.path.realpath(path))
    Path(path).unlink(missing_ok=True)


@contextlib.contextmanager
def open_ranges(path: str) -> Iterator["pa.NativeFile"]:
    """Yields the file for random access."""
    import pyarrow as pa  # loaded where a file is read: it takes half a second

    if not is_remote(path):
        with pa.OSFile(path) as file:
            yield file
    else:
        source = io.BufferedReader(_RemoteFile(path), AHEAD_BYTES)
        with source, pa.PythonFile(source, mode="r") as file:
            yield file


class _RemoteFile(io.RawIOBase):
    """A file of a store; each read is one request for a byte range, retried if it fails."""

    def __init__(self, path: str):
        self._filesystem, self._root = open_store(path)
        self._path, self._at = path, 0
        self._size = with_retries(lambda: self._filesystem.info(self._root), path)["size"]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        first, end = self._at, min(self._at + len(buffer), self._size)
        if first >= end:
            return 0
        read = functools.partial(self._filesystem.cat_file, self._root, start=first, end=end)
        content = with_retries(read, self._path)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yields a new folder on this machine's disk for temporary files, removed afterwards."""
    root = tempfile.gettempdir()
    _remove_left_over(root)
    with (
        tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", dir=root) as folder,
        _open_folder(folder) as descriptor,
    ):
        with contextlib.suppress(OSError):  # a disk without locks: no process removes another's
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield Path(folder)


@functools.cache  # once per process
def _remove_left_over(root: str) -> None:
    """Removes folders whose processes have ended."""
    for folder in Path(root).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), _open_folder(folder) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if any(folder.iterdir()):  # an empty one may be new, and not locked yet
                shutil.rmtree(folder)


@contextlib.contextmanager
def _open_folder(folder: str | Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
