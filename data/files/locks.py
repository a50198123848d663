"""One command per output directory: a lock for its whole life, on a shared disk or in a store.

    DIRECTORY/lock/00000003.json         the entry of the holder
    DIRECTORY/lock/00000003.OWNER.beat   a counter that the holder's thread renews

Each acquisition creates the entry with the next number, and the greatest number holds the lock. The
one operation that this needs is to create a file unless it exists: `O_EXCL` here and on NFS,
`If-None-Match: *` on S3, `ifGenerationMatch=0` on Google. A holder whose process has ended on this
host is replaced at once. A holder elsewhere is observed: it lives if its counter changes, and it
is replaced if the counter stays the same for a minute on this process's monotonic clock. No two
clocks are compared, so none can break a lock by jumping.

A holder is known by its process: host, number and start. Numbers of processes are reused, so the
start is part of the identity, in clock ticks since the machine started: the wall clock may jump,
and psutil's start times follow it. Numbers are unique within one process namespace of one start of
one machine (`machine`), and containers of one machine may share a host name.

A holder that was paused while another took the lock finds a greater number, or an entry of another
owner (`check_held`). It looks before what others rely on: a manifest, the commit of a checkpoint,
the upload of a log, a deletion. docs/decisions/output-lock.md.
"""

import errno
import itertools
import json
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from data.errors import DataError
from data.files.atomic import create, put, remove_unfinished
from data.files.paths import absolute, is_remote, join_path, names_in, read_bytes, remove

ENDED_STATES = "ZXx"  # a zombie has ended, although its number is not free yet
FOLDER = "lock"
ENTRY = ".json"
RENEWAL_SECONDS = 10.0
LEASE_SECONDS = 60.0  # six renewals; a store may be away for half a minute (`retry`)
LOOK_SECONDS = 0.5
RACES = 100  # lost to other processes, each of which ended at once
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class ProcessIdentity(NamedTuple):
    """A process of this machine or of another.

    Attributes:
        host: name of the host, for people.
        machine: start of the machine and process namespace; "" if unknown.
        number: number of the process.
        started: clock ticks from the machine's start to the start of the process.
    """

    host: str
    machine: str
    number: int
    started: int


class Lock(NamedTuple):
    """A held lock.

    Attributes:
        directory: locked directory, absolute or an address.
        number: number of its entry.
        owner: unique name of this acquisition, because numbers begin again after a release.
    """

    directory: str
    number: int
    owner: str


class Holder(NamedTuple):
    """Content of an entry.

    Attributes:
        stage: command that holds the lock.
        process: process that runs it.
        owner: unique name of the acquisition.
    """

    stage: str
    process: ProcessIdentity
    owner: str

    def __str__(self) -> str:
        number = self.process.number or "unknown"
        return f"{self.stage}, process {number} on {self.process.host}"


UNREADABLE = Holder("a command", ProcessIdentity("an unknown host", "", 0, 0), "")


class LockHeld(DataError):
    """Another command works on the directory."""


class LockLost(DataError):
    """Another process has taken the lock of this one."""


_locks: dict[str, Lock] = {}  # of this process, by directory
_owners: set[str] = set()  # of this process's acquisitions that are not released


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
    where, is_new = absolute(str(directory)).rstrip("/"), False
    if not is_remote(where):
        with suppress(OSError):  # the entry cannot be written either
            Path(where).mkdir(parents=True)
            is_new = True
        if not Path(where).is_dir():
            yield
            return
    holder = Holder(stage, this_process(), uuid.uuid4().hex)
    _owners.add(holder.owner)
    try:
        with _hold(where, holder, notify):
            yield
    finally:
        _owners.discard(holder.owner)
        if is_new:
            with suppress(OSError):  # it holds the output
                Path(where).rmdir()


