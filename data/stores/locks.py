"""One command per output directory: a lock for its whole life, on a shared disk or in a store.

    DIRECTORY/lock/00000003.json         the entry of the holder (`fences`)
    DIRECTORY/lock/00000003.OWNER.beat   a counter that the holder's thread renews

The one operation that this needs is to create a file unless it exists: `O_EXCL` here and on NFS,
`If-None-Match: *` on S3, `ifGenerationMatch=0` on Google. A holder whose process has ended on this
host is replaced at once. A holder elsewhere is observed: it lives if its counter changes, and it
is replaced if the counter stays the same for a minute on this process's monotonic clock (`leases`).
No two clocks are compared, so none can break a lock by jumping. docs/decisions/output-lock.md.
"""

import errno
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data.errors import DataError
from data.stores import fences, leases
from data.stores.atomic import create, remove_unfinished
from data.stores.fences import Fence, Holder, drop_fence, entry_path, raise_fences, read_holder
from data.stores.files import absolute, is_remote, join_path, names_in, remove
from data.stores.leases import beat_path, beating, shows_life
from data.stores.processes import has_ended, this_process

RACES = 100  # lost to other processes, each of which ended at once
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)

_owners: set[str] = set()  # of this process's acquisitions that are not released


class LockHeld(DataError):
    """Another command works on the directory."""


@contextmanager
def locked(directory: str | Path, stage: str, notify: Callable[[str], None]) -> Iterator[None]:
    """Holds the lock on a directory.

    A directory that this process may not write needs no lock. A path that is not a directory and
    cannot become one is left to the command's own refusal.

    Args:
        directory: output directory, local or remote.
        stage: name of the command, for messages.
        notify: called with a sentence if the lock of another host is observed.

    Raises:
        LockHeld: if another command holds it.
    """
    where = absolute(str(directory)).rstrip("/")
    made = _make(where)
    if not is_remote(where) and not Path(where).is_dir():
        yield
        return
    holder = Holder(stage, this_process(), uuid.uuid4().hex)
    _owners.add(holder.owner)
    try:
        with _held(where, holder, notify):
            yield
    finally:
        _owners.discard(holder.owner)
        if made:
            with suppress(OSError):  # it holds the output
                Path(where).rmdir()


def check_unlocked(directory: str | Path, notify: Callable[[str], None]) -> None:
    """Checks that no other command holds the lock on a directory; takes and writes nothing.

    Raises:
        LockHeld: if one does.
    """
    where = absolute(str(directory)).rstrip("/")
    for number in fences.numbers(where)[-1:]:
        if (holder := read_holder(where, number)) is not None:
            _check_over(where, number, holder, notify)


@contextmanager
def _held(directory: str, holder: Holder, notify: Callable[[str], None]) -> Iterator[None]:
    try:
        fence = _acquire(directory, holder, notify)
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        yield
        return
    raise_fences([fence])
    try:
        with beating(fence):
            remove_unfinished(directory)
            yield
    finally:
        drop_fence(fence)
        _release(fence)


def _make(directory: str) -> bool:
    """Makes a local directory; returns whether it did."""
    if is_remote(directory):
        return False
    with suppress(OSError):  # the entry cannot be written either
        Path(directory).mkdir(parents=True)
        return True
    return False


def _acquire(directory: str, holder: Holder, notify: Callable[[str], None]) -> Fence:
    for _ in range(RACES):
        there = fences.numbers(directory)
        before = read_holder(directory, there[-1]) if there else None
        if there and before is None:
            continue  # released between the two looks
        if before is not None:
            _check_over(directory, there[-1], before, notify)
        fence = Fence(directory, max(there, default=0) + 1, holder.owner)
        _create(fence, holder)
        if _is_alone(fence, before, notify):
            _forget(directory, lambda number, at=fence.number: number < at)
            return fence
        _release(fence)
    raise LockHeld(f"{directory} could not be locked, because many commands tried; try again.")


def _create(fence: Fence, holder: Holder) -> None:
    path = entry_path(fence.directory, fence.number)
    with suppress(FileNotFoundError):  # a release has just removed the folder
        if not is_remote(path):
            Path(path).parent.mkdir(exist_ok=True)
        create(path, json.dumps(holder, ensure_ascii=False).encode())


def _is_alone(fence: Fence, before: Holder | None, notify: Callable[[str], None]) -> bool:
    """Returns whether a new entry holds the lock: no entry is greater, and none below is alive.

    One below is another than `before` if two commands took and released the lock meanwhile.

    Raises:
        LockHeld: if a holder below lives.
    """
    if not fences.is_held(fence):
        return False
    try:
        for number in fences.numbers(fence.directory):
            holder = read_holder(fence.directory, number)
            if number < fence.number and holder not in (None, before):
                _check_over(fence.directory, number, holder, notify)
    except LockHeld:
        _release(fence)
        raise
    return True


def _check_over(directory: str, number: int, holder: Holder, notify: Callable[[str], None]) -> None:
    """Checks that the holder of an entry has ended.

    Raises:
        LockHeld: if it lives.
    """
    if _is_left_over(holder):
        return
    ended = has_ended(holder.process)
    if ended is None:
        notify(
            f"{directory} is locked by {holder}; its lock is taken over unless it shows a sign of "
            f"life within {leases.LEASE_SECONDS:.0f} s."
        )
        ended = not shows_life(directory, number, holder.owner)
    if not ended:
        raise LockHeld(
            f"{directory} is in use by {holder}; wait until it ends, or end it, and run the same "
            "command again."
        )


def _is_left_over(holder: Holder) -> bool:
    """Returns whether an entry is this process's own, which a failing store did not remove."""
    return holder.process == this_process() and holder.owner not in _owners


def _release(fence: Fence) -> None:
    """Removes the lock's files, unless another process has taken it."""
    with suppress(OSError, DataError):  # the next command finds that this process has ended
        remove(beat_path(fence.directory, fence.number, fence.owner))
        holder = read_holder(fence.directory, fence.number)
        if holder is not None and holder.owner == fence.owner:
            remove(entry_path(fence.directory, fence.number))
        if not is_remote(fence.directory):
            Path(fence.directory, fences.FOLDER).rmdir()  # fails if another process is in it


def _forget(directory: str, over: Callable[[int], bool]) -> None:
    """Removes the files of entries that are over."""
    folder = join_path(directory, fences.FOLDER)
    for name in names_in(folder):
        number = name.split(".")[0]  # "" where NFS has renamed a file that is still open
        if number.isdecimal() and over(int(number)):
            remove(join_path(folder, name))
