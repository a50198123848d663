"""Cross-entropy and its gradients on one device, which holds the logits of one chunk of tokens.

Where `model` splits the vocabulary, it splits a chunk's logits too, and sums over ids cross that
axis.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Bool, Float, Int

from model.loss.token_loss import Objective, TokenTerms, token_loss
from model.sharding.exchanges import gather_stored, sum_over_model, sum_to_stored

TILE = 16  # tokens; the rows of a bfloat16 tile on TPUs


class LogitFactors(NamedTuple):
    """The two factors of a network's logits; the matrix is as stored."""

    x: Float[Array, "batch target embed"]
    matrix: Float[Array, "embed vocabulary"]


class RowTerms(NamedTuple):
    """Sums over the real target tokens of each row; no gradient passes through them.

    Attributes:
        nats: cross-entropy to the labels; NaN where a label is not in the vocabulary.
        squared_log_z: squared log of the softmax's denominator.
        soft_nats: cross-entropy to the teacher times the squared temperature; None without one.
    """

    nats: Float[Array, " batch"]
    squared_log_z: Float[Array, " batch"]
    soft_nats: Float[Array, " batch"] | None


class Labels(NamedTuple):
    """The targets of a batch.

    Attributes:
        ids: target ids.
        real: True for real target tokens, False for padding.
        whole: number that the loss is divided by.
    """

    ids: Int[Array, "batch target"]
    real: Bool[Array, "batch target"]
    whole: Float[Array, ""]


class Computation(NamedTuple):
    """What a cross-entropy is computed with.

    Attributes:
        mesh: the devices.
        logits_bytes: largest size of the float32 logits of one network on one device.
        objective: weights of the terms.
    """

    mesh: Mesh
    logits_bytes: int
    objective: Objective = Objective()


class Chunk(NamedTuple):
    """Consecutive tokens of a device, with the decoder's output of each network."""

    xs: list[Float[Array, "tokens _"]]
    label: Int[Array, " tokens"]
    weight: Float[Array, " tokens"]


def on_device(
    networks: list[LogitFactors],
    labels: Labels,
    *,
    computation: Computation,
    stored: list[NamedSharding],
    with_gradients: bool,
) -> tuple[RowTerms, LogitFactors | None]:
    """Walks over a device's tokens; the last chunk is filled up with tokens of weight 0."""
    matrices = [
        gather_stored(network.matrix.astype(network.x.dtype), layout)
        for network, layout in zip(networks, stored, strict=True)
    ]
    tokens = Chunk(
        xs=[network.x.reshape(-1, network.x.shape[-1]) for network in networks],
        label=labels.ids.reshape(-1),
        weight=labels.real.reshape(-1) / labels.whole,
    )
    one = functools.partial(_of_chunk, matrices, computation.objective, with_gradients)
    count = len(tokens.label)
    size = chunk_tokens(count, matrices[0].shape[1], computation.logits_bytes)
    if size == count:
        of_matrix, (terms, of_x) = one(None, tokens)
    else:
        zeros = jnp.zeros(matrices[0].shape, jnp.float32) if with_gradients else None
        chunks = jax.tree.map(lambda array: _chunked(array, size), tokens)
        of_matrix, results = jax.lax.scan(one, zeros, chunks)
        terms, of_x = jax.tree.map(lambda array: _whole(array, count), results)
    rows = RowTerms(*jax.tree.map(lambda term: _by_row(term, labels.real), terms))
    if of_matrix is None or of_x is None:
        return rows, None
    of_x = of_x.reshape(networks[0].x.shape)
    return rows, LogitFactors(of_x, sum_to_stored(of_matrix, stored[0], matrices[0].dtype))


def _of_chunk(
    matrices: list[Array],
    objective: Objective,
    with_gradients: bool,
    total: Array | None,
    chunk: Chunk,
) -> tuple[Array | None, tuple[TokenTerms, Array | None]]:
    """Returns a chunk's terms and gradient; the gradient of the matrix is added to `total`."""
    logits = [
        _product("te,ev->tv", x, matrix) for x, matrix in zip(chunk.xs, matrices, strict=True)
    ]
    terms, gradient = token_loss(logits, chunk.label, objective)
    if not with_gradients:
        return None, (terms, None)
    x, matrix = chunk.xs[0], matrices[0]
    gradient = (gradient * chunk.weight[:, None]).astype(x.dtype)
    of_x = sum_over_model(_product("tv,ev->te", gradient, matrix)).astype(x.dtype)
    of_matrix = _product("te,tv->ev", x, gradient)
    return of_matrix if total is None else total + of_matrix, (terms, of_x)


def chunk_tokens(tokens: int, ids: int, logits_bytes: int) -> int:
    """Returns the tokens per chunk: all of them if their float32 logits are small enough."""
    chunks = math.ceil(4 * tokens * ids / logits_bytes)
    return tokens if chunks == 1 else min(tokens, TILE * math.ceil(tokens / chunks / TILE))


def _product(subscripts: str, a: Array, b: Array) -> Float[Array, "..."]:
    return jnp.einsum(subscripts, a, b, preferred_element_type=jnp.float32)


def _chunked(array: Array, size: int) -> Array:
    missing = -len(array) % size
    filled = jnp.pad(array, ((0, missing), *((0, 0),) * (array.ndim - 1)))
    return filled.reshape(-1, size, *array.shape[1:])


def _whole(chunks: Array, tokens: int) -> Array:
    return chunks.reshape(-1, *chunks.shape[2:])[:tokens]


def _by_row(term: Float[Array, " tokens"], real: Bool[Array, "rows length"]) -> Array:
    return jnp.sum(term.reshape(real.shape) * real, axis=-1)