def check_unlocked(directory: str | Path, notify: Callable[[str], None]) -> None:
    """Checks that no other command holds the lock on a directory; takes and writes nothing.

    Raises:
        LockHeld: if one does.
    """
    where = absolute(str(directory)).rstrip("/")
    number, holder = _last_entry(where)
    if holder is not None:
        _check_over(where, number, holder, notify)


def check_held(path: str | Path) -> None:
    """Checks that this process still holds the lock on the directory of a path, if it had one.

    Raises:
        LockLost: if another process has it.
    """
    where = absolute(str(path))
    for lock in tuple(_locks.values()):
        if f"{where}/".startswith(f"{lock.directory}/") and not _is_held(lock):
            _, holder = _last_entry(lock.directory)
            raise LockLost(
                f"{where} was not written, because the lock on {lock.directory} has passed to "
                f"{holder or 'nobody (its entry was removed)'}, while this process showed no sign "
                "of life; wait until that command ends, or end it, and run the same command again."
            )


@contextmanager
def _hold(directory: str, holder: Holder, notify: Callable[[str], None]) -> Iterator[None]:
    try:
        lock = _acquire(directory, holder, notify)
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        yield
        return
    _locks[lock.directory] = lock
    try:
        with _beating(lock):
            remove_unfinished(directory)
            yield
    finally:
        del _locks[lock.directory]
        _release(lock)


def _acquire(directory: str, holder: Holder, notify: Callable[[str], None]) -> Lock:
    for _ in range(RACES):
        number, before = _last_entry(directory)
        if number and before is None:
            continue  # released between the two looks
        if before is not None:
            _check_over(directory, number, before, notify)
        lock = Lock(directory, number + 1, holder.owner)
        _create(lock, holder)
        if _is_alone(lock, before, notify):
            _forget_below(lock)
            return lock
        _release(lock)
    raise LockHeld(f"{directory} could not be locked, because many commands tried; try again.")


def _create(lock: Lock, holder: Holder) -> None:
    path = entry_path(lock.directory, lock.number)
    with suppress(FileNotFoundError):  # a release has just removed the folder
        if not is_remote(path):
            Path(path).parent.mkdir(exist_ok=True)
        create(path, json.dumps(holder, ensure_ascii=False).encode())


def _is_alone(lock: Lock, before: Holder | None, notify: Callable[[str], None]) -> bool:
    """Returns whether a new entry holds the lock: no entry is greater, and none below is alive.

    One below is another than `before` if two commands took and released the lock meanwhile.

    Raises:
        LockHeld: if a holder below lives.
    """
    if not _is_held(lock):
        return False
    try:
        for number in _numbers(lock.directory):
            holder = _read_holder(lock.directory, number)
            if number < lock.number and holder not in (None, before):
                _check_over(lock.directory, number, holder, notify)
    except LockHeld:
        _release(lock)
        raise
    return True


def _is_held(lock: Lock) -> bool:
    """Returns whether no other process has taken the lock."""
    number, holder = _last_entry(lock.directory)
    return number == lock.number and holder is not None and holder.owner == lock.owner


def _check_over(directory: str, number: int, holder: Holder, notify: Callable[[str], None]) -> None:
    """Checks that the holder of an entry has ended.

    Raises:
        LockHeld: if it lives.
    """
    if holder.process == this_process() and holder.owner not in _owners:
        return  # this process's own, which a failing store did not remove
    ended = has_ended(holder.process)
    if ended is None:
        notify(
            f"{directory} is locked by {holder}; its lock is taken over unless it shows a sign of "
            f"life within {LEASE_SECONDS:.0f} s."
        )
        ended = not _shows_life(directory, number, holder.owner)
    if not ended:
        raise LockHeld(
            f"{directory} is in use by {holder}; wait until it ends, or end it, and run the same "
            "command again."
        )


