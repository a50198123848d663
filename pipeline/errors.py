"""Exceptions that end a command with one sentence for the user instead of a traceback."""

import errno
import os
import signal

from data.errors import DataError, is_system_error
from model.config import ConfigurationError

ROOM = "make room"
WRITABLE = "name a directory that this user can write, or change its rights"
REMEDIES = {
    errno.ENOSPC: ROOM,
    errno.EDQUOT: ROOM,
    errno.EFBIG: "raise the limit on the size of files",
    errno.EROFS: WRITABLE,
    errno.EACCES: WRITABLE,
    errno.EPERM: WRITABLE,
    errno.EIO: "repair the disk",
    errno.ENOENT: "restore it",
}
MORE_MEMORY = (
    "a training needs less with remat=full, and where its recipe allows it with a larger "
    "accumulate; neither changes a result. Else lower rows or use more devices (`mswitch plan` "
    "shows what a step needs), and run the same command again"
)
TEXTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # unmistakable in a message
LONGEST = 300  # characters of a library's message


class ArtifactError(ValueError):
    """An unusable input or output directory; the message states asked, found and what to do."""


REFUSALS = (ArtifactError, DataError, ConfigurationError)  # each message is whole as it is


class Preempted(Exception):
    """Training that a signal stopped, after a checkpoint; the message names its step."""


PREEMPTED_STATUS = 128 + signal.SIGTERM  # 143, the exit status that shells report
CUT_OFF_STATUS = 128 + signal.SIGPIPE  # 141, of a command whose output nobody reads on
LOST_STATUS = os.EX_TEMPFAIL  # 75: another host was lost, and a repetition may succeed


def system_failure(error: BaseException) -> str | None:
    """Returns a sentence about an error of disk, rights or devices' memory; None for any other.

    Some libraries (safetensors, ArrayRecord, TensorStore, Beam) raise classes of their own, which
    keep only the system's text.
    """
    if lacks_device_memory(error):
        return f"too little memory on the devices ({first_line(error)[:LONGEST]}); {MORE_MEMORY}."
    number = (
        error.errno
        if isinstance(error, OSError) and is_system_error(error)
        else _errno_in_text(error)
    )
    if number is None:
        return None
    return (
        f"an error of the system ({_said(error)}); {remedy_of(number)}, and run the same command "
        "again: it resumes."
    )


def remedy_of(number: int) -> str:
    """Returns advice on an error of the system, by its number."""
    return REMEDIES.get(number, "look at what it names")


def lacks_device_memory(error: BaseException) -> bool:
    """Returns whether JAX could not allocate; its class by name, as few commands import JAX."""
    return type(error).__name__ == "JaxRuntimeError" and "RESOURCE_EXHAUSTED" in str(error)


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message; those of C++ fill pages."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _errno_in_text(error: BaseException) -> int | None:
    """Returns the number of the first disk error that the text of another error names."""
    text = str(error)
    return next((number for number in TEXTS if os.strerror(number) in text), None)


def _said(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST else f"...{text[-LONGEST:]}"
