"""Arrays of checkpoints in an object store: each host writes its own shards, any mesh reads them.

JAX's own serialization writes each shard as one object through TensorStore, in the background, and
calls a function on the first host once the objects of all hosts are there. That function marks the
arrays as complete; this module does not. Arrays are numbered, because their names hold characters
that stores treat differently.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.experimental.array_serialization.serialization import GlobalAsyncCheckpointManager

KvStore = Mapping[str, Any]  # TensorStore's JSON of a folder; its path ends with a slash
# Objects of zeros are written too, so that one that is missing is an error and not zeros.
EXPLICIT = {"store_data_equal_to_fill_value": True, "fill_missing_data_reads": False}
UNCACHED = {"cache_pool": {"total_bytes_limit": 0}}  # JAX would keep 10 GB of what was read
OTHER_HOSTS_SECONDS = 600  # that a host waits for the others after its own last object


class StoredArrays:
    """Writes one table of arrays at a time."""

    def __init__(self):
        self._manager = GlobalAsyncCheckpointManager(OTHER_HOSTS_SECONDS)

    def save(
        self, folder: KvStore, arrays: Sequence[jax.Array], commit: Callable[[], None]
    ) -> None:
        """Starts to write arrays; returns once they are copied from the devices.

        Waits for the table before, and raises whatever that met.

        Args:
            folder: where to write; nothing is there.
            arrays: the arrays.
            commit: called in a thread of the first host when all arrays of all hosts are written.
        """
        specs = [_spec(folder, number) for number in range(len(arrays))]
        self._manager.serialize(list(arrays), specs, on_commit_callback=commit)

    def check(self) -> None:
        """Raises what a save met in the background."""
        self._manager.check_for_errors()

    def wait(self) -> None:
        """Waits for the last save, and raises what it met."""
        self._manager.wait_until_finished()


def read(folder: KvStore, shapes: Mapping[int, jax.ShapeDtypeStruct]) -> list[jax.Array]:
    """Returns arrays by number, with the shardings of their shapes.

    Raises:
        ValueError: if an array has another shape or type; TensorStore raises what else it meets.
    """
    arrays = GlobalAsyncCheckpointManager().deserialize(
        [shape.sharding for shape in shapes.values()],
        [_spec(folder, number) for number in shapes],
    )
    for array, shape in zip(arrays, shapes.values(), strict=True):
        if (array.shape, array.dtype) != (shape.shape, shape.dtype):
            raise ValueError(
                f"an array is {array.dtype}{list(array.shape)} there and should be "
                f"{shape.dtype}{list(shape.shape)}"
            )
    return arrays


def _spec(folder: KvStore, number: int) -> dict[str, Any]:
    kvstore = {**folder, "path": f"{folder['path']}{number}/"}
    return {"driver": "zarr3", "kvstore": kvstore, "context": UNCACHED, **EXPLICIT}
