"""Runs over several hosts: joining their processes, the rows that each host reads, the writer.

Rows lie on devices in the order of the batch, so a host's share is the contiguous range of rows
that its devices hold. Shares are disjoint and cover the batch, which is checked before the first
step. Batches are therefore the same, row for row, on any number of hosts. The first host writes all
files except arrays; with Orbax every host writes its own arrays.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from model.batch import Batch
from model.config import ConfigurationError
from model.sharding.layouts import batch_sharding
from pipeline.errors import ArtifactError


class Share(NamedTuple):
    """A host's rows [first, stop) of every batch, number `number` of `shares` equal ranges."""

    first: int
    stop: int
    number: int
    shares: int


def connect(count: int, index: int | None, coordinator: str | None) -> None:
    """Joins the processes of a run; call before any use of JAX's devices.

    Args:
        count: number of processes.
        index: number of this process, from 0; None where a TPU pod or Slurm provides it.
        coordinator: HOST:PORT of the first process; None where a TPU pod or Slurm provides it.

    Raises:
        ArtifactError: if the other processes cannot be found.
    """
    if count == 1:
        return
    try:
        jax.distributed.initialize(coordinator, count, index)
    except (RuntimeError, ValueError) as error:
        raise ArtifactError(
            f"{count} hosts were asked for and could not be joined ({error}); outside Slurm "
            "and TPU pods give --hosts.coordinator HOST:PORT and --hosts.index."
        ) from error


def share_of(mesh: Mesh, rows: int, process: int) -> Share:
    """Returns the rows of a batch that a process reads.

    Raises:
        ConfigurationError: if the mesh gives hosts uneven or overlapping rows.
    """
    rows_of: dict[int, tuple[int, int]] = {}
    for device, (rows_of_device,) in batch_sharding(mesh).devices_indices_map((rows,)).items():
        first, stop, _ = rows_of_device.indices(rows)
        known = rows_of.get(device.process_index, (first, stop))
        rows_of[device.process_index] = min(first, known[0]), max(stop, known[1])
    shares = sorted(set(rows_of.values()))  # hosts that split a model read the same rows
    size = rows // len(shares)
    if shares != [(number * size, (number + 1) * size) for number in range(len(shares))]:
        raise ConfigurationError(
            f"A mesh of {dict(mesh.shape)} gives the hosts the rows {shares} of {rows}, which are "
            "not equal, disjoint and complete; let mesh.model divide the devices of a host, or be "
            "a multiple of them."
        )
    return Share(*rows_of[process], shares.index(rows_of[process]), len(shares))


def to_devices(
    arrays: Mapping[str, np.ndarray], mesh: Mesh, rows: int, first_row: int = 0
) -> Batch:
    """Returns the global batch with this host's rows on its devices.

    Text and network meet here: `Batch(**arrays)`.

    Args:
        arrays: this host's rows, or all rows.
        mesh: mesh of all devices.
        rows: number of rows of the global batch.
        first_row: position in the global batch of the first given row.
    """
    sharding = batch_sharding(mesh)

    def on_devices(array: np.ndarray) -> jax.Array:
        def part(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None  # never None for arrays with dimensions
            first, stop, _ = index[0].indices(rows)
            return array[first - first_row : stop - first_row]

        return jax.make_array_from_callback((rows, *array.shape[1:]), sharding, part)

    return Batch(**{name: on_devices(array) for name, array in arrays.items()})


def is_first() -> bool:
    """Returns whether this is the first host, which writes."""
    return jax.process_index() == 0


def on_every_host(here: bool) -> bool:
    """Returns whether something holds on all hosts; every host must call this."""
    if jax.process_count() == 1:
        return here
    return bool(multihost_utils.process_allgather(np.bool_(here)).all())


def on_first_host(action: Callable[[], int]) -> int:
    """Runs an action on the first host and returns its number on all hosts.

    Raises:
        ArtifactError: on the other hosts, if the action failed; the first raises its own error.
    """
    if jax.process_count() == 1:
        return action()
    failure: Exception | None = None
    answer = -1
    if is_first():
        try:
            answer = action()
        except Exception as error:  # raised once the other hosts have received the failure
            failure = error
    answer = int(multihost_utils.broadcast_one_to_all(np.int32(answer)))
    if failure is not None:
        raise failure
    if answer < 0:
        raise ArtifactError("The first host stopped; see its message for the cause.")
    return answer
