"""An output directory on an object store, as far as claims need it (`artifacts.Place`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline import storage
from pipeline.json_files import as_json, parsed


@dataclass(frozen=True)
class StoredPlace:
    """A directory of a store."""

    directory: str

    def has(self, name: str) -> bool:
        """Says whether there is such a file."""
        return storage.exists(storage.join(self.directory, name))

    def is_there(self) -> bool:
        """Says whether there is anything below it, which is all that a store knows."""
        return self.holds_something()

    def holds_something(self) -> bool:
        """Says whether there is anything but what a kill in the first moment leaves."""
        return storage.holds_something(self.directory, but=storage.WORK)

    def contents(self, name: str) -> bytes:
        """Returns the bytes of a file."""
        return storage.read_bytes(storage.join(self.directory, name))

    def read(self, name: str) -> dict[str, Any]:
        """Returns the JSON object in a file.

        Raises:
            ArtifactError: the file is not JSON.
        """
        return parsed(self.contents(name), storage.join(self.directory, name))

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """Writes a JSON object, whole or not at all."""
        scratch = storage.join(self.directory, storage.WORK, "scratch")
        with storage.published(storage.join(self.directory, name), scratch) as unfinished:
            unfinished.write_text(as_json(value), encoding="utf-8")

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        if self.has(name):
            storage.remove(storage.join(self.directory, name))
