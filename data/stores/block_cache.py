"""A bounded cache of files on this host's disk, shared by all its processes.

    CACHE/<sha256>               a whole file; renamed to this only after its content is verified
    CACHE/<sha256>.<bytes>.tmp   a file that is being fetched; it counts with its final size
    CACHE/<sha256>.lock          locked by `flock`: shared while the file is lent, exclusive while
                                 it is fetched or evicted
    CACHE/cache.lock             locked while files are evicted or renamed

The total size never exceeds the limit, including fetches of other processes. The least recently
lent files are evicted first; a file that any process has borrowed is not evicted. The kernel
releases the locks of a process that dies, and its partial fetches are evicted like other files.
Locks hold within one host: give each host a directory of its own.
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
from data.stores.digests import digest_of_contents
from data.stores.retry import Damaged

PATIENCE_SECONDS = 60  # for other processes of this host to return files


class CacheFull(DataError):
    """Everything in the cache is lent; another process may return some of it."""


class DamagedFile(Damaged):
    """The fetched content differs from the manifest's checksum."""


class SourceFile(NamedTuple):
    """A file identified by its content.

    Attributes:
        sha256: digest of its content, its name in the cache.
        size: size in bytes.
        address: its source, for messages.
    """

    sha256: str
    size: int
    address: str


class BlockCache:
    """A directory of files, with at most `limit_bytes` in total."""

    def __init__(self, directory: Path, limit_bytes: int):
        self.directory = directory
        self.limit_bytes = limit_bytes
        directory.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def pin(self, source: SourceFile, fetch: Callable[[Path], None]) -> Iterator[Path]:
        """Lends a file, which is fetched first if it is absent.

        Args:
            source: the file.
            fetch: writes the file to a path; its content is verified.

        Raises:
            DamagedFile: if the fetched content has another checksum.
            CacheFull: if all files stay lent for too long, or the file is larger than the cache.
        """
        path = self.directory / source.sha256
        while True:
            with self._locked(f"{source.sha256}.lock", fcntl.LOCK_SH):
                if path.exists():
                    now = time.time_ns()  # the kernel's own clock stands still for 4 ms
                    os.utime(path, ns=(now, now))  # the order of eviction
                    yield path
                    return
            with self._locked(f"{source.sha256}.lock", fcntl.LOCK_EX):
                if not path.exists():
                    self._fetch(source, fetch)

    def _fetch(self, source: SourceFile, fetch: Callable[[Path], None]) -> None:
        """Fetches a file whose exclusive lock is held."""
        temporary = self.directory / f"{source.sha256}.{source.size}.tmp"
        self._reserve(temporary, source)
        try:
            fetch(temporary)
            if (
                temporary.stat().st_size != source.size
                or digest_of_contents(temporary) != source.sha256
            ):
                raise DamagedFile(
                    f"{source.address} differs from the manifest (size or checksum); "
                    "restore the file or tokenize again."
                )
            with self._locked("cache.lock", fcntl.LOCK_EX):
                temporary.replace(self.directory / source.sha256)
        except BaseException:
            with self._locked("cache.lock", fcntl.LOCK_EX):
                temporary.unlink(missing_ok=True)
            raise

    def _reserve(self, temporary: Path, source: SourceFile) -> None:
        """Reserves room for a file, evicting others."""
        if source.size > self.limit_bytes:
            raise DataError(
                f"{source.address} has {source.size:,} bytes and the cache in {self.directory} may "
                f"hold {self.limit_bytes:,}; give it more room (--cache.gigabytes)."
            )
        for attempt in Retrying(
            retry=retry_if_exception_type(CacheFull),
            stop=stop_after_delay(PATIENCE_SECONDS),
            wait=wait_fixed(0.5),
            reraise=True,
        ):
            with attempt, self._locked("cache.lock", fcntl.LOCK_EX):
                temporary.unlink(missing_ok=True)  # left by a process that died
                self._make_room(source)
                temporary.touch()

    def _make_room(self, source: SourceFile) -> None:
        files = [path for path in self.directory.iterdir() if path.suffix != ".lock"]
        room = self.limit_bytes - sum(map(_full_size, files))
        for path in sorted(files, key=lambda path: path.stat().st_mtime_ns):
            if room >= source.size:
                return
            size = _full_size(path)
            if self._evict(path):
                room += size
        if room < source.size:
            raise CacheFull(
                f"{source.address} needs {source.size:,} bytes and all but {max(room, 0):,} of the "
                f"{self.limit_bytes:,} in {self.directory} are in use; give it more room "
                "(--cache.gigabytes) or start fewer processes."
            )

    def _evict(self, path: Path) -> bool:
        try:
            with self._locked(f"{path.name.split('.')[0]}.lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
                path.unlink()
                return True
        except BlockingIOError:  # lent, or being fetched
            return False

    @contextmanager
    def _locked(self, name: str, how: int) -> Iterator[None]:
        with (self.directory / name).open("ab") as file:
            fcntl.flock(file, how)
            yield


def _full_size(path: Path) -> int:
    """Returns the size of a file, final or expected."""
    return int(path.name.split(".")[1]) if path.suffix == ".tmp" else path.stat().st_size
