"""Cross-entropy to labels and teacher, without a batch's logits in memory.

With log Z the log of the softmax's denominator, p the softmax and q, t the softmax of student and
teacher at temperature T, a token has

    loss     = hard share * (log Z - label's logit) + z-loss weight * log Z ^ 2
               + (1 - hard share) * T^2 * -sum of t log q
    gradient = (hard share + 2 * z-loss weight * log Z) * p - hard share * (is the label)
               + (1 - hard share) * T * (q - t)

Chunks. The logits of one of mT5's rows, 229 tokens by 250,112 ids, are 0.21 GiB in float32. Each
device therefore walks over its own tokens in chunks. A batch's loss is a fixed weighting of sums
over its tokens, divided by `whole`, so a chunk's gradient is known with its value. Under
differentiation the forward pass computes both gradients beside the value, and the backward pass
only scales them: no logits are computed twice (Hsu et al. 2024, Liger Kernel, section 3.2).

Devices. Where `model` splits the vocabulary, it splits a chunk's logits too: each device has those
of its own range of ids, and sums over ids cross that axis. The matrix is gathered once per call in
the type of the activations. Its gradient is summed in float32 over chunks and devices.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Bool, Float, Int

from model.sharding.exchanges import gather_stored, on_devices, sum_over_model, sum_to_stored
from model.sharding.layouts import spec, storage

TILE = 16  # tokens; the rows of a bfloat16 tile on TPUs


class Objective(NamedTuple):
    """Weights of the terms of a token's loss.

    Attributes:
        z_loss_weight: weight of the squared log Z.
        hard_share: share of the labels; the rest is the teacher's.
        temperature: divisor of both logits in the teacher's part.
    """

    z_loss_weight: float = 0.0
    hard_share: float = 1.0
    temperature: float = 1.0


class TokenTerms(NamedTuple):
    """The terms of each token; `soft_nats`, times T^2, is None without a teacher."""

    nats: Float[Array, " tokens"]
    squared_log_z: Float[Array, " tokens"]
    soft_nats: Float[Array, " tokens"] | None


def token_loss(
    networks: Sequence[Float[Array, "tokens ids"]],
    label: Int[Array, " tokens"],
    objective: Objective,
) -> tuple[TokenTerms, Float[Array, "tokens ids"]]:
    """Returns the terms and the gradient; either costs nothing once compiled if it is not used.

    A label outside the vocabulary has NaN nats, so that its step is skipped and reported.

    Args:
        networks: logits of the student and, if there is one, of the teacher.
        label: target id of each token.
        objective: weights of the terms.
    """
    logits, *teachers = networks
    hard, temperature = objective.hard_share, objective.temperature
    log_z = _log_z(logits)
    ids = logits.shape[-1]
    is_label = label[:, None] == jax.lax.axis_index("model") * ids + jnp.arange(ids)
    known = (label >= 0) & (label < ids * jax.lax.axis_size("model"))
    if jax.lax.axis_size("model") == 1:  # an index reads one logit per token, a sum all of them
        index = jnp.where(known, label, 0)[:, None]
        label_logit = jnp.take_along_axis(logits, index, axis=-1, mode="promise_in_bounds")[:, 0]
    else:
        label_logit = sum_over_model(jnp.sum(jnp.where(is_label, logits, 0.0), axis=-1))
    nats = log_z - jnp.where(known, label_logit, jnp.nan)
    gradient = (hard + 2 * objective.z_loss_weight * log_z)[:, None] * _softmax(logits, log_z)
    gradient -= jnp.where(is_label, hard, 0.0)
    if not teachers:
        return TokenTerms(nats, jnp.square(log_z), None), gradient
    softened, teacher_logits = logits / temperature, teachers[0] / temperature
    soft_targets = _softmax(teacher_logits, _log_z(teacher_logits))
    soft_log_z = _log_z(softened)
    soft = soft_log_z - sum_over_model(jnp.sum(soft_targets * softened, axis=-1))
    soft_gradient = temperature * (_softmax(softened, soft_log_z) - soft_targets)
    gradient += (1 - hard) * soft_gradient
    return TokenTerms(nats, jnp.square(log_z), temperature**2 * soft), gradient


def _log_z(logits: Float[Array, "tokens ids"]) -> Float[Array, " tokens"]:
    largest = jnp.max(logits, axis=-1)
    if jax.lax.axis_size("model") > 1:
        largest = jax.lax.pmax(largest, "model")
    return largest + jnp.log(sum_over_model(jnp.sum(jnp.exp(logits - largest[:, None]), axis=-1)))


def _softmax(
    logits: Float[Array, "tokens ids"], log_z: Float[Array, " tokens"]
) -> Float[Array, "tokens ids"]:
    return jnp.exp(logits - log_z[:, None])


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
    run = functools.partial(_run_chunk, matrices, computation.objective, with_gradients)
    count = len(tokens.label)
    size = chunk_tokens(count, matrices[0].shape[1], computation.logits_bytes)
    if size == count:
        matrix_gradient, (terms, x_gradient) = run(None, tokens)
    else:
        zeros = jnp.zeros(matrices[0].shape, jnp.float32) if with_gradients else None
        chunks = jax.tree.map(lambda array: _split_into_chunks(array, size), tokens)
        matrix_gradient, results = jax.lax.scan(run, zeros, chunks)
        terms, x_gradient = jax.tree.map(
            lambda chunks: chunks.reshape(-1, *chunks.shape[2:])[:count], results
        )
    real = labels.real
    sums = jax.tree.map(lambda term: jnp.sum(term.reshape(real.shape) * real, axis=-1), terms)
    if matrix_gradient is None or x_gradient is None:
        return RowTerms(*sums), None
    return RowTerms(*sums), LogitFactors(
        x_gradient.reshape(networks[0].x.shape),
        sum_to_stored(matrix_gradient, stored[0], matrices[0].dtype),
    )


def _run_chunk(
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
    x_gradient = sum_over_model(_product("tv,ev->te", gradient, matrix)).astype(x.dtype)
    matrix_gradient = _product("te,tv->ev", x, gradient)
    total = matrix_gradient if total is None else total + matrix_gradient
    return total, (terms, x_gradient)


def chunk_tokens(tokens: int, ids: int, logits_bytes: int) -> int:
    """Returns the tokens per chunk: all of them if their float32 logits are small enough."""
    chunks = math.ceil(4 * tokens * ids / logits_bytes)
    return tokens if chunks == 1 else min(tokens, TILE * math.ceil(tokens / chunks / TILE))


def _product(subscripts: str, a: Array, b: Array) -> Float[Array, "..."]:
    return jnp.einsum(subscripts, a, b, preferred_element_type=jnp.float32)


def _split_into_chunks(array: Array, size: int) -> Array:
    missing = -len(array) % size
    filled = jnp.pad(array, ((0, missing), *((0, 0),) * (array.ndim - 1)))
    return filled.reshape(-1, size, *array.shape[1:])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def cross_entropy(
    computation: Computation,
    student: LogitFactors,
    labels: Labels,
    teacher: LogitFactors | None = None,
) -> tuple[Float[Array, ""], RowTerms]:
    """Returns the loss, differentiable in `student` only, and the sums of each row."""
    rows, _ = _run(computation, student, labels, teacher, with_gradients=False)
    return _weighted_sum(computation.objective, rows, labels.whole), rows


def _forward(
    computation: Computation,
    student: LogitFactors,
    labels: Labels,
    teacher: LogitFactors | None,
) -> tuple[tuple[Array, RowTerms], LogitFactors | None]:
    rows, gradients = _run(computation, student, labels, teacher, with_gradients=True)
    return (_weighted_sum(computation.objective, rows, labels.whole), rows), gradients


def _backward(_: Computation, gradients: LogitFactors, cotangents: tuple[Array, Any]) -> Any:
    scaled = (gradient * cotangents[0].astype(gradient.dtype) for gradient in gradients)
    return LogitFactors(*scaled), None, None


cross_entropy.defvjp(_forward, _backward)


def _weighted_sum(objective: Objective, rows: RowTerms, whole: Array) -> Float[Array, ""]:
    """Returns the loss; a term whose share is 0 is left out, so that not even its NaN counts."""
    nats, soft = jnp.sum(rows.nats), rows.soft_nats
    if soft is not None and objective.hard_share < 1:
        nats = objective.hard_share * nats if objective.hard_share else 0.0
        nats += (1 - objective.hard_share) * jnp.sum(soft)
    return (nats + objective.z_loss_weight * jnp.sum(rows.squared_log_z)) / whole


def _run(
    computation: Computation,
    student: LogitFactors,
    labels: Labels,
    teacher: LogitFactors | None,
    *,
    with_gradients: bool,
) -> tuple[RowTerms, LogitFactors | None]:
    """Returns the sums of each row and, if required, the gradients of the student's factors."""
    mesh = computation.mesh
    networks = [student] if teacher is None else [student, teacher]
    shapes = [network.matrix.shape for network in networks]
    stored = [storage("embed vocabulary", shape, mesh) for shape in shapes]
    fine = stored[0].mesh  # that of all matrices
    rows: Any = spec("batch length embed", fine)
    layouts: Any = [LogitFactors(rows, layout.spec) for layout in stored]  # pyright: ignore[reportArgumentType]
    labelled: Any = (spec("batch length", fine), spec("batch length", fine), spec(""))
    run = on_devices(
        functools.partial(
            on_device, computation=computation, stored=stored, with_gradients=with_gradients
        ),
        fine,
        (layouts, Labels(*labelled)),
        (spec("batch", fine), layouts[0] if with_gradients else None),
    )
    return run(networks, labels)
