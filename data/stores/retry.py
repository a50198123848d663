"""Retries failed requests to a store, with growing waits.

A store answers 503, drops a connection, or is away for half a minute: none of that ends a job. An
error that no waiting can fix (no such bucket, wrong credentials) ends it at once. Either way the
end is one sentence. Waits are exponential with jitter, a minute in all; fsspec's own few retries
within a second or two come before.
"""

from collections.abc import Callable
from typing import TypeVar

import tenacity

from data.errors import DataError

ATTEMPTS = 8
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
HOPELESS = (DataError, FileNotFoundError, PermissionError, ImportError)
HOPELESS_OF_BOTOCORE = ("NoCredentialsError", "ParamValidationError")  # may not be installed
HOPELESS_STATUS = (400, 401, 403, 404)  # of gcsfs

T = TypeVar("T")


class Damaged(DataError):
    """The received content differs from what was sent; a retry may fix it."""


def persist(action: Callable[[], T], address: str, what: str = "read") -> T:
    """Retries an action until it succeeds or a retry is pointless.

    Args:
        action: the action, which may be repeated any number of times.
        address: address of its object, for the message.
        what: participle of the action, for the message.

    Raises:
        DataError: if the last attempt fails; the message is one sentence.
    """
    try:
        return again_and_again(action)
    except DataError:
        raise
    except Exception as error:  # every store has exceptions of its own
        cause = " ".join(str(error).split())
        raise DataError(
            f"{address} cannot be {what} ({type(error).__name__}: {cause}); "
            "check the address and the credentials."
        ) from error


def again_and_again(action: Callable[[], T]) -> T:
    """Retries an action until it succeeds or a retry is pointless; raises the last failure."""
    return tenacity.Retrying(
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_exponential_jitter(FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS),
        retry=tenacity.retry_if_exception(is_worth_another_try),
        reraise=True,
    )(action)


def is_worth_another_try(error: BaseException) -> bool:
    """Returns whether a later attempt may succeed."""
    if isinstance(error, Damaged):
        return True
    refused = (
        isinstance(error, HOPELESS)
        or type(error).__name__ in HOPELESS_OF_BOTOCORE
        or getattr(error, "code", None) in HOPELESS_STATUS
        or str(error).startswith("Forbidden")  # gcsfs's OSError for 403
    )
    return not refused
