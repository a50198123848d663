"""Object stores: one client per process, scheme and set of options, through fsspec, with retries.

Options are fsspec's, by scheme. What is left out comes from where each store's library looks by
itself: environment variables (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `STORAGE_EMULATOR_HOST`),
files in the home directory, the machine's own identity on a cloud. Why fsspec and neither Beam's
file systems nor obstore: docs/decisions/object-stores.md.

A store answers 503, drops a connection or is unreachable for half a minute: none of that ends a
job. Errors that no wait resolves (no such bucket, wrong credentials) end it at once. Either way the
end is one sentence. Signals and errors of this machine's disk are raised as they are. Waits grow
exponentially with jitter, to about a minute in all, after fsspec's own few tries within a second or
two.

A command first asks a store whether it answers at all, for 12 seconds: a mistyped endpoint or a
machine without a network is not an outage. Each library waits in its own way (httpx, botocore and
aiohttp for up to five minutes per try), so the question is a thread, which is left behind. Workers
do not ask, as an outage may begin with them.

TensorStore, which reads and writes checkpoints, names a folder of a store in its own way. The place
is taken from fsspec's client, so that arrays go to the server that all other files go to, whether
an environment variable or a configuration file names it. Keys are never taken: TensorStore, too,
finds them in the environment, in a credential file or at the machine's own identity.
"""

import errno
import functools
import json
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import tenacity

from data.errors import DataError

StoreOptions = Mapping[str, Mapping[str, Any]]  # fsspec's options, by scheme
ALWAYS: StoreOptions = {
    "file": {"auto_mkdir": True},  # as in a store, where directories need not be made
    "gs": {"consistency": "md5"},  # compares each upload with the MD5 that the store computed;
    "gcs": {"consistency": "md5"},  # for S3, botocore sends a CRC32 that the store compares
}
ATTEMPTS = 8
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
PERMANENT = (DataError, FileNotFoundError, PermissionError, ImportError)
PERMANENT_OF_BOTOCORE = ("NoCredentialsError", "ParamValidationError")  # may not be installed
PERMANENT_HERE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # of this machine's disk
PERMANENT_STATUS = (400, 401, 403, 404)  # attribute `code` of gcsfs's errors
ANSWER_SECONDS = 12.0
RETRIES = {
    "max_retries": ATTEMPTS,
    "initial_delay": f"{FIRST_WAIT_SECONDS}s",
    "max_delay": f"{LONGEST_WAIT_SECONDS}s",
}
AWS, GOOGLE = ".amazonaws.com", "https://storage.googleapis.com"
GOOGLE_URL = "TENSORSTORE_GCS_HTTP_URL"  # the only way to tell TensorStore of another server
_options: dict[str, Mapping[str, Any]] = {}
_asked_first = False  # whether this process is a command, which asks stores before it reads
_answered: set[str] = set()  # schemes of stores that have answered it
T = TypeVar("T")


class Damaged(DataError):
    """Bytes that arrived differ from those that were sent; a retry may succeed."""


def set_options(options: StoreOptions) -> None:
    """Sets this process's object-store options."""
    _options.update(options)


def ask_first() -> None:
    """Makes this process ask each store whether it answers, before anything else."""
    global _asked_first
    _asked_first = True


def open_store(path: str) -> tuple[Any, str]:
    """Returns the file system of a remote path, and the path in that file system's own form.

    Raises:
        DataError: if the scheme is unknown, its package is not installed, or no answer comes.
    """
    scheme = path.partition("://")[0]
    options = {**ALWAYS.get(scheme, {}), **_options.get(scheme, {})}
    make = functools.partial(_file_system, os.getpid(), scheme, json.dumps(options, sort_keys=True))
    try:
        if _asked_first and scheme not in _answered:
            _check_answer(path, make)
            _answered.add(scheme)
        filesystem = make()
    except (ImportError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} lies in a store that cannot be reached ({error}); give a path of this "
            "machine, or an address such as s3:// or gs:// with its package installed: "
            "make install EXTRAS=demo,dev,s3 (or gcs) in the checkout."
        ) from error
    return filesystem, filesystem._strip_protocol(path)


