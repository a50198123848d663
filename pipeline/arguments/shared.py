"""What several commands take: a place of a run, hosts, a cache, `--dry-run`."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.constructors import PrimitiveConstructorSpec

from data.errors import DataError
from data.files.paths import Place, place

# A directory of a run: on this machine, or in an object store.
RunPlace = Annotated[
    Place,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda words: place(words[0]),
        is_instance=lambda value: isinstance(value, Place),
        str_from_instance=lambda value: [str(value)],
    ),
]


@dataclass(frozen=True, kw_only=True)
class StageArguments:
    """A command that reads or writes."""

    dry_run: bool = False
    """Print what would be read and written, and refuse what the command would refuse; write
    nothing."""


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """The hosts of a command; every host runs the same one."""

    count: int = 1
    """Number of processes, one per host."""
    index: int | None = None
    """Index of this process, from 0; detected on a TPU pod and under Slurm."""
    coordinator: str | None = None
    """HOST:PORT of the first process; detected on a TPU pod and under Slurm."""


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """The cache for blocks of an object store; the processes of a host share it."""

    directory: Path = Path("~/.cache/mswitch")
    """Local directory of this host."""
    gigabytes: float = 100.0
    """Largest size of the cache; the least recently used blocks are evicted."""

    @property
    def limit_bytes(self) -> int:
        """Largest size of the cache in bytes.

        Raises:
            DataError: if it is not a positive number.
        """
        if not 1e-9 <= self.gigabytes < math.inf:
            raise DataError(
                f"--cache.gigabytes was {self.gigabytes:g}; give a finite number above 0."
            )
        return round(self.gigabytes * 1e9)