def _shows_life(directory: str, number: int, owner: str) -> bool:
    """Returns whether a holder elsewhere renews its lock; False once the lock is released."""

    def look() -> tuple[Holder | None, bytes]:
        holder, counter = _read_holder(directory, number), b""
        with suppress(DataError, OSError):
            counter = read_bytes(_beat_path(directory, number, holder.owner if holder else owner))
        return holder, counter

    before = look()
    until_change = Retrying(
        retry=retry_if_result(lambda state: state == before),
        stop=stop_after_delay(LEASE_SECONDS),
        wait=wait_fixed(LOOK_SECONDS),
    )
    try:
        holder, _ = until_change(look)
    except RetryError:
        return False
    return holder is not None


@contextmanager
def _beating(lock: Lock) -> Iterator[None]:
    """Renews a lock in a thread within the block."""
    stop = threading.Event()
    thread = threading.Thread(target=_beat, args=(lock, stop), name="lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(RENEWAL_SECONDS)


def _beat(lock: Lock, stop: threading.Event) -> None:
    for count in itertools.count():
        with suppress(Exception):  # the next may succeed
            put(_beat_path(*lock), str(count).encode())
        if stop.wait(RENEWAL_SECONDS):
            return


def _release(lock: Lock) -> None:
    """Removes the lock's files, unless another process has taken it."""
    with suppress(OSError, DataError):  # the next command finds that this process has ended
        remove(_beat_path(*lock))
        holder = _read_holder(lock.directory, lock.number)
        if holder is not None and holder.owner == lock.owner:
            remove(entry_path(lock.directory, lock.number))
        if not is_remote(lock.directory):
            Path(lock.directory, FOLDER).rmdir()  # fails if another process is in it


def _forget_below(lock: Lock) -> None:
    """Removes the files of entries that are over."""
    folder = join_path(lock.directory, FOLDER)
    for name in names_in(folder):
        number = name.split(".")[0]  # "" where NFS has renamed a file that is still open
        if number.isdecimal() and int(number) < lock.number:
            remove(join_path(folder, name))


def _last_entry(directory: str) -> tuple[int, Holder | None]:
    """Returns the greatest number of an entry, 0 if there is none, and the entry's content."""
    number = max(_numbers(directory), default=0)
    return number, _read_holder(directory, number) if number else None


def _numbers(directory: str) -> list[int]:
    """Returns the numbers of all entries, in order."""
    names = names_in(join_path(directory, FOLDER))
    return [int(name.removesuffix(ENTRY)) for name in names if name.endswith(ENTRY)]


def _read_holder(directory: str, number: int) -> Holder | None:
    """Returns the content of an entry; None if there is no such entry."""
    try:
        stage, process, owner = json.loads(read_bytes(entry_path(directory, number)))
        return Holder(stage, ProcessIdentity(*process), owner)
    except FileNotFoundError:
        return None
    except DataError as error:  # of a store
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise
    except (ValueError, TypeError):  # being written, or cut by a kill or a full disk
        return UNREADABLE


def entry_path(directory: str, number: int) -> str:
    """Returns the path of an entry."""
    return join_path(directory, FOLDER, f"{number:08d}{ENTRY}")


def _beat_path(directory: str, number: int, owner: str) -> str:
    """Returns the path of a holder's counter."""
    return join_path(directory, FOLDER, f"{number:08d}.{owner}.beat")


def this_process() -> ProcessIdentity:
    """Returns the identity of this process."""
    _, started = _state_and_start(os.getpid()) or ("", 0)
    return ProcessIdentity(socket.gethostname(), machine(), os.getpid(), started)


def machine() -> str:
    """Returns the start of this machine and this process's namespace; "" where Linux is absent."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def has_ended(process: ProcessIdentity) -> bool | None:
    """Returns whether a process has ended; None if it runs where this process cannot look."""
    if not process.machine or process.machine != machine():
        return None
    status = _state_and_start(process.number)
    return status is None or status[0] in ENDED_STATES or status[1] != process.started


def _state_and_start(number: int) -> tuple[str, int] | None:
    """Returns a process's state and start; None if there is no such process. See proc(5)."""
    try:
        stat = Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before may hold anything
    return fields[0], int(fields[19])
