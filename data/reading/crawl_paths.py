"""A crawl's list of paths (`wet.paths.gz`): one relative path per line, below one base address.

The list comes from the web. It is read line by line, and its size is bounded: five times what
Common Crawl lists for one crawl (100,000 paths of 140 bytes).
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from data.errors import DataError

SUFFIXES = (".paths", ".paths.gz")
MOST_LINES = 500_000
MOST_BYTES = 70_000_000  # of text, however small the list is when compressed
LONGEST_LINE = 1024  # bytes


def read(path: Path) -> Iterator[str]:
    """Yields the paths of a list, gzipped or not, in its order.

    Raises:
        DataError: if the list cannot be read, is empty or too large, or leads out of its directory.
    """
    empty = True
    for line in _lines(path):
        if name := line.strip():
            _check(name, path)
            empty = False
            yield name
    if empty:
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
                        f"{path} should be a crawl's list of paths and is larger than any: more "
                        f"than {MOST_LINES:,} lines, {MOST_BYTES:,} bytes, or {LONGEST_LINE:,} "
                        "bytes in one line; fetch it again, or divide it."
                    )
                yield line.decode()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(
            f"{path} should be a list of paths, one per line, and cannot be read ({error}); "
            "fetch it again."
        ) from error


def _check(name: str, path: Path) -> None:
    if name.startswith("/") or ".." in name.split("/") or not name.isprintable():
        raise DataError(
            f"{path} lists {name!r}, which is not a path below a base address; remove the line or "
            "fetch the list again."
        )
