"""SHA-256 of contents, values and directories; of names and sizes where contents are terabytes."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from data.files.paths import local_copy, open_file


def digest_of_files(files: Iterable[tuple[str, int]]) -> str:
    """Returns a digest of names and sizes: enough to notice other inputs, cheap for terabytes."""
    listing = sorted((path.rsplit("/", 1)[-1], size) for path, size in files)
    return digest_of_value(listing)


def digest_of_directory(directory: Path) -> str:
    """Returns a digest of the names and contents of a directory's files, for small ones."""
    files = sorted(path for path in directory.iterdir() if path.is_file())
    return digest_of_value([(path.name, digest_of_contents(path)) for path in files])


def digest_of_contents(path: str | Path) -> str:
    """Returns a digest of a file's bytes; a file of a store is fetched."""
    with local_copy(str(path)) as here, open_file(here) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_value(value: Any) -> str:
    """Returns a digest of a JSON value."""
    return digest_of_bytes(json.dumps(value, sort_keys=True).encode())


def digest_of_bytes(content: bytes) -> str:
    """Returns a digest of bytes: that of a file with this content."""
    return hashlib.sha256(content).hexdigest()
