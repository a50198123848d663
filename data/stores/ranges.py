"""Files of which parts are read: here by `pread`, from a store by byte ranges.

None is memory-mapped: a file cut short by another process would end this one by SIGBUS.
"""

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from data.stores.files import is_remote
from data.stores.object_stores import open_store
from data.stores.retry import with_retries

AHEAD_BYTES = 256 << 10  # read with every small request: a footer, the head of a batch


@contextlib.contextmanager
def open_ranges(path: str) -> Iterator[pa.NativeFile]:
    """Yields the file for random access."""
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
        content = with_retries(
            lambda: self._filesystem.cat_file(self._root, start=first, end=end), self._path
        )
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)
