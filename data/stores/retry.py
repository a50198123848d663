"""Does again what a store fails to do, with growing waits.

A store answers 503, drops a connection, or is away for half a minute: none of that ends a job. What
no waiting mends (no such bucket, wrong credentials) ends at once. Either way the end is one
sentence. Waits are the usual ones, exponential with jitter, a minute in all; fsspec's own few tries
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
    """What arrived is not what was sent; another try may mend it."""


def persist(action: Callable[[], T], address: str, what: str = "read") -> T:
    """Does what may fail until it succeeds or there is no more hope.

    Args:
        action: may be done any number of times.
        address: of what it is done to, for the message.
        what: participle of what is done, for the message.

    Raises:
        DataError: the last failure, in a sentence.
    """
    try:
        return again_and_again(action)
    except DataError:
        raise
    except Exception as error:  # every store has exceptions of its own
        said = " ".join(str(error).split())
        raise DataError(
            f"{address} cannot be {what} ({type(error).__name__}: {said}); "
            "check the address and the credentials."
        ) from error


def again_and_again(action: Callable[[], T]) -> T:
    """Does what may fail until it succeeds or there is no more hope; raises the last failure."""
    return tenacity.Retrying(
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_exponential_jitter(FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS),
        retry=tenacity.retry_if_exception(is_worth_another_try),
        reraise=True,
    )(action)


def is_worth_another_try(error: BaseException) -> bool:
    """Says whether waiting may mend it."""
    if isinstance(error, Damaged):
        return True
    refused = (
        isinstance(error, HOPELESS)
        or type(error).__name__ in HOPELESS_OF_BOTOCORE
        or getattr(error, "code", None) in HOPELESS_STATUS
        or str(error).startswith("Forbidden")  # gcsfs's OSError for 403
    )
    return not refused
