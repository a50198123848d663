"""A lower bound on the memory of a training step, from shapes alone, to refuse what cannot fit.

Counted: parameters and the optimizer's moments, and beside them the larger of gradients (as many
bytes as parameters) and the loss: a chunk's logits, and the output matrix gathered in the type of
the activations with its gradient in float32. Not counted: activations, which depend on
rematerialization and on the compiler's fusions, and the compiler's scratch memory.

Scoring during a run needs less than a step: the same without any gradient.
"""

import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from model.config import MeshShape, ModelConfig, OptimizerConfig
from model.optimizer import make_optimizer
from model.sharding.layouts import parameter_shardings
from model.sharding.mesh import abstract_mesh
from model.switch.balancing import without_expert_biases
from model.transformer import transformer_shapes


def bytes_per_device(
    config: ModelConfig,
    optimizer: OptimizerConfig,
    shape: MeshShape,
    *,
    rows: int,
    targets: int,
    logits_bytes: int,
) -> int:
    """Returns a lower bound on the bytes per device of a training step.

    Args:
        config: the network.
        optimizer: the update rule.
        shape: shape of the mesh; its devices need not exist.
        rows: rows per microbatch, over all devices.
        targets: target tokens per row.
        logits_bytes: largest size of the logits that a device holds at one time.
    """
    mesh = abstract_mesh(shape)
    arrays, moments = _shapes(config, optimizer)
    shardings: Any = parameter_shardings(arrays, mesh)
    parameters = sum(
        _bytes(leaf, sharding)
        for leaf, sharding in zip(jax.tree.leaves(arrays), jax.tree.leaves(shardings), strict=True)
    )
    # Moments are split like their parameters; the small factored ones are counted as if they were.
    moments_bytes = (
        sum(map(_bytes, moments)) * parameters // sum(map(_bytes, jax.tree.leaves(arrays)))
    )
    logits = 4 * rows * targets * config.vocabulary_rows // mesh.size
    matrix = config.vocabulary_rows * config.embed // shape.model
    loss = min(logits, logits_bytes) + matrix * (4 + jnp.dtype(config.activation_dtype).itemsize)
    return parameters + moments_bytes + max(parameters, loss)


def checkpoint_bytes(config: ModelConfig, optimizer: OptimizerConfig) -> int:
    """Returns the bytes of parameters and moments, before compression."""
    arrays, moments = _shapes(config, optimizer)
    return sum(map(_bytes, [*jax.tree.leaves(arrays), *moments]))


@functools.cache
def _shapes(config: ModelConfig, optimizer: OptimizerConfig) -> tuple[eqx.Module, list[Any]]:
    arrays = transformer_shapes(config)
    trained = without_expert_biases(arrays)
    init = make_optimizer(optimizer, trained).init
    return arrays, jax.tree.leaves(jax.eval_shape(init, trained))


def _bytes(leaf: Any, sharding: NamedSharding | None = None) -> int:
    shape = leaf.shape if sharding is None else sharding.shard_shape(leaf.shape)
    return math.prod(shape) * leaf.dtype.itemsize
