"""Token blocks on an object store (s3://, gs://, ...), copied to this host's disk ahead of use.

ArrayRecord reads local files only. So a block is staged whole and verified by the manifest's
checksum, into a cache of bounded size (`block_cache`), from any store that fsspec knows;
credentials are fsspec's affair. A transfer that fails or arrives damaged is tried again with
growing waits. Which blocks a host needs follows from the schedule, so the loader asks for them long
before it reads (`StagedFiles.stage`).

The manifest and the vocabulary are copied anew each time: they are small, and say what everything
else should be.
"""

import hashlib
import queue
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec

from data.errors import DataError
from data.stores.block_cache import BlockCache, Wanted
from data.stores.retry import persist
from data.tokens.block_files import BlockFile

TRANSFERS = 4  # at a time


@dataclass(frozen=True)
class Store:
    """One directory on an object store, by an address such as `s3://bucket/tokens`."""

    address: str

    def list(self) -> dict[str, int]:
        """Returns the size in bytes of every file in the directory, by its name within.

        Raises:
            DataError: it cannot be had.
        """
        filesystem, root = self._place
        found = persist(lambda: filesystem.find(root, detail=True), self.address)
        return {name[len(root) + 1 :]: entry["size"] for name, entry in found.items()}

    def read(self, name: str) -> bytes:
        """Returns a small file.

        Raises:
            DataError: it cannot be had.
        """
        filesystem, root = self._place
        return persist(lambda: filesystem.cat_file(f"{root}/{name}"), f"{self.address}/{name}")

    def fetch(self, name: str, path: Path) -> None:
        """Copies a file, in one attempt."""
        filesystem, root = self._place
        filesystem.get_file(f"{root}/{name}", str(path))

    @cached_property
    def _place(self) -> tuple[Any, str]:
        try:
            return fsspec.core.url_to_fs(self.address)
        except (ImportError, ValueError) as error:
            raise DataError(
                f"{self.address} cannot be reached ({error}); s3:// needs mswitch[s3] and gs:// "
                "mswitch[gcs]; or copy the directory to this host."
            ) from error


class StagedFiles:
    """Files of a store, lent through the cache; see `block_files.BlockFiles`."""

    staged = True

    def __init__(self, store: Store, cache: BlockCache):
        self.store = store
        self.cache = cache
        self.open_bytes = cache.limit_bytes / 8  # what one process may keep from being evicted
        self._ahead: _Ahead | None = None

    def address(self, name: str) -> str:
        """Returns the file's address."""
        return f"{self.store.address}/{name}"

    def size(self, name: str) -> int | None:
        """Returns the file's size in bytes, None if there is none."""
        return self._sizes.get(name)

    @contextmanager
    def pin(self, file: BlockFile) -> Iterator[Path]:
        """Lends the file, staged first if it is not on this host's disk.

        Raises:
            DataError: it cannot be had, or is not what the manifest says.
        """
        address, size = self.address(file.name), self.size(file.name)
        if size is None:
            raise DataError(f"Token blocks should hold {address}, which is missing.")
        wanted = Wanted(file.sha256, size, address)
        with ExitStack() as stack:
            yield persist(lambda: stack.enter_context(self._borrow(wanted, file)), address)

    def prefetch(self, files: Iterable[BlockFile]) -> None:
        """Has files staged by threads of their own; what is already asked for is asked once."""
        if self._ahead is None:
            self._ahead = _Ahead(self, self.cache.limit_bytes / 2)
        for file in files:
            self._ahead.ask(file, self.size(file.name) or 0)

    def _borrow(self, wanted: Wanted, file: BlockFile) -> AbstractContextManager[Path]:
        return self.cache.pin(wanted, lambda path: self.store.fetch(file.name, path))

    @cached_property
    def _sizes(self) -> dict[str, int]:
        return self.store.list()

    def __getstate__(self) -> dict[str, Any]:  # a worker process has threads of its own
        return self.__dict__ | {"_ahead": None}


class _Ahead:
    """Threads that stage what they are asked for, and forget it after some bytes of others.

    They are daemons: nothing waits for them when a run ends, and a transfer cut short is evicted.
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
            with suppress(DataError), files.pin(file):  # the reader will meet it, and say so
                pass


def open_directory(
    address: str, names: Sequence[str], cache: Path, limit_bytes: int
) -> tuple[Path, StagedFiles]:
    """Returns a directory of this host with copies of small files, and the way to all others.

    Args:
        address: of an artifact on a store.
        names: files to copy.
        cache: directory that the processes of this host share.
        limit_bytes: of blocks in the cache.

    Raises:
        DataError: a file cannot be had.
    """
    store = Store(address.rstrip("/"))
    directory = cache / "artifacts" / hashlib.sha256(store.address.encode()).hexdigest()[:16]
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        temporary = directory / f"{name}.{threading.get_native_id()}.tmp"
        temporary.write_bytes(store.read(name))
        temporary.replace(directory / name)
    return directory, StagedFiles(store, BlockCache(cache / "blocks", limit_bytes))
