"""Batches on devices: the rows that each host reads, and outputs read one behind what is computed.

Rows lie on devices in the order of the batch, so a host's share is the rows that its devices hold:
one stretch of the batch, or several where the expert axis spans slices. Shares are disjoint and
cover the batch, which is checked before the first step. Batches are therefore the same, row for
row, on any number of hosts.

A call of a compiled function returns before its output is computed. Where the host reads an output
after it has called for the next one, devices compute while it reads. Two outputs are held, beside
the one that its reader keeps.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int

from model.batch import Batch
from model.config import ConfigurationError
from model.sharding.layouts import batch_sharding


class Share(NamedTuple):
    """A host's rows of every batch.

    Attributes:
        numbers: numbers of the host's stretches.
        stretches: number of equal stretches of a batch.
        rows: number of rows of a batch.
    """

    numbers: tuple[int, ...]
    stretches: int
    rows: int

    @property
    def here(self) -> Int[np.ndarray, " here"]:
        """Numbers of the host's rows, in order."""
        size = self.rows // self.stretches
        return (np.array(self.numbers)[:, None] * size + np.arange(size)).reshape(-1)

    @property
    def readers(self) -> int:
        """Number of hosts that read these rows: those that split a model."""
        return jax.process_count() * len(self.numbers) // self.stretches


def whole(rows: int) -> Share:
    """Returns the share of a host that reads all rows."""
    return Share((0,), 1, rows)


def share_of(mesh: Mesh, rows: int, process: int) -> Share:
    """Returns the rows of a batch that a process reads.

    Raises:
        ConfigurationError: if the mesh gives hosts uneven or overlapping rows.
    """
    starts_of: dict[int, set[int]] = {}
    size = rows
    for device, (rows_of_device,) in batch_sharding(mesh).devices_indices_map((rows,)).items():
        first, stop, _ = rows_of_device.indices(rows)
        starts_of.setdefault(device.process_index, set()).add(first)
        size = stop - first
    shares = {tuple(sorted(starts)) for starts in starts_of.values()}
    held = sorted(start for starts in shares for start in starts)
    if held != list(range(0, rows, size)) or len({len(starts) for starts in shares}) > 1:
        raise ConfigurationError(
            f"A mesh of {dict(mesh.shape)} gives hosts overlapping or uneven parts of {rows} rows; "
            "let mesh.model divide the devices of a host, or be a multiple of them."
        )
    return _in_longest_stretches(tuple(sorted(starts_of[process])), shares, size, rows)


def _in_longest_stretches(
    starts: tuple[int, ...], shares: set[tuple[int, ...]], size: int, rows: int
) -> Share:
    """Returns a share in the longest stretches of which every host's share consists."""
    run = math.gcd(
        *(length for share in shares for length in _runs([start // size for start in share]))
    )
    stretch = run * size
    numbers = tuple(start // stretch for start in starts if start % stretch == 0)
    return Share(numbers, rows // stretch, rows)


def _runs(numbers: list[int]) -> list[int]:
    """Returns the first number and the length of each run of consecutive numbers."""
    ends = [at for at in range(len(numbers)) if at == 0 or numbers[at] != numbers[at - 1] + 1]
    lengths = np.diff([*ends, len(numbers)]).tolist()
    return [*(numbers[at] for at in ends), *lengths]


def to_devices(
    arrays: Mapping[str, np.ndarray], mesh: Mesh, rows: int, share: Share | None = None
) -> Batch:
    """Returns the global batch with this host's rows on its devices.

    Text and network meet here: `Batch(**arrays)`.

    Args:
        arrays: this host's rows, or all rows.
        mesh: mesh of all devices.
        rows: number of rows of the global batch.
        share: share of the given rows; None if they are all.
    """
    sharding = batch_sharding(mesh)
    here = (share or whole(rows)).here

    def on_devices(array: np.ndarray) -> jax.Array:
        def part(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None  # never None for arrays with dimensions
            first, stop, _ = index[0].indices(rows)
            at = np.searchsorted(here, first)
            return array[at : at + stop - first]

        return jax.make_array_from_callback((rows, *array.shape[1:]), sharding, part)

    return Batch(**{name: on_devices(array) for name, array in arrays.items()})


def rows_on_devices(rows: np.ndarray, mesh: Mesh) -> jax.Array:
    """Returns rows that every host has, split over the batch axes of a mesh."""
    return jax.make_array_from_callback(rows.shape, batch_sharding(mesh), lambda part: rows[part])


def sum_over_hosts(numbers: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Returns the sums of each host's numbers, on all hosts; every host must call this.

    Args:
        numbers: this host's numbers; their sums are below 2**31.
    """
    count = jax.process_count()
    if count == 1:
        return numbers
    firsts = {device.process_index: device for device in reversed(jax.devices())}
    mesh = Mesh([firsts[host] for host in range(count)], ("hosts",))
    whole, split = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("hosts",)))
    here = numbers[None].astype(np.int32)
    all_hosts = jax.make_array_from_process_local_data(split, here, (count, numbers.size))
    return np.asarray(jax.jit(lambda rows: rows.sum(axis=0), out_shardings=whole)(all_hosts))


Output = TypeVar("Output")


class Stop(Exception):
    """The work was abandoned between two batches."""


def one_ahead(outputs: Iterable[Output]) -> Iterator[Output]:
    """Yields each output when the next one has been called for.

    Args:
        outputs: calls the devices for one output at each step.
    """
    calls = iter(outputs)
    for before in calls:
        for output in calls:
            yield before
            before = output
        yield before
