"""A crawl's list of paths (`wet.paths.gz`), and its files, downloaded into a cache.

Common Crawl publishes such a list for each crawl: one relative path per line, below one base
address. A file is downloaded whole and then renamed. A broken transfer resumes where it broke
(`Range`); a busy server (429, 5xx) is retried with exponential backoff. Files in the cache are not
downloaded again. If two processes need the same file, one downloads it and the other waits.
"""

import fcntl
import gzip
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import requests
import tenacity

from data.errors import DataError
from data.stores.atomic import publish

COMMON_CRAWL = "https://data.commoncrawl.org"
SUFFIXES = (".paths", ".paths.gz")
ATTEMPTS = 10
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
TIMEOUT_SECONDS = 60.0  # without a byte
PART_BYTES = 1 << 16  # the most that a broken transfer loses
BUSY = (408, 429)  # and all statuses from 500 on


class IncompleteTransfer(OSError):
    """A transfer that another attempt may complete."""


def read(path: Path) -> list[str]:
    """Returns the paths of a list, gzipped or not, in its order.

    Raises:
        DataError: if the list cannot be read, is empty, or leads out of its directory.
    """
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
            names = [name for line in lines if (name := line.strip())]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} should be a list of paths, one per line, and cannot be read ({error}); "
            "fetch it again."
        ) from error
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise DataError(f"{path} lists {name!r}, which is no path below a base address.")
    if not names:
        raise DataError(f"{path} should be a list of paths, one per line, and is empty.")
    return names


def fetch(name: str, cache: Path, base: str = COMMON_CRAWL) -> Path:
    """Returns a listed file on this host's disk, downloaded if it is not in the cache.

    Args:
        name: path from the list.
        cache: directory of downloaded files, under their paths.
        base: address that the path is relative to.

    Raises:
        DataError: if the server does not have the file, or ten attempts do not complete it.
    """
    path, address = cache / name, f"{base.rstrip('/')}/{name}"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.part")
    with unfinished.open("ab") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        if path.exists():  # another process was faster
            unfinished.unlink(missing_ok=True)
            return path
        try:
            _fetch_with_retries(address, part)
        except (IncompleteTransfer, requests.RequestException) as error:
            raise DataError(
                f"{address} could not be fetched ({error}); the same command again resumes there."
            ) from error
        publish(unfinished, path)
    return path


def _fetch_with_retries(address: str, part: BinaryIO) -> None:
    tenacity.Retrying(
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_exponential_jitter(FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS),
        retry=tenacity.retry_if_exception_type((IncompleteTransfer, requests.RequestException)),
        reraise=True,
    )(_resume, address, part)


def _resume(address: str, part: BinaryIO) -> None:
    """Appends what is missing to an unfinished file."""
    have = part.seek(0, 2)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(address, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as answer:
        _check(answer, address)
        if answer.status_code != requests.codes.partial_content:
            part.truncate(0)  # the whole file, or 416: the part is longer than the file
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            raise IncompleteTransfer("the unfinished download did not match the file")
        for content in answer.iter_content(PART_BYTES):
            part.write(content)
        part.flush()
        size, expected = part.seek(0, 2), _size(answer)
        if expected is not None and size != expected:
            raise IncompleteTransfer(f"{size:,} bytes of {expected:,} arrived")


def _check(answer: requests.Response, address: str) -> None:
    """Raises an error for the status, unless it is a success or 416.

    Raises:
        IncompleteTransfer: if another attempt may succeed.
        DataError: if the file cannot be had.
    """
    code = answer.status_code
    if code in BUSY or code >= 500:
        raise IncompleteTransfer(f"status {code}")
    if code >= 400 and code != requests.codes.requested_range_not_satisfiable:
        raise DataError(
            f"{address} was asked for and the server answers {code} {answer.reason}; "
            "check the list and the base address."
        )


def _size(answer: requests.Response) -> int | None:
    """Returns the size of the whole file, if the server sends it."""
    if answer.status_code == requests.codes.partial_content:
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        total = answer.headers.get("Content-Length", "")
    return int(total) if total.isdigit() else None
