"""Cross-entropy of the decoder's output to labels and teacher, without a batch's logits in memory.

The logits of one of mT5's rows, 229 tokens by 250,112 ids, are 0.21 GiB in float32. Each device
therefore walks over its own tokens in chunks (`chunks.py`).

The loss is a fixed weighting of sums, so a chunk's gradient is known with its value:

    loss = sum over real tokens of
           hard share * nats + z-loss weight * log Z ^ 2 + (1 - hard share) * T^2 * soft nats,
           over `whole`

Under differentiation the forward pass computes both gradients beside the value, and the backward
pass only scales them: no logits are computed twice (Hsu et al. 2024, Liger Kernel, section 3.2).
The matrix is gathered once per call in the type of the activations. Its gradient is summed in
float32 over chunks and devices.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from model.loss.chunks import Computation, Labels, LogitFactors, RowTerms, on_device
from model.loss.token_loss import Objective
from model.sharding.exchanges import on_devices
from model.sharding.layouts import spec, storage


def cross_entropy(
    computation: Computation,
    student: LogitFactors,
    labels: Labels,
    teacher: LogitFactors | None = None,
) -> tuple[Float[Array, ""], RowTerms]:
    """Returns the loss, differentiable in `student` only, and the sums of each row."""
    return _cross_entropy(computation, student, labels, teacher)


def _value(
    computation: Computation,
    student: LogitFactors,
    labels: Labels,
    teacher: LogitFactors | None,
) -> tuple[Array, RowTerms]:
    rows, _ = _run(computation, student, labels, teacher, with_gradients=False)
    return _weighted(computation.objective, rows, labels.whole), rows


def _forward(
    computation: Computation,
    student: LogitFactors,
    labels: Labels,
    teacher: LogitFactors | None,
) -> tuple[tuple[Array, RowTerms], LogitFactors | None]:
    rows, gradients = _run(computation, student, labels, teacher, with_gradients=True)
    return (_weighted(computation.objective, rows, labels.whole), rows), gradients


def _backward(_: Computation, gradients: LogitFactors, given: tuple[Array, Any]) -> Any:
    scaled = (gradient * given[0].astype(gradient.dtype) for gradient in gradients)
    return LogitFactors(*scaled), None, None


_cross_entropy: Any = jax.custom_vjp(_value, nondiff_argnums=(0,))
_cross_entropy.defvjp(_forward, _backward)


def _weighted(objective: Objective, rows: RowTerms, whole: Array) -> Float[Array, ""]:
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
    stored = [storage("embed vocabulary", one.matrix.shape, mesh) for one in networks]
    fine = stored[0].mesh  # that of all matrices
    rows: Any = spec("batch length embed", fine)
    layouts: Any = [LogitFactors(rows, one.spec) for one in stored]  # pyright: ignore[reportArgumentType]
    labelled: Any = (spec("batch length", fine), spec("batch length", fine), spec(""))
    run = on_devices(
        functools.partial(
            on_device,
            computation=computation,
            stored=stored,
            with_gradients=with_gradients,
        ),
        fine,
        (layouts, Labels(*labelled)),
        (spec("batch", fine), layouts[0] if with_gradients else None),
    )
    return run(networks, labels)
