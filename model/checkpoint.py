"""Checkpoints by Orbax: written in the background, whole or not there, restored on any mesh.

A checkpoint is a flat table from a name such as `.arrays.encoder.blocks[0].self_attention.query` to
an array, so that it can be read without the classes that wrote it. Its number is the count of
updates, which is also the loader's whole state. Orbax writes to a temporary folder and renames it:
a kill at any instant leaves the last finished one.
"""

from pathlib import Path
from typing import TypeVar

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree

State = TypeVar("State", bound=PyTree)
KEPT = 2


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, directory: Path):
        options = ocp.CheckpointManagerOptions(max_to_keep=KEPT, create=True)
        self._manager = ocp.CheckpointManager(directory.absolute(), options=options)

    def steps(self) -> list[int]:
        """Returns the steps that can be restored, in order."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: PyTree) -> None:
        """Starts writing a checkpoint; returns once the arrays are copied from the devices."""
        self._manager.save(step, args=ocp.args.StandardSave(_named(state)))

    def restore(self, step: int, shapes: State) -> State:
        """Returns a state.

        Args:
            step: one of `steps()`.
            shapes: the state's structure, of `jax.ShapeDtypeStruct` with shardings; the mesh may
                be another than the one that saved.
        """
        table = self._manager.restore(step, args=ocp.args.StandardRestore(_named(shapes)))
        structure = jax.tree.structure(shapes)
        return jax.tree.unflatten(structure, [table[name] for name in _named(shapes)])

    def close(self) -> None:
        """Waits for the writing to end."""
        self._manager.wait_until_finished()
        self._manager.close()


def with_shardings(shapes: State, shardings: PyTree) -> State:
    """Returns shapes that say where they live."""
    return jax.tree.map(
        lambda shape, sharding: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding),
        shapes,
        shardings,
    )


def _named(tree: PyTree) -> dict[str, PyTree]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
