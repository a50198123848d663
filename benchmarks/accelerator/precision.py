"""bfloat16 beside float32: loss and gradients of one batch, from the same float32 weights."""

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import numpy as np

from benchmarks.accelerator.steps import random_batch, trainer_of
from model.batch import Call
from model.loss.training_loss import training_loss
from pipeline.planning.topology import Topology
from pipeline.recipe.fits import with_mesh
from pipeline.recipe.recipe import Recipe


def difference(recipe: Recipe, devices: Topology, rows: int) -> dict[str, float]:
    """Returns the relative differences of loss and gradients in bfloat16 from those in float32."""
    few = with_mesh(replace(recipe, rows=rows * len(devices.devices)), len(devices.devices))
    with jax.default_matmul_precision("highest"):
        loss, gradient = loss_and_gradient(few, devices, "float32")
    loss16, gradient16 = loss_and_gradient(few, devices, "bfloat16")
    return {
        "rows": few.rows,
        "loss": loss,
        "loss_difference": (loss16 - loss) / loss,
        "gradient_difference": norm(gradient16 - gradient) / norm(gradient),
        "gradient_norm_ratio": norm(gradient16) / norm(gradient),
    }


def loss_and_gradient(recipe: Recipe, devices: Topology, dtype: Any) -> tuple[float, np.ndarray]:
    """Returns the loss and all gradients in one array, with activations of a type."""
    model = replace(recipe.model, activation_dtype=dtype)
    trainer = trainer_of(replace(recipe, model=model), devices)
    key = jax.random.key(0)
    call = Call(trainer.mesh, key, recipe.remat, logits_bytes=recipe.logits_bytes)

    def loss(arrays, batch):
        return training_loss(eqx.combine(arrays, trainer.static), batch, call)[0]

    arrays = trainer.init().arrays
    value, slopes = jax.jit(jax.value_and_grad(loss))(arrays, random_batch(recipe, trainer))
    flat = [np.asarray(leaf, np.float32).reshape(-1) for leaf in jax.tree.leaves(slopes)]
    return float(value), np.concatenate(flat)


def norm(values: np.ndarray) -> float:
    """Returns the Euclidean norm, summed in float64."""
    return float(np.sqrt(np.sum(np.square(values, dtype=np.float64))))
