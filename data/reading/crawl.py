"""A crawl: its list of paths (`wet.paths.gz`), and its files, downloaded into a cache.

The list has one relative path per line, below one base address. It comes from the web. It is read
line by line, and its size is bounded: five times what Common Crawl lists for one crawl (100,000
paths of 140 bytes).

A file is downloaded whole and then renamed. A broken transfer resumes where it broke (`Range`) if
the server's file is still the same (`If-Range`), and begins again where the server cannot tell. A
busy server (429, 5xx) is retried with exponential backoff. Files in the cache are not downloaded
again; they are kept by server (CACHE/https/data.commoncrawl.org/...). If two processes need the
same file, one downloads it and the other waits. Unfinished files have a folder of their own, so no
name of a list is theirs.

The server is not trusted with more than the file: it cannot redirect to another server or go on
without an end (`one_server.py`), send more than a file may have, or end early unnoticed. A download
stops where the disk would have less than 1 GiB left. Bytes are stored as sent, without a content
encoding being undone.
"""

import fcntl
import gzip
import hashlib
import itertools
import logging
import re
import shutil
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import requests
import tenacity
import urllib3

from data.errors import DataError, join_names
from data.files.atomic import publish
from data.reading.one_server import PART_BYTES, TIMEOUT_SECONDS, IncompleteTransfer, OneServer

SUFFIXES = (".paths", ".paths.gz")
MOST_LINES = 500_000
MOST_BYTES = 70_000_000  # of text, however small the list is when compressed
LONGEST_LINE = 1024  # bytes
LONGEST_NAME = 255  # bytes of a file or folder, on Linux's file systems and others
COMMON_CRAWL = "https://data.commoncrawl.org"
ATTEMPTS = 10
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
LARGEST_BYTES = 8 << 30  # per file; Common Crawl's largest are a fifth of it
LEAST_FREE_BYTES = 1 << 30  # of a disk, for whatever else the machine does
UNFINISHED = "unfinished"  # folder of a cache, beside those of schemes
# And all statuses from 500 on. Common Crawl's server answers 403 to too many requests.
BUSY = (403, 408, 429)
NUMBER = re.compile("[0-9]{1,18}")


def files_named(patterns: Iterable[str]) -> list[str]:
    """Returns the patterns that workers read themselves: all but lists of a crawl's files."""
    return [pattern for pattern in patterns if not pattern.endswith(SUFFIXES)]


TRANSIENT = (IncompleteTransfer, requests.RequestException, urllib3.exceptions.HTTPError)
OUTER = (requests.RequestException, urllib3.exceptions.ProtocolError)  # have the reason in them


def read_paths(path: Path) -> Iterator[str]:
    """Yields the paths of a list, gzipped or not, in its order.

    Raises:
        DataError: if the list cannot be read, is empty or too large, or leads out of its directory.
    """
    is_empty = True
    for line in _lines(path):
        if name := line.strip():
            _check_name(name, path)
            is_empty = False
            yield name
    if is_empty:
        raise DataError(
            f"{path} should be a list of paths, one per line, and is empty; fetch it again."
        )


def _lines(path: Path) -> Iterator[str]:
    size = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b"")):
                size += len(line)
                if number >= MOST_LINES or size > MOST_BYTES or len(line) > LONGEST_LINE:
                    raise DataError(
                        f"{path} should be a crawl's list of paths and is larger than any: with "
                        f"line {number + 1:,} it has more than {MOST_LINES:,} lines, "
                        f"{MOST_BYTES:,} bytes, or {LONGEST_LINE:,} bytes in one line; divide it, "
                        "or remove that line."
                    )
                yield line.decode()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(
            f"{path} should be a list of paths, one per line, and cannot be read ({error}); "
            "fetch it again."
        ) from error


def _check_name(name: str, path: Path) -> None:
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or not name.isprintable():
        raise DataError(
            f"{path} lists {join_names([repr(name)])}, which is not a path below a base address; "
            "remove the line or fetch the list again."
        )
    if any(len(part.encode()) > LONGEST_NAME for part in parts):
        raise DataError(
            f"{path} lists {join_names([repr(name)])}, where a file or folder has a name of more "
            f"than {LONGEST_NAME} bytes, which no disk takes; remove the line."
        )


def check_places(addresses: Iterable[str]) -> None:
    """Checks that no address is a folder of another, as each file has its place in a cache.

    Raises:
        DataError: if one is.
    """
    for file, after in itertools.pairwise(
        sorted(addresses, key=lambda address: address.replace("/", "\0"))
    ):
        if after.startswith(f"{file}/"):
            raise DataError(
                f"The list names the file {file} and, in {after}, a folder of this name, and a "
                "disk cannot have both; divide the list, and clean one part after the other."
            )


def place_in(cache: Path, address: str) -> Path:
    """Returns where a cache keeps the file of an address: below its scheme and its server.

    Raises:
        DataError: if the address leads out of its server's folder.
    """
    scheme, _, rest = address.partition("://")
    place = PurePosixPath(scheme, rest)
    if ".." in place.parts or place.is_absolute():
        raise DataError(f"{address!r} leads out of its server; check the list and the base.")
    return cache / place


def fetch(address: str, cache: Path) -> Path:
    """Returns a crawl's file on this host's disk, downloaded if it is not in the cache.

    Args:
        address: address of the file.
        cache: directory of downloaded files.

    Raises:
        DataError: if the server does not have the file, or ten attempts do not complete it.
    """
    path = place_in(cache, address)
    if path.is_file():
        return path
    _make_folder(path, address)
    unfinished = unfinished_in(cache, address)
    version = unfinished.with_suffix(".version")
    unfinished.parent.mkdir(exist_ok=True)
    with unfinished.open("ab") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        if path.is_file():  # another process was faster
            unfinished.unlink(missing_ok=True)
            return path
        try:
            _fetch_with_retries(address, part, version)
        except TRANSIENT as error:
            raise DataError(
                f"{address} could not be fetched ({_reason(error)}); the same command again "
                "resumes there."
            ) from error
        publish(unfinished, path)
    version.unlink(missing_ok=True)
    return path


