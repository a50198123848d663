"""Folders that libraries write to, which know this machine's files only.

A folder of this machine is used as it is. For a store there is a temporary one, whose files are
uploaded when they are published. A library's file may grow, so all are uploaded each time.
"""

import tempfile
from pathlib import Path

from data.stores.addresses import Place
from data.stores.atomic import upload
from data.stores.locks import check_held


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
