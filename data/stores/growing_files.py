"""Text files that grow by lines, on this machine or in a store.

Here a line is appended. A store cannot append: lines wait in memory until the file is published,
which writes it whole. A reader of a store finds the file as it was last published.
"""

from data.stores.addresses import Address, Place
from data.stores.atomic import write_bytes
from data.stores.files import exists, read_bytes
from data.stores.locks import check_held


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
