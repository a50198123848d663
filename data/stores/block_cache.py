"""A bounded cache of files on this host's disk, shared by all its processes.

    CACHE/<sha256>               a whole file; it gets its name only when its content is verified
    CACHE/<sha256>.<bytes>.tmp   one that is being fetched; it counts as what it will be
    CACHE/<sha256>.lock          locked by `flock`: shared while the file is lent, alone while it
                                 is fetched or evicted
    CACHE/cache.lock             locked while room is made, and while names change

All that lies there together is never larger than the limit, other processes' fetches included. To
make room, the files that were lent longest ago go first; a file that any process has borrowed
stays. The kernel takes back the locks of a process that dies, and what it left half fetched is
evicted like the rest. Locks hold within one host: give each host a directory of its own.
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

PATIENCE_SECONDS = 60  # for other processes of this host to give files back


class CacheFull(DataError):
    """Everything in the cache is lent; another process may give some of it back."""


class DamagedFile(Damaged):
    """What was fetched is not what was asked for."""


class Wanted(NamedTuple):
    """A file by its content.

    Attributes:
        sha256: its name in the cache.
        size: in bytes.
        address: where it comes from, for messages.
    """

    sha256: str
    size: int
    address: str


class BlockCache:
    """Files in one directory, `limit_bytes` of them at most."""

    def __init__(self, directory: Path, limit_bytes: int):
        self.directory = directory
        self.limit_bytes = limit_bytes
        directory.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def pin(self, wanted: Wanted, fetch: Callable[[Path], None]) -> Iterator[Path]:
        """Lends a file, fetched first if it is not there.

        Args:
            wanted: the file.
            fetch: writes it to a path; what it writes is verified.

        Raises:
            DamagedFile: what was fetched has another checksum.
            CacheFull: all that is there has been lent for too long, or the file is larger than
                the cache.
        """
        path = self.directory / wanted.sha256
        while True:
            with self._locked(f"{wanted.sha256}.lock", fcntl.LOCK_SH):
                if path.exists():
                    now = time.time_ns()  # the kernel's own clock stands still for 4 ms
                    os.utime(path, ns=(now, now))  # the order of eviction
                    yield path
                    return
            with self._locked(f"{wanted.sha256}.lock", fcntl.LOCK_EX):
                if not path.exists():
                    self._fetch(wanted, fetch)

    def _fetch(self, wanted: Wanted, fetch: Callable[[Path], None]) -> None:
        """Fetches a file whose lock is held alone."""
        temporary = self.directory / f"{wanted.sha256}.{wanted.size}.tmp"
        self._reserve(temporary, wanted)
        try:
            fetch(temporary)
            if (
                temporary.stat().st_size != wanted.size
                or digest_of_contents(temporary) != wanted.sha256
            ):
                raise DamagedFile(
                    f"{wanted.address} is not what the manifest says (size or checksum); "
                    "restore the file or tokenize again."
                )
            with self._locked("cache.lock", fcntl.LOCK_EX):
                temporary.replace(self.directory / wanted.sha256)
        except BaseException:
            with self._locked("cache.lock", fcntl.LOCK_EX):
                temporary.unlink(missing_ok=True)
            raise

    def _reserve(self, temporary: Path, wanted: Wanted) -> None:
        """Makes room for a file and takes it."""
        if wanted.size > self.limit_bytes:
            raise DataError(
                f"{wanted.address} has {wanted.size:,} bytes and the cache in {self.directory} may "
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
                self._make_room(wanted)
                temporary.touch()

    def _make_room(self, wanted: Wanted) -> None:
        files = [path for path in self.directory.iterdir() if path.suffix != ".lock"]
        room = self.limit_bytes - sum(map(_full_size, files))
        for path in sorted(files, key=lambda path: path.stat().st_mtime_ns):
            if room >= wanted.size:
                return
            size = _full_size(path)
            if self._evict(path):
                room += size
        if room < wanted.size:
            raise CacheFull(
                f"{wanted.address} needs {wanted.size:,} bytes and all but {max(room, 0):,} of the "
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
    """Returns the size of a file, or what it will have when it is fetched."""
    return int(path.name.split(".")[1]) if path.suffix == ".tmp" else path.stat().st_size
