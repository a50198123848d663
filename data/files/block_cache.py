"""A bounded cache of files on this host's disk, shared by all its processes.

    CACHE/<sha256>               a complete file, named after its content was verified
    CACHE/<sha256>.<bytes>.tmp   a download in progress; it counts with its final size
    CACHE/<sha256>.lock          `flock`: shared while the file is pinned, exclusive while it is
                                 downloaded or evicted
    CACHE/cache.lock             `flock`: exclusive while files are evicted or renamed

The directory never exceeds the limit, downloads of other processes included. The least recently
pinned files are evicted first; a file that any process has pinned stays. The kernel releases the
locks of a process that dies, and its partial downloads are evicted like other files. Locks hold
within one host, so each host needs a directory of its own.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from data.errors import DataError
from data.files.digests import digest_of_contents
from data.files.stores import Damaged

PATIENCE_SECONDS = 60  # to wait until other processes of this host unpin files


class CacheFull(DataError):
    """Every file in the cache is pinned; another process may unpin some."""


class DamagedFile(Damaged):
    """A download whose size or checksum differs from the manifest's."""


class CachedFile(NamedTuple):
    """A file by its content.

    Attributes:
        sha256: checksum, which is the file's name in the cache.
        size: number of bytes.
        address: path in the store, for messages.
    """

    sha256: str
    size: int
    address: str


class BlockCache:
    """Files in one directory, `limit_bytes` in all at most."""

    def __init__(self, directory: Path, limit_bytes: int):
        self.directory = directory
        self.limit_bytes = limit_bytes
        directory.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def pin(self, file: CachedFile, fetch: Callable[[Path], None]) -> Iterator[Path]:
        """Pins a file, downloaded first if it is absent; it is not evicted within the block.

        Args:
            file: the file.
            fetch: function that downloads the file to a path; the result is verified.

        Raises:
            DamagedFile: if the download differs in size or checksum.
            CacheFull: if every other file stays pinned for `PATIENCE_SECONDS`.
            DataError: if the file is larger than the cache.
        """
        path = self.directory / file.sha256
        while True:
            with self._locked(f"{file.sha256}.lock", fcntl.LOCK_SH):
                if path.exists():
                    now = time.time_ns()  # the kernel's own file clock advances in steps of 4 ms
                    os.utime(path, ns=(now, now))  # the order of eviction
                    yield path
                    return
            with self._locked(f"{file.sha256}.lock", fcntl.LOCK_EX):
                if not path.exists():
                    self._fetch(file, fetch)

    def _fetch(self, file: CachedFile, fetch: Callable[[Path], None]) -> None:
        """Downloads a file whose lock is held exclusively."""
        temporary = self.directory / f"{file.sha256}.{file.size}.tmp"
        self._reserve(temporary, file)
        try:
            fetch(temporary)
            if (
                temporary.stat().st_size != file.size
                or digest_of_contents(temporary) != file.sha256
            ):
                raise DamagedFile(
                    f"{file.address} differs from the manifest (size or checksum); "
                    "restore the file or tokenize again."
                )
            with self._locked("cache.lock", fcntl.LOCK_EX):
                temporary.replace(self.directory / file.sha256)
        except BaseException:
            with self._locked("cache.lock", fcntl.LOCK_EX):
                temporary.unlink(missing_ok=True)
            raise

    def _reserve(self, temporary: Path, file: CachedFile) -> None:
        """Reserves room for a file, evicting others."""
        if file.size > self.limit_bytes:
            raise DataError(
                f"{file.address} has {file.size:,} bytes and the cache in {self.directory} may "
                f"hold {self.limit_bytes:,}; give it more room (--cache.gigabytes)."
            )
        for attempt in Retrying(
            retry=retry_if_exception_type(CacheFull),
            stop=stop_after_delay(PATIENCE_SECONDS),
            wait=wait_fixed(0.5),
            reraise=True,
        ):
            with attempt, self._locked("cache.lock", fcntl.LOCK_EX):
                temporary.unlink(missing_ok=True)  # of a process that died
                self._make_room(file)
                temporary.touch()

    def _make_room(self, file: CachedFile) -> None:
        files = [path for path in self.directory.iterdir() if path.suffix != ".lock"]
        room = self.limit_bytes - sum(map(_full_size, files))
        for path in sorted(files, key=lambda path: path.stat().st_mtime_ns):
            if room >= file.size:
                return
            size = _full_size(path)
            if self._evict(path):
                room += size
        if room < file.size:
            raise CacheFull(
                f"{file.address} needs {file.size:,} bytes and all but {max(room, 0):,} of the "
                f"{self.limit_bytes:,} in {self.directory} are in use; give it more room "
                "(--cache.gigabytes) or start fewer processes."
            )

    def _evict(self, path: Path) -> bool:
        try:
            with self._locked(f"{path.name.split('.')[0]}.lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
                path.unlink()
                return True
        except BlockingIOError:  # pinned, or being downloaded
            return False

    @contextmanager
    def _locked(self, name: str, how: int) -> Iterator[None]:
        with (self.directory / name).open("a+b") as file:
            fcntl.flock(file, how)
            yield


def _full_size(path: Path) -> int:
    """Returns the size of a file; of a download in progress, its final size."""
    return int(path.name.split(".")[1]) if path.suffix == ".tmp" else path.stat().st_size
