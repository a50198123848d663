"""Folders for what a worker spills, downloads or has not uploaded yet; they go with the process.

Engines end workers with signals that leave no time to remove anything. So each folder is locked by
its process, the kernel drops the lock when that ends, in whatever way, and the next process on this
disk removes what is not locked. Locks hold across containers, in which numbers of processes do not.
"""

import contextlib
import fcntl
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "mswitch-scratch-"  # and the number of the process, for people


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yields a new folder on this machine's disk for temporary files, removed afterwards."""
    root = tempfile.gettempdir()
    _remove_left_over(root)
    with (
        tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", dir=root) as folder,
        _opened(folder) as descriptor,
    ):
        with contextlib.suppress(OSError):  # a disk without locks: no process removes another's
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield Path(folder)


@functools.cache  # once per process
def _remove_left_over(root: str) -> None:
    """Removes folders whose processes have ended."""
    for folder in Path(root).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), _opened(folder) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if any(folder.iterdir()):  # an empty one may be new, and not locked yet
                shutil.rmtree(folder)


@contextlib.contextmanager
def _opened(folder: str | Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
