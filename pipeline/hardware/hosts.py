"""Many hosts, one run: who is who, which rows of a batch each host reads, who writes.

Rows lie on devices in the order of the batch, so a host's share is the stretch of rows that its
devices hold; shares are disjoint and together the batch, which is checked before the first step.
Batches are therefore the same, row for row, on any number of hosts. The first host alone writes
what is not an array; Orbax lets every host write its own arrays.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from model.batch import Batch
from model.config import ConfigurationError
from model.sharding import batch_sharding
from pipeline.errors import ArtifactError


class Share(NamedTuple):
    """A host's part of every batch: rows [first, stop), the `number`-th of `shares` equal parts."""

    first: int
    stop: int
    number: int
    shares: int


def connect(count: int, index: int | None, coordinator: str | None) -> None:
    """Joins the processes of a run; must come before anything else asks JAX for devices.

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
            "and TPU pods name --hosts.coordinator HOST:PORT and --hosts.index."
        ) from error


def share_of(mesh: Mesh, rows: int, process: int) -> Share:
    """Returns which rows of a batch a process reads.

    Raises:
        ConfigurationError: the mesh gives hosts uneven or overlapping rows.
    """
    parts: dict[int, tuple[int, int]] = {}
    for device, (rows_of_device,) in batch_sharding(mesh).devices_indices_map((rows,)).items():
        first, stop, _ = rows_of_device.indices(rows)
        known = parts.get(device.process_index, (first, stop))
        parts[device.process_index] = min(first, known[0]), max(stop, known[1])
    shares = sorted(set(parts.values()))  # hosts that split a model share its rows
    size = rows // len(shares)
    if shares != [(number * size, (number + 1) * size) for number in range(len(shares))]:
        raise ConfigurationError(
            f"A mesh of {dict(mesh.shape)} gives the hosts the rows {shares} of {rows}, which are "
            "not equal, disjoint and complete; let mesh.model divide the devices of a host, or be "
            "a multiple of them."
        )
    return Share(*parts[process], shares.index(parts[process]), len(shares))


def to_devices(
    arrays: Mapping[str, np.ndarray], mesh: Mesh, rows: int, first_row: int = 0
) -> Batch:
    """Turns a host's rows into its part of the global batch: where text and network meet.

    Args:
        arrays: this host's rows, or all of them.
        mesh: the devices.
        rows: of the global batch.
        first_row: where the host's rows begin in it.
    """
    sharding = batch_sharding(mesh)

    def on_devices(array: np.ndarray) -> jax.Array:
        def part(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None  # it is, for arrays with dimensions
            first, stop, _ = index[0].indices(rows)
            return array[first - first_row : stop - first_row]

        return jax.make_array_from_callback((rows, *array.shape[1:]), sharding, part)

    return Batch(**{name: on_devices(array) for name, array in arrays.items()})


def is_first() -> bool:
    """Returns whether this is the host that writes."""
    return jax.process_index() == 0


def on_every_host(here: bool) -> bool:
    """Returns whether something holds on all hosts; every one of them must ask."""
    if jax.process_count() == 1:
        return here
    return bool(multihost_utils.process_allgather(np.bool_(here)).all())


def on_first_host(action: Callable[[], int]) -> int:
    """Runs an action on the first host and returns its number on all of them.

    Raises:
        ArtifactError: it failed there; the first host says why, the others that it did.
    """
    if jax.process_count() == 1:
        return action()
    failure: Exception | None = None
    answer = -1
    if is_first():
        try:
            answer = action()
        except Exception as error:  # told to the others first, then raised
            failure = error
    answer = int(multihost_utils.broadcast_one_to_all(np.int32(answer)))
    if failure is not None:
        raise failure
    if answer < 0:
        raise ArtifactError("The first host stopped; its message says why.")
    return answer