def _check_answer(path: str, make: Callable[[], Any]) -> None:
    """Checks that a store answers, whatever it answers.

    Raises:
        DataError: if it does not.
    """
    import fsspec  # loaded where a store is read: it takes a third of a second

    fsspec.get_filesystem_class(path.partition("://")[0])  # its package, before time counts
    failures: list[Exception] = []
    answered, over = threading.Event(), threading.Event()

    def ask() -> None:
        while not over.wait(FIRST_WAIT_SECONDS * len(failures)):
            try:
                filesystem = make()
                filesystem.info(filesystem._strip_protocol(path))
            except Exception as error:
                if is_transient(error):
                    failures.append(error)
                    continue
            answered.set()
            return

    threading.Thread(target=ask, daemon=True).start()
    is_answered = answered.wait(ANSWER_SECONDS)
    over.set()
    if not is_answered:
        reason = f" ({_in_words(failures[-1])})" if failures else ""
        raise DataError(
            f"The store of {path} did not answer within {ANSWER_SECONDS:g} seconds{reason}; check "
            "the network, the address and the endpoint, and run the same command again."
        )


@functools.lru_cache(maxsize=16)
def _file_system(process: int, scheme: str, options: str) -> Any:
    """Returns this process's file system; fsspec would make one per thread, at 0.1 s each."""
    import fsspec  # loaded where a store is read: it takes a third of a second

    # Otherwise gcsfs queries every bucket's kind by gRPC, for a minute where no server answers.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    # No cache of listings: other workers write at the same time.
    return fsspec.filesystem(
        scheme, use_listings_cache=False, skip_instance_cache=True, **json.loads(options)
    )


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
        return retry(action)
    except DataError:
        raise
    except Exception as error:  # every store has exceptions of its own
        if _is_of_this_disk(error):
            raise
        raise DataError(
            f"{address} cannot be {what} ({_in_words(error)}); "
            "check the address and the credentials."
        ) from error


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def retry(action: Callable[[], T]) -> T:
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


def kvstore(address: str) -> dict[str, Any]:
    """Returns TensorStore's JSON of a folder in a store.

    Raises:
        DataError: if it lies in a store that TensorStore cannot reach.
    """
    scheme, _, rest = address.partition("://")
    bucket, _, path = rest.partition("/")
    folder = {"bucket": bucket, "path": f"{path.rstrip('/')}/"}
    filesystem, _ = open_store(address)
    if scheme == "s3":
        return folder | _s3(filesystem.s3.meta)
    if scheme in ("gs", "gcs"):
        return folder | _google(filesystem.base)
    raise DataError(
        f"{address} is to hold checkpoints, which are written to s3:// and gs:// alone; name an "
        "address of these, or a path of this machine."
    )


def _s3(client: Any) -> dict[str, Any]:
    context: dict[str, Any] = {"s3_request_retries": RETRIES}
    if "AWS_ACCESS_KEY_ID" in os.environ:  # otherwise it logs five errors about absent files first
        context["aws_credentials"] = {"type": "environment"}
    place = {"endpoint": client.endpoint_url, "aws_region": client.region_name or "us-east-1"}
    is_aws = (urlsplit(client.endpoint_url).hostname or "").endswith(AWS)
    return {"driver": "s3", "context": context, **({} if is_aws else place)}


def _google(base: str) -> dict[str, Any]:
    parts = urlsplit(base)
    if (server := f"{parts.scheme}://{parts.netloc}") != GOOGLE:
        os.environ.setdefault(GOOGLE_URL, server)
    return {"driver": "gcs", "context": {"gcs_request_retries": RETRIES}}
