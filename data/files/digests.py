"""SHA-256 of contents, values and directories; of places and sizes where contents are terabytes."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from data.errors import DataError
from data.files.paths import is_remote, local_copy, open_file

MOST_NAMED = 1_000  # files with a digest each; more have one together


def digests_of_files(files: Sequence[tuple[str, int]]) -> dict[str, str]:
    """Returns digests of places and sizes: enough to notice other inputs, cheap for terabytes.

    A digest has the name of its file, so that one that changed can be named.
    """
    if len(files) > MOST_NAMED:
        return {"files": digest_of_value(sorted(files))}
    names = names_below([path for path, _ in files])
    return {f"file {name}": digest_of_value(file) for name, file in zip(names, files, strict=True)}


def names_below(paths: Sequence[str | Path]) -> list[str]:
    """Returns each file's path below the directory that all are in, however it was spelled."""
    whole = [one_spelling(str(path)) for path in paths]
    directory = os.path.commonprefix(whole).rpartition("/")[0]  # noqa: RUF071
    return [path[len(directory) :].removeprefix("/") for path in whole]


def one_spelling(path: str) -> str:
    """Returns the same path for every spelling of a file's directory; the file keeps its name."""
    if is_remote(path):
        return path
    directory, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(directory), name)


def digest_of_directory(directory: Path) -> str:
    """Returns a digest of the names and contents of a directory's files, for small ones."""
    files = sorted(path for path in directory.iterdir() if path.is_file())
    return digest_of_value([(path.name, digest_of_contents(path)) for path in files])


def digest_of_contents(path: str | Path) -> str:
    """Returns a digest of a file's bytes; a file of a store is fetched."""
    with local_copy(str(path)) as here, open_file(here) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def checked_copy(path: str, digest: str) -> Iterator[Path]:
    """Yields a file on this disk, fetched from a store, that is what was written.

    Args:
        path: the file.
        digest: its digest as recorded; "" where none was, so that nothing is compared.

    Raises:
        DataError: if the file is another one.
    """
    with local_copy(path) as here:
        if digest and digest_of_contents(here) != digest:
            raise DataError(
                f"{path} is damaged or another file: its SHA-256 is not the one that was recorded; "
                "restore it, or write it again."
            )
        yield here


def digest_of_value(value: Any) -> str:
    """Returns a digest of a JSON value."""
    return digest_of_bytes(json.dumps(value, sort_keys=True).encode())


def digest_of_bytes(content: bytes) -> str:
    """Returns a digest of bytes: that of a file with this content."""
    return hashlib.sha256(content).hexdigest()
