"""A crawl's list of paths (`wet.paths.gz`), and its files fetched from a web server into a cache.

Common Crawl publishes such a list for each crawl: one relative path a line, below one base address.
A file is fetched whole and gets its name only then. A transfer that breaks goes on where it broke
(`Range`), however often it takes; a server that is busy (429, 5xx) is asked again after growing
waits. What lies in the cache is not fetched again. Two processes may fetch the same file: one does,
the other waits.
"""

import fcntl
import gzip
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import requests
import tenacity

from data.errors import DataError

COMMON_CRAWL = "https://data.commoncrawl.org"
SUFFIXES = (".paths", ".paths.gz")
ATTEMPTS = 10
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
TIMEOUT_SECONDS = 60.0  # without a byte
PART_BYTES = 1 << 16  # at most so much of a broken transfer is lost
BUSY = (408, 429)  # and all from 500 on


class Broken(OSError):
    """A transfer that another attempt may complete."""


def read(path: Path) -> list[str]:
    """Returns the paths of a list, gzipped or not, in its order.

    Raises:
        DataError: it cannot be read, is empty, or leads out of its directory.
    """
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
            names = [name for line in lines if (name := line.strip())]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} should be a list of paths, one a line, and cannot be read ({error}); "
            "fetch it again."
        ) from error
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise DataError(f"{path} lists {name!r}, which is no path below a base address.")
    if not names:
        raise DataError(f"{path} should be a list of paths, one a line, and is empty.")
    return names


def fetch(name: str, cache: Path, base: str = COMMON_CRAWL) -> Path:
    """Returns a listed file on this host's disk, fetched if it is not there yet.

    Args:
        name: path from the list.
        cache: directory; the file lies there under its path.
        base: address that the path is relative to.

    Raises:
        DataError: the server does not have it, or does not give it whole in ten attempts.
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
            _persist(address, part)
        except (Broken, requests.RequestException) as error:
            raise DataError(
                f"{address} could not be fetched ({error}); the same command again goes on there."
            ) from error
        unfinished.replace(path)
    return path


def _persist(address: str, part: BinaryIO) -> None:
    tenacity.Retrying(
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_exponential_jitter(FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS),
        retry=tenacity.retry_if_exception_type((Broken, requests.RequestException)),
        reraise=True,
    )(_go_on, address, part)


def _go_on(address: str, part: BinaryIO) -> None:
    """Fetches what is missing at the end of a part."""
    have = part.seek(0, 2)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(address, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as answer:
        _check(answer, address)
        if answer.status_code != requests.codes.partial_content:
            part.truncate(0)  # from its beginning, or 416: more is there than the file has
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            raise Broken("what was there did not fit the file")
        for content in answer.iter_content(PART_BYTES):
            part.write(content)
        part.flush()
        size, wanted = part.seek(0, 2), _size(answer)
        if wanted is not None and size != wanted:
            raise Broken(f"{size:,} bytes of {wanted:,} came")


def _check(answer: requests.Response, address: str) -> None:
    """Raises what the status says."""
    code = answer.status_code
    if code in BUSY or code >= 500:
        raise Broken(f"status {code}")
    if code >= 400 and code != requests.codes.requested_range_not_satisfiable:
        raise DataError(
            f"{address} was asked for and the server answers {code} {answer.reason}; "
            "check the list and the base address."
        )


def _size(answer: requests.Response) -> int | None:
    """Returns the whole file's size, where the server says it."""
    if answer.status_code == requests.codes.partial_content:
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        total = answer.headers.get("Content-Length", "")
    return int(total) if total.isdigit() else None
