"""The first state of a pruned run: its arrays, fitted to text or not, and a fresh optimizer.

Everything is on one device: the numbers of experts before and after divide over no common mesh.
"""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float, Int

from data.files.paths import Place
from model.batch import Batch
from model.config import MeshShape
from model.conversions.pruning import refitted
from model.sharding.layouts import by_path
from model.sharding.mesh import make_mesh
from model.step import TrainState
from model.trainer import Trainer
from model.transformer import Transformer
from pipeline.recipe.recipe import Recipe
from pipeline.recipe.trainer import trainer_on
from pipeline.runs.open import restore
from pipeline.runs.pruned_arrays import read_pruned


class Pruning(NamedTuple):
    """What becomes of a run.

    Attributes:
        run: run to prune.
        step: step of its checkpoint.
        whole, pruned: functions of the networks before and after, on one device.
        kept: experts of each layer that stay, the encoder's layers before the decoder's.
        load: use of each expert, to merge dropped experts by; None to leave them out.
    """

    run: Place
    step: int
    whole: Trainer
    pruned: Trainer
    kept: Int[np.ndarray, "layers kept"]
    load: Float[np.ndarray, "layers experts"] | None


def trainer_of_one_device(recipe: Recipe) -> Trainer:
    """Returns a recipe's functions on the first device of this machine."""
    return trainer_on(recipe, make_mesh(MeshShape(), jax.devices()[:1]))


def pruned_state(pruning: Pruning, text: Sequence[Batch]) -> TrainState:
    """Returns the pruned network at its source's step.

    Args:
        pruning: what to keep.
        text: text to fit the kept experts on; they stay as they are without any.

    Raises:
        ArtifactError: if the source's checkpoint is damaged.
    """
    trainer = pruning.pruned
    network = _read(pruning)
    if text:
        whole, _ = restore(pruning.run, pruning.whole, pruning.step)
        network = refitted(pruning.whole.model(whole), trainer.model(network), text, trainer.mesh)
        network, _ = eqx.partition(network, eqx.is_array)
    step = jax.device_put(np.asarray(pruning.step, np.int32), trainer.shardings.step)
    arrays = jax.device_put(network, trainer.shardings.arrays)
    return trainer.begin_with(arrays)._replace(step=step)


def _read(pruning: Pruning) -> Transformer:
    """Returns the arrays of the pruned network, on its device."""
    found = dict(read_pruned(pruning.run, pruning.whole, pruning.step, pruning.kept, pruning.load))
    shapes = pruning.pruned.shapes
    in_order = [found.pop(name) for name in by_path(shapes)]
    arrays = jax.tree.unflatten(jax.tree.structure(shapes), in_order)
    return jax.device_put(arrays, pruning.pruned.shardings.arrays)
