"""What may go wrong with a checkpoint: each failure to write or read one is a sentence here."""

import errno
from collections.abc import Sequence

from data.errors import DataError
from data.files.paths import Address

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
NO_MORE_FILES = (errno.EMFILE, errno.ENFILE)
# How TensorStore's errors begin if the store gives no answer, or none to this user.
AWAY = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "PERMISSION_DENIED", "UNAUTHENTICATED")


class CheckpointError(ValueError):
    """A checkpoint cannot be written or read; the message has the remedy.

    Args:
        message: the sentence.
        why: its cause alone; "" if not stated.
    """

    def __init__(self, message: str, why: str = ""):
        super().__init__(message)
        self.why = why


class NoRoomError(CheckpointError):
    """A machine lacks the memory or the open files to read a checkpoint, which may be whole."""


def save_error(
    directory: object, whole: Sequence[int], why: str, what_to_do: str
) -> CheckpointError:
    """Returns the error of a save that failed.

    Args:
        directory: directory or address of the checkpoints.
        whole: steps of the checkpoints that are there.
        why: cause, in words.
        what_to_do: remedy, in words.
    """
    return CheckpointError(
        f"A checkpoint could not be written to {directory} ({why}); "
        f"{f'{max(whole)} is whole' if whole else 'there is no earlier one'}. "
        f"{what_to_do}; the same command then goes on from there."
    )


def damage_error(directory: object, step: int, why: str) -> CheckpointError:
    """Returns the error of a checkpoint that cannot be read back as it was saved."""
    return CheckpointError(
        f"Checkpoint {step} in {directory} is damaged ({why}); restore its files, or "
        "remove it if the run has another, which the same command then takes.",
        why,
    )


def read_error(
    directory: object, step: int, failure: Exception | None, *, has_room: bool
) -> CheckpointError | DataError:
    """Returns the error of a checkpoint that is damaged, or of a store that does not give it.

    Args:
        directory: directory or address of the checkpoints.
        step: step of the checkpoint.
        failure: what this host met; None if another host could not read it.
        has_room: whether no host lacked the memory or the open files (`lacks_room`).
    """
    why = "another host could not read it" if failure is None else message_beginning(failure)
    if isinstance(directory, Address) and why.startswith(AWAY):
        return DataError(
            f"Checkpoint {step} in {directory} cannot be read ({why}); check the address and the "
            "credentials, and run the same command again."
        )
    if has_room:
        return damage_error(directory, step, why)
    return NoRoomError(
        f"Checkpoint {step} in {directory} could not be read because a host lacks memory or open "
        f"files ({why}); it may be whole. Free memory, allow more open files, or use more devices, "
        "and run the same command again.",
        why,
    )


def lacks_room(failure: Exception | None) -> bool:
    """Returns whether a failure is this machine's lack of memory or of open files."""
    if isinstance(failure, OSError):
        return failure.errno in NO_MORE_FILES
    return isinstance(failure, MemoryError) or "RESOURCE_EXHAUSTED" in str(failure)


def no_whole_checkpoint_error(
    directory: object, steps: Sequence[int], last: CheckpointError
) -> CheckpointError:
    """Returns the error of a run that cannot go on, because all its checkpoints are damaged.

    Args:
        directory: directory or address of the checkpoints.
        steps: steps of the checkpoints.
        last: error of the last one.
    """
    return CheckpointError(
        f"No checkpoint in {directory} can be read, of steps {', '.join(map(str, steps))} (the "
        f"last: {last.why}); restore the files of one, or name another --out. Without any, the "
        "same command would begin at step 0 and drop the log.",
        last.why,
    )


def save_failure(error: BaseException) -> str:
    """Returns the cause of a failed write: that the disk is full, or the message's beginning."""
    text = str(error)
    if getattr(error, "errno", None) in DISK_FULL or "No space left" in text or "quota" in text:
        return "the disk is full"
    return message_beginning(error)


def message_beginning(error: BaseException) -> str:
    """Returns the beginning of an error's message; TensorStore's fill pages."""
    text = " ".join(str(error).split())
    return text[:160] + "..." if len(text) > 160 else text or type(error).__name__
