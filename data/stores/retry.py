"""Retries of requests to a store, with growing waits.

A store answers 503, drops a connection or is unreachable for half a minute: none of that ends a
job. Errors that no wait resolves (no such bucket, wrong credentials) end it at once. Either way the
end is one sentence. Signals and errors of this machine's disk are raised as they are. Waits grow
exponentially with jitter, to about a minute in all, after fsspec's own few tries within a second or
two.
"""

import errno
from collections.abc import Callable
from typing import TypeVar

import tenacity

from data.errors import DataError

ATTEMPTS = 8
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
PERMANENT = (DataError, FileNotFoundError, PermissionError, ImportError)
PERMANENT_OF_BOTOCORE = ("NoCredentialsError", "ParamValidationError")  # may not be installed
PERMANENT_HERE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # of this machine's disk
PERMANENT_STATUS = (400, 401, 403, 404)  # attribute `code` of gcsfs's errors

T = TypeVar("T")


class Damaged(DataError):
    """Bytes that arrived differ from those that were sent; a retry may succeed."""


def with_retries(action: Callable[[], T], address: str, what: str = "read") -> T:
    """Returns the action's result, retried until it succeeds or cannot.

    Args:
        action: function that may be called any number of times.
        address: path that the action works on, for the message.
        what: participle of the action's verb, for the message.

    Raises:
        DataError: if the last attempt failed; the message names the failure.
        OSError: if this machine's disk is full or cannot be written.
    """
    try:
        return retried(action)
    except DataError:
        raise
    except Exception as error:  # every store has exceptions of its own
        if _is_of_this_disk(error):
            raise
        reason = " ".join(str(error).split())
        raise DataError(
            f"{address} cannot be {what} ({type(error).__name__}: {reason}); "
            "check the address and the credentials."
        ) from error


def retried(action: Callable[[], T]) -> T:
    """Returns the action's result, retried until it succeeds; raises the last failure as it is."""
    return tenacity.Retrying(
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_exponential_jitter(FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS),
        retry=tenacity.retry_if_exception(is_transient),
        reraise=True,
    )(action)


def is_transient(error: BaseException) -> bool:
    """Returns whether a later attempt may succeed."""
    if isinstance(error, Damaged):
        return True
    is_permanent = (
        not isinstance(error, Exception)  # a signal, which tenacity would take for a failure
        or isinstance(error, PERMANENT)
        or _is_of_this_disk(error)
        or type(error).__name__ in PERMANENT_OF_BOTOCORE
        or getattr(error, "code", None) in PERMANENT_STATUS
        or str(error).startswith("Forbidden")  # gcsfs's OSError for 403
    )
    return not is_permanent


def _is_of_this_disk(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in PERMANENT_HERE
