"""A lower bound on the memory of a training step, from shapes alone, to refuse what cannot fit.

Counted: parameters and the optimizer's moments, and beside them the largest of three: gradients (as
many bytes as parameters), the loss (a chunk's logits, and the output matrix gathered in the type of
the activations with its gradient in float32), and the activations that the forward pass keeps for
the backward pass. Of several microbatches the sum of gradients stays beside all activations. Not
counted: what experts keep, what a fusion writes beside it, and the compiler's scratch memory.

Scoring during a run needs less than a step: the same without any gradient.
"""

import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from model.config import MeshShape, ModelConfig, OptimizerConfig, Remat
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
    inputs: int,
    targets: int,
    logits_bytes: int,
    remat: Remat,
    accumulates: bool,
) -> int:
    """Returns a lower bound on the bytes per device of a training step.

    Args:
        config: the network.
        optimizer: the update rule.
        shape: shape of the mesh; its devices need not exist.
        rows: rows per microbatch, over all devices.
        inputs, targets: tokens per row.
        logits_bytes: largest size of the logits that a device holds at one time.
        remat: what the backward pass keeps of a block.
        accumulates: whether the gradients of several microbatches are added up.
    """
    mesh = abstract_mesh(shape)
    arrays, moments = _shapes(config, optimizer)
    parameters = parameter_bytes(config, shape)
    # Moments are split like their parameters; the small factored ones are counted as if they were.
    moments_bytes = (
        sum(map(_bytes, moments)) * parameters // sum(map(_bytes, jax.tree.leaves(arrays)))
    )
    logits = 4 * rows * targets * config.vocabulary_rows // mesh.size
    matrix = config.vocabulary_rows * config.embed // shape.model
    loss = min(logits, logits_bytes) + matrix * (4 + jnp.dtype(config.activation_dtype).itemsize)
    lengths = rows * shape.model // mesh.size * inputs, rows * shape.model // mesh.size * targets
    kept = activation_bytes(config, remat, *lengths, parts=shape.model)
    state = parameters + moments_bytes
    return state + (parameters + kept if accumulates else max(parameters, loss, kept))


def parameter_bytes(config: ModelConfig, shape: MeshShape) -> int:
    """Returns the bytes of parameters that each device of a mesh stores."""
    arrays = transformer_shapes(config)
    shardings: Any = parameter_shardings(arrays, abstract_mesh(shape))
    pairs = zip(jax.tree.leaves(arrays), jax.tree.leaves(shardings), strict=True)
    return sum(_bytes(leaf, sharding) for leaf, sharding in pairs)


def activation_bytes(
    config: ModelConfig, remat: Remat, inputs: int, targets: int, *, parts: int = 1
) -> int:
    """Returns the least bytes of activations that one device keeps for the backward pass.

    A block keeps its input. By policy, each layer keeps queries, keys, values and the result of
    attention; the sums after attention and a dense feed-forward's inner products come on top.

    Args:
        config: the network.
        remat: what the backward pass keeps of a block.
        inputs, targets: tokens of the device's rows in encoder and decoder.
        parts: number of devices that share the heads and the inner width.
    """
    width, mlp = config.heads * config.head // parts, config.mlp // parts
    dense = config.layers if config.switch is None else config.layers - config.blocks
    values = config.blocks * config.embed * (inputs + targets)
    if remat not in ("full", "exchanges"):
        values += config.layers * width * (4 * inputs + 6 * targets + 2 * inputs)
    if remat in ("products", "none"):
        values += config.layers * config.embed * (inputs + 2 * targets)
        values += (
            dense * mlp * (inputs + targets) * (2 if config.feed_forward == "gated-gelu" else 1)
        )
    return values * jnp.dtype(config.activation_dtype).itemsize


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
