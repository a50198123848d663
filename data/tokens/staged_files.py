"""Token blocks of an object store (s3://, gs://, ...), downloaded to this host ahead of their use.

ArrayRecord reads local files only. So a block is downloaded whole, and verified by the manifest's
checksum, into a cache of bounded size (`block_cache`). A transfer that fails or arrives damaged is
retried with growing waits. The schedule determines which blocks each host needs, so the loader
requests them long before it reads (`StagedFiles.prefetch`).

The manifest and the vocabulary are downloaded each time: they are small, and every other file is
verified against them.
"""

import queue
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from data.errors import DataError
from data.stores.atomic import atomic_write
from data.stores.block_cache import BlockCache, CachedFile
from data.stores.digests import digest_of_bytes
from data.stores.files import download, files_below, join_path, read_bytes
from data.stores.retry import with_retries
from data.tokens.block_files import BlockFile

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
        address, size = self.address(file.name), self.size(file.name)
        if size is None:
            raise DataError(
                f"Token blocks should hold {address}, which is missing; tokenize again."
            )
        cached = CachedFile(file.sha256, size, address)
        with ExitStack() as stack:
            yield with_retries(lambda: stack.enter_context(self._borrow(cached)), address)

    def prefetch(self, files: Iterable[BlockFile]) -> None:
        """Downloads files in background threads; a file that is already requested is skipped."""
        if self._ahead is None:
            self._ahead = _Ahead(self, self.cache.limit_bytes / 2)
        for file in files:
            self._ahead.ask(file, self.size(file.name) or 0)

    def _borrow(self, cached: CachedFile) -> AbstractContextManager[Path]:
        return self.cache.pin(cached, lambda path: download(cached.address, path))

    @cached_property
    def _sizes(self) -> dict[str, int]:
        found = files_below(self.directory)
        return {file.path[len(self.directory) + 1 :]: file.size for file in found}

    def __getstate__(self) -> dict[str, Any]:  # a worker process has threads of its own
        return self.__dict__ | {"_ahead": None}


class _Ahead:
    """Threads that download requested files; a request is forgotten after enough bytes of others.

    They are daemons: nothing waits for them when a run ends, and a partial download is evicted.
    """

    def __init__(self, files: StagedFiles, memory_bytes: float):
        self._memory_bytes = memory_bytes
        self._asked: OrderedDict[str, int] = OrderedDict()
        self._queue: queue.SimpleQueue[BlockFile] = queue.SimpleQueue()
        for _ in range(TRANSFERS):
            threading.Thread(target=self._work, args=(files,), daemon=True).start()

    def ask(self, file: BlockFile, size: int) -> None:
        if file.name in self._asked:
            return
        self._asked[file.name] = size
        while sum(self._asked.values()) > self._memory_bytes:
            self._asked.popitem(last=False)
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
