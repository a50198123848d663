"""Fencing: a process that lost the lock on a directory publishes nothing more in it.

    DIRECTORY/lock/00000003.json   an entry: its number is the fencing token, its content the holder

Each acquisition writes an entry with the next number, and the greatest number holds the lock. The
process that was paused while another took the lock finds a greater number, or an entry of another
owner. Every atomic write checks this before its rename or upload (`atomic`). A pause between check
and rename remains possible; within one command all processes write the same bytes there.

Fences belong to a process, and travel with the functions of a job to its workers.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from data.errors import DataError
from data.stores.files import absolute, join_path, names_in, read_bytes
from data.stores.processes import ProcessIdentity

FOLDER = "lock"
ENTRY = ".json"


class Fence(NamedTuple):
    """A held lock.

    Attributes:
        directory: locked directory, absolute or an address.
        number: fencing token.
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


class LockLost(DataError):
    """Another process has taken the lock of this one."""


_fences: dict[str, Fence] = {}


def held_fences() -> tuple[Fence, ...]:
    """Returns the fences of this process."""
    return tuple(_fences.values())


def raise_fences(fences: Iterable[Fence]) -> None:
    """Makes fences those of this process, which may work for the process that holds the locks."""
    _fences.update((fence.directory, fence) for fence in fences)


def drop_fence(fence: Fence) -> None:
    """Forgets a fence, whose lock is released."""
    _fences.pop(fence.directory, None)


def check_fences(path: str | Path) -> None:
    """Checks that this process still holds the lock on the directory of a path, if it had one.

    Raises:
        LockLost: if another process has it.
    """
    where = absolute(str(path))
    for fence in held_fences():
        if where.startswith(f"{fence.directory}/") and not is_held(fence):
            raise LockLost(
                f"{where} was not written, because the lock on {fence.directory} has passed to "
                f"{current_holder(fence.directory)}, while this process showed no sign of life; "
                "wait until that command ends, or end it, and run the same command again."
            )


def is_held(fence: Fence) -> bool:
    """Returns whether no other process has taken the lock."""
    there = numbers(fence.directory)
    if not there or there[-1] != fence.number:
        return False
    holder = read_holder(fence.directory, fence.number)
    return holder is not None and holder.owner == fence.owner


def current_holder(directory: str) -> Holder | str:
    """Returns who holds the lock on a directory, for messages."""
    there = numbers(directory)
    holder = read_holder(directory, there[-1]) if there else None
    return holder or "nobody (its entry was removed)"


def numbers(directory: str) -> list[int]:
    """Returns the numbers of all entries, in order."""
    names = names_in(join_path(directory, FOLDER))
    return [int(name.removesuffix(ENTRY)) for name in names if name.endswith(ENTRY)]


def entry_path(directory: str, number: int) -> str:
    """Returns the path of an entry."""
    return join_path(directory, FOLDER, f"{number:08d}{ENTRY}")


def read_holder(directory: str, number: int) -> Holder | None:
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
