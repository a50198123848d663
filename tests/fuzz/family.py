"""What a reader of strangers' bytes must hold for every input, and one trial of it.

Ours are the only exceptions, each one sentence. The work of an input is what its reader returned,
in characters and records, and is bounded by the size of the input: DEFLATE unpacks a byte to 1,032.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mutations import mutated

from data.errors import DataError
from data.reading.page import BrokenRecord, Page
from pipeline.errors import ArtifactError

OURS = (DataError, ArtifactError)
LARGEST_RATIO = 1032
FREE_WORK = 128 << 20  # of an input however small: the reader of Parquet allows half of it
LONGEST_MESSAGE = 2000
Mutate = Callable[[Sequence[bytes], random.Random], bytes]


class Read(NamedTuple):
    """What a reader made of an input: its work, and whether any of it was refused."""

    work: int
    refused: bool


class Broken(AssertionError):
    """An input for which the reader does not hold its promise."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """A reader with its inputs.

    Attributes:
        name: name of the reader in the table.
        file: name of the file that it reads; the name decides about compression.
        seeds: valid inputs, and damaged ones, to mutate.
        read: reads a file to its end.
        mutate: makes an input of seeds: of their bytes, or of the values in them (`values.py`).
    """

    name: str
    file: str
    seeds: Sequence[bytes]
    read: Callable[[Path], Read]
    mutate: Mutate = mutated

    def input(self, number: int) -> bytes:
        """Returns the input of this number; the same in every run."""
        return self.mutate(self.seeds, random.Random(f"{self.name} {number}"))

    def trial(self, content: bytes, directory: Path) -> Read:
        """Reads one input.

        Raises:
            Broken: if the reader raises another's exception, or works too much.
        """
        path = directory / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        try:
            found = self.read(path)
        except OURS as error:
            if "\n" in str(error).strip() or len(str(error)) > LONGEST_MESSAGE:
                raise Broken(f"{self.name}: no sentence: {str(error)[:300]!r}") from error
            return Read(0, True)
        except Exception as error:
            raise Broken(f"{self.name}: {type(error).__name__}: {str(error)[:300]}") from error
        if found.work > LARGEST_RATIO * len(content) + FREE_WORK:
            raise Broken(f"{self.name}: {len(content):,} bytes make {found.work:,} of work")
        return found


def read_pages(found: Iterable[Page | BrokenRecord]) -> Read:
    """Returns what a reader of pages made of its file."""
    work, refused = 0, False
    for one in found:
        work += 1 + (len(one.text) if isinstance(one, Page) else 0)
        refused = refused or isinstance(one, BrokenRecord)
    return Read(work, refused)
