"""What a run certainly needs to hold, from shapes alone: a lower bound, to refuse what cannot fit.

Counted: parameters, the optimizer's moments, gradients (as many bytes as parameters), logits and
their gradient in float32. Left out: activations, whose number depends on rematerialisation and on
what the compiler fuses, and what it needs to work in.
"""

import functools
import math
from typing import Any

import equinox as eqx
import jax
from jax.sharding import AbstractMesh, AxisType, NamedSharding

from model.config import ModelConfig
from model.optimizer import OptimizerConfig, make_optimizer
from model.sharding import MeshShape, parameter_shardings
from model.transformer import Transformer


def bytes_per_device(
    config: ModelConfig,
    optimizer: OptimizerConfig,
    shape: MeshShape,
    *,
    rows: int,
    targets: int,
) -> int:
    """Returns the bytes of one device in a training step.

    Args:
        config: the network.
        optimizer: its update rule.
        shape: of the mesh; devices need not exist.
        rows: of the part of a batch that is computed at once, over all devices.
        targets: target tokens of a row.
    """
    names = ("data", "expert", "model")
    sizes = (shape.data, shape.expert, shape.model)
    mesh = AbstractMesh(sizes, names, axis_types=(AxisType.Auto,) * 3)
    arrays, moments = _shapes(config, optimizer)
    shardings: Any = parameter_shardings(arrays, mesh)
    parameters = sum(
        _bytes(leaf, sharding)
        for leaf, sharding in zip(jax.tree.leaves(arrays), jax.tree.leaves(shardings), strict=True)
    )
    # Moments lie as their parameters do; the small factored ones are counted as if they did.
    moments_bytes = (
        sum(map(_bytes, moments)) * parameters // sum(map(_bytes, jax.tree.leaves(arrays)))
    )
    logits = 4 * rows * targets * config.vocabulary_rows // math.prod(sizes)
    return 2 * parameters + moments_bytes + 2 * logits


def checkpoint_bytes(config: ModelConfig, optimizer: OptimizerConfig) -> int:
    """Returns the bytes of parameters and moments together, before compression."""
    arrays, moments = _shapes(config, optimizer)
    return sum(map(_bytes, [*jax.tree.leaves(arrays), *moments]))


@functools.cache
def _shapes(config: ModelConfig, optimizer: OptimizerConfig) -> tuple[eqx.Module, list[Any]]:
    shapes = eqx.filter_eval_shape(Transformer.init, config, key=jax.random.key(0))
    arrays, _ = eqx.partition(shapes, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    init = make_optimizer(optimizer, arrays).init
    return arrays, jax.tree.leaves(jax.eval_shape(init, arrays))


def _bytes(leaf: Any, sharding: NamedSharding | None = None) -> int:
    shape = leaf.shape if sharding is None else sharding.shard_shape(leaf.shape)
    return math.prod(shape) * leaf.dtype.itemsize