def unfinished_in(cache: Path, address: str) -> Path:
    """Returns where a cache keeps an unfinished file; its version is beside it."""
    digest = hashlib.sha256(address.encode("utf-8", "surrogatepass")).hexdigest()
    return cache / UNFINISHED / f"{digest}.part"


def _make_folder(path: Path, address: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_taken = path.exists()
    except (FileExistsError, NotADirectoryError):
        is_taken = True
    if is_taken:
        raise DataError(
            f"{address} would be kept as {path}, and there a file and a folder have one name; "
            "move what is there away, or name another --crawl-cache."
        )


def _fetch_with_retries(address: str, part: BinaryIO, version: Path) -> None:
    """Fetches what is missing of a file; ten attempts take five minutes without a network."""
    tenacity.Retrying(
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_exponential_jitter(FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS),
        retry=tenacity.retry_if_exception_type(TRANSIENT),
        before_sleep=_warn_once,
        reraise=True,
    )(_resume, address, part, version)


def _warn_once(state: tenacity.RetryCallState) -> None:
    """Warns after the first attempt, so that nobody waits without knowing for what."""
    if state.attempt_number == 1 and state.outcome is not None:
        logging.getLogger(__name__).warning(
            "%s could not be fetched (%s); %d more attempts follow, at growing intervals.",
            state.args[0],
            _reason(state.outcome.exception()),
            ATTEMPTS - 1,
        )


def _reason(error: BaseException | None) -> str:
    """Returns an error's reason, which lies within the errors of `requests` and `urllib3`."""
    cause: object = error
    while isinstance(cause, OUTER) and cause.args:
        cause = cause.args[-1]
    return join_names([" ".join(str(getattr(cause, "reason", cause)).split())])


def _resume(address: str, part: BinaryIO, version: Path) -> None:
    """Appends what is missing to an unfinished file of the version that `version` names."""
    known = version.read_text(encoding="utf-8") if version.exists() else ""
    have = part.seek(0, 2) if known else 0
    rest = {"Range": f"bytes={have}-", "If-Range": known} if have else {}
    headers = {"Accept-Encoding": "identity"} | rest
    with (
        OneServer() as session,
        session.get(address, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as answer,
    ):
        _check_status(answer, address)
        if not _continues(answer, have):
            part.truncate(0)
            tag = answer.headers.get("ETag", "")  # `If-Range` takes a strong one, or else a date
            latest = tag if tag.startswith('"') else answer.headers.get("Last-Modified", "")
            version.write_text(latest, encoding="utf-8")
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            raise IncompleteTransfer("the unfinished download did not match the file")
        expected = _size(answer, address)
        _check_size(expected or 0, address)
        _check_room((expected or 0) - part.seek(0, 2), version.parent, address)
        _append(answer, part, version.parent, address)
    size = part.seek(0, 2)
    if expected is not None and size != expected:
        raise IncompleteTransfer(f"{size:,} bytes of {expected:,} arrived")


def _append(answer: requests.Response, part: BinaryIO, folder: Path, address: str) -> None:
    """Writes the content as it arrives, up to the largest size of a file."""
    size = part.seek(0, 2)
    for content in answer.raw.stream(PART_BYTES, decode_content=False):
        size += len(content)
        _check_size(size, address)
        _check_room(len(content), folder, address)
        part.write(content)
    part.flush()


def _check_status(answer: requests.Response, address: str) -> None:
    """Raises an error for the status, unless it comes with content or is 416.

    Raises:
        IncompleteTransfer: if another attempt may succeed.
        DataError: if the file cannot be had.
    """
    code = answer.status_code
    if code in BUSY or code >= 500:
        raise IncompleteTransfer(f"status {code}")
    if code not in (200, 206, 416):
        raise DataError(
            f"{address} was asked for and the server answers with status {code}; "
            "check the list and the base address."
        )


def _continues(answer: requests.Response, have: int) -> bool:
    """Returns whether the content begins where the unfinished file ends."""
    start = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return answer.status_code == requests.codes.partial_content and start.strip() == str(have)


def _check_size(size: int, address: str) -> None:
    if size > LARGEST_BYTES:
        raise DataError(
            f"{address} was asked for, and more than {LARGEST_BYTES:,} bytes were announced or "
            "arrived, which no file of a crawl has; check the list and the base address."
        )


def _check_room(coming: int, folder: Path, address: str) -> None:
    free = shutil.disk_usage(folder).free
    if free - coming < LEAST_FREE_BYTES:
        raise DataError(
            f"{address} was asked for, and {free:,} bytes are free below {folder}, of which "
            f"{LEAST_FREE_BYTES:,} stay free; make room, or name another disk by --crawl-cache "
            "(without it by TMPDIR)."
        )


def _size(answer: requests.Response, address: str) -> int | None:
    """Returns the size of the whole file; None if the content is chunked, which marks its end.

    Raises:
        DataError: if the end of the content cannot be told from a broken connection.
    """
    if answer.status_code == requests.codes.partial_content:
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        total = answer.headers.get("Content-Length", "")
    if NUMBER.fullmatch(total):
        return int(total)
    if answer.raw.headers.get("Transfer-Encoding", "").lower() == "chunked":
        return None
    raise DataError(
        f"{address} was asked for and the server sends no length, so a file that was cut short "
        "could not be told from a whole one; use another server."
    )
