"""One of two hosts of a checkpoint, of which a file that host 1 alone reads is gone.

FILE DIRECTORY INDEX HOST:PORT
"""

import sys
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pipeline.runs.checkpoint_errors import CheckpointError
from pipeline.runs.checkpoints import Checkpoints

SIZE = 1 << 18


def main(directory: str, index: str, address: str) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, 2, int(index))
    each = [
        next(one for one in jax.devices() if one.process_index == process) for process in range(2)
    ]
    rows = NamedSharding(Mesh(np.array(each), ("model",)), PartitionSpec("model"))
    values = np.arange(2 * SIZE, dtype=np.float32).reshape(2, SIZE)
    state = {"a": jax.make_array_from_callback(values.shape, rows, lambda part: values[part])}
    checkpoints = Checkpoints(Path(directory))
    for step in (1, 2):
        checkpoints.save(step, state)
    checkpoints.close()
    if index == "0":
        next(Path(directory).glob("2-*/0/c/1/0")).unlink()
    multihost_utils.sync_global_devices("damaged")
    again = Checkpoints(Path(directory))
    shapes = {"a": jax.ShapeDtypeStruct(values.shape, np.float32, sharding=rows)}
    try:
        again.restore(2, shapes)
    except CheckpointError as error:
        print("refused:", error, file=sys.stderr)
    again.set_aside(2)
    found = again.restore(1, shapes)["a"]
    assert all(np.array_equal(part.data, values[part.index]) for part in found.addressable_shards)
    print("restored 1", file=sys.stderr)
    again.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
