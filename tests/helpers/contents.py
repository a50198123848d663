"""What a directory's files hold, by their names in it: for outputs that must be equal."""

import hashlib
from pathlib import Path


def contents(directory: Path) -> dict[str, bytes]:
    """Returns all files of a directory."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def digests(directory: Path) -> dict[str, str]:
    """Returns the SHA-256 of all files of a directory."""
    files = contents(directory).items()
    return {name: hashlib.sha256(content).hexdigest() for name, content in files}
