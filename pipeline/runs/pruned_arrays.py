"""The arrays of a pruned network, read from the checkpoint of a run without holding all of it."""

from collections.abc import Iterator

import jax
import numpy as np
from jaxtyping import Float, Int

from data.files.paths import Place
from model.checkpoints.table import ARRAYS, with_shardings
from model.conversions.pruning import expert_axes, merged_arrays, of_stack, pruned_arrays
from model.sharding.layouts import by_path
from model.trainer import Trainer
from model.transformer import Transformer
from pipeline.runs.stored_checkpoints import open_checkpoints


def read_pruned(
    run: Place,
    trainer: Trainer,
    step: int,
    kept: Int[np.ndarray, "layers kept"],
    load: Float[np.ndarray, "layers experts"] | None,
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the arrays of the pruned network by name, each read when its turn comes.

    Args:
        run: run to prune.
        trainer: its functions.
        step: step of its checkpoint.
        kept: experts of each layer that stay, the encoder's layers before the decoder's.
        load: use of each expert, to merge dropped experts by; None to leave them out.

    Raises:
        CheckpointError: if the checkpoint is damaged.
    """
    axes = expert_axes(trainer.shapes)
    shapes = with_shardings(jax.eval_shape(trainer.init), trainer.shardings)
    checkpoints = open_checkpoints(run / "checkpoints")
    try:
        for names in _read_together(trainer.shapes, axes, merging=load is not None):
            of = {ARRAYS + name: name for name in names}
            read = checkpoints.restore_some(step, shapes, of)
            arrays = {of[name]: np.asarray(array) for name, array in read.items()}
            if load is None or names[0] not in axes:
                yield from pruned_arrays(arrays, axes, kept).items()
            else:
                of_layers = of_stack(kept, names[0]), of_stack(load, names[0])
                yield from merged_arrays(arrays, *of_layers).items()
    finally:
        checkpoints.close()


def _read_together(
    shapes: Transformer, axes: dict[str, int], *, merging: bool
) -> Iterator[list[str]]:
    """Yields the names of arrays to read at one time: all that stay whole, then those of experts.

    Arrays of experts are read one at a time. To merge experts, all such arrays of a stack are read
    together; their names differ only after the last dot.
    """
    groups: dict[str, list[str]] = {}
    for name in by_path(shapes):
        of = "whole" if name not in axes else name.rpartition(".")[0] if merging else name
        groups.setdefault(of, []).append(name)
    yield from groups.values()
