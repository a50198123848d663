"""The bytes of a fastText model's file, from which no more is read than there is.

Integers are little-endian, as the loader reads them on the machines that mswitch supports.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

from data.errors import DataError

LONGEST_WORD = 1 << 20  # bytes
TAIL = struct.Struct("<qb")  # behind a word and its NUL: count and type
SHORTEST_ENTRY = 1 + TAIL.size


class ModelContent:
    """The bytes of a model's file, read from its beginning to its end."""

    def __init__(self, model: Path, file: BinaryIO):
        self._model, self._file = model, file
        self.size = model.stat().st_size

    def refuse(self, reason: str) -> NoReturn:
        """Raises the error for a file that is not a classifier."""
        raise not_a_classifier(self._model, reason)

    def require(self, holds: bool, reason: str) -> None:
        """Refuses the file unless the condition holds."""
        if not holds:
            self.refuse(reason)

    def left(self) -> int:
        """Returns the number of bytes not yet read."""
        return self.size - self._file.tell()

    def has(self, count: int, what: str) -> None:
        """Checks that `count` bytes follow."""
        if not 0 <= count <= self.left():
            self.refuse(f"{what} of {count:,} bytes where {self.left():,} bytes of the file remain")

    def read(self, count: int, what: str) -> bytes:
        """Returns the next `count` bytes."""
        self.has(count, what)
        found = self._file.read(count)
        self.require(len(found) == count, "it was cut while it was read")
        return found

    def skip(self, count: int, what: str) -> None:
        """Skips `count` bytes."""
        self.has(count, what)
        self._file.seek(count, 1)

    def numbers(self, layout: str, what: str) -> tuple:
        """Returns the numbers of a layout of `struct`."""
        return struct.unpack(layout, self.read(struct.calcsize(layout), what))

    def flag(self, what: str) -> bool:
        """Returns a byte that is 0 or 1."""
        (value,) = self.numbers("<B", what)
        self.require(value in (0, 1), f"{what} is {value} instead of 0 or 1")
        return bool(value)

    def entries(self, count: int) -> Iterator[tuple[bytes, int, int]]:
        """Yields `count` words of the dictionary with their counts and types."""
        block, at = b"", 0
        for number in range(count):
            end = block.find(b"\0", at)
            while end < 0 or end + SHORTEST_ENTRY > len(block):
                more = self._file.read(LONGEST_WORD)
                if not more or len(block) - at > 2 * LONGEST_WORD:
                    self.refuse(f"word {number + 1:,} of {count:,} has no end")
                block, at = block[at:] + more, 0
                end = block.find(b"\0")
            yield block[at:end], *TAIL.unpack_from(block, end + 1)
            at = end + SHORTEST_ENTRY
        self._file.seek(at - len(block), 1)


def not_a_classifier(model: Path, reason: str) -> DataError:
    """Returns the error for a file that is not what the user called it."""
    return DataError(
        f"Language identifier {str(model)!r} should be a fastText classifier and is not "
        f"({reason}); give one such as GlotLID's model.bin."
    )
