"""What grows while a command runs: files that grow by lines, and folders that libraries write to.

On this machine a line is appended. A store cannot append: lines wait in memory until the file is
published, which writes it whole. A reader of a store finds the file as it was last published.

A folder of this machine is used as it is. For a store there is a temporary one, whose files are
uploaded when they are published. A library's file may grow, so all are uploaded each time.

Only the holder of the directory's lock publishes.
"""

import tempfile
from pathlib import Path

from data.files.atomic import upload, write_bytes
from data.files.locks import check_held
from data.files.paths import Address, Place, exists, read_bytes


class GrowingFile:
    """One file.

    Args:
        path: where it lies; lines that are there already stay.
    """

    def __init__(self, path: Place):
        self.path = path
        self._published: bytes | None = None  # not read yet
        self._lines: list[bytes] = []

    def add(self, line: str) -> None:
        """Adds a line."""
        content = f"{line}\n".encode()
        if isinstance(self.path, Address):
            self._lines.append(content)
            return
        with self.path.open("ab") as file:
            file.write(content)

    def publish(self) -> None:
        """Makes the lines visible to all readers; those of a local file are already.

        Raises:
            LockLost: if another process has taken the lock on the directory.
            DataError: if the store cannot be written.
        """
        if not self._lines:
            return
        check_held(self.path)
        if self._published is None:
            self._published = read_bytes(self.path) if exists(self.path) else b""
        content = b"".join([self._published, *self._lines])
        write_bytes(self.path, content)
        self._published, self._lines = content, []


class WorkingFolder:
    """One folder; made on first use.

    Args:
        directory: where its files are to lie.

    Attributes:
        here: the folder on this machine.
    """

    def __init__(self, directory: Place):
        self._directory = directory
        self._temporary: tempfile.TemporaryDirectory | None = None
        if isinstance(directory, Path):
            self.here = directory
            self.here.mkdir(parents=True, exist_ok=True)
        else:
            self._temporary = tempfile.TemporaryDirectory(prefix="mswitch-")
            self.here = Path(self._temporary.name)

    def publish(self) -> None:
        """Uploads the files, if they are to lie in a store.

        Raises:
            DataError: if the store cannot be written.
            LockLost: if another process has taken the lock on the directory.
        """
        if self._temporary is None:
            return
        check_held(str(self._directory))
        for file in sorted(self.here.rglob("*")):
            if file.is_file() and not file.is_symlink():
                upload(file, f"{self._directory}/{file.relative_to(self.here)}")

    def close(self) -> None:
        """Removes a temporary folder."""
        if self._temporary is not None:
            self._temporary.cleanup()
