"""Chunked cross-entropy against the plain one, which holds all logits and differentiates them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import assert_close, mesh_of

from model.config import MeshShape
from model.loss.cross_entropy import (
    Computation,
    Labels,
    LogitFactors,
    Objective,
    RowTerms,
    chunk_tokens,
    cross_entropy,
)

ROWS, TARGET, EMBED, IDS = 8, 7, 16, 32  # 56 tokens; 7 per device if the mesh is 2 x 4
WIDTH = 24  # of the teacher
HARD = Objective(z_loss_weight=0.02)
SOFT = Objective(z_loss_weight=0.02, hard_share=0.4, temperature=2.5)
TAUGHT = Objective(hard_share=0.0)


def slow(objective, student, labels, teacher=None):
    """With the whole logits; no custom derivative."""

    def log_z_and_nats(factors):
        logits = jnp.einsum("bte,ev->btv", *factors)
        log_z = jax.nn.logsumexp(logits, axis=-1)
        label = jnp.take_along_axis(logits, labels.ids[..., None], axis=-1)[..., 0]
        return logits, log_z, log_z - label

    logits, log_z, nats = log_z_and_nats(student)
    hard, soft, temperature = objective.hard_share, None, objective.temperature
    loss = hard * nats + objective.z_loss_weight * log_z**2
    if teacher is not None:
        targets = jax.nn.softmax(log_z_and_nats(teacher)[0] / temperature, axis=-1)
        log_q = jax.nn.log_softmax(logits / temperature, axis=-1)
        soft = -(temperature**2) * jnp.sum(targets * log_q, axis=-1)
        loss += (1 - hard) * soft
    sums = [None if one is None else (one * labels.real).sum(-1) for one in (nats, log_z**2, soft)]
    return (loss * labels.real).sum() / labels.whole, RowTerms(*sums)


@functools.cache
def case():
    """Rows of different length, one of them empty; logits of some units."""
    generator = np.random.default_rng(0)

    def factors(width):
        shapes = (ROWS, TARGET, width), (width, IDS)
        return LogitFactors(*(jnp.array(generator.normal(size=s), jnp.float32) for s in shapes))

    lengths = np.array([7, 7, 3, 0, 7, 5, 1, 7])
    real = jnp.array(np.arange(TARGET) < lengths[:, None])
    ids = jnp.where(real, jnp.array(generator.integers(1, IDS, (ROWS, TARGET))), 0)
    return factors(EMBED), Labels(ids, real, jnp.float32(37.0)), factors(WIDTH)


@pytest.mark.parametrize("objective", [HARD, SOFT, TAUGHT], ids=["hard", "soft", "taught"])
@pytest.mark.parametrize(
    ("shape", "tokens"),
    [(MeshShape(), 56), (MeshShape(), 16), (MeshShape(data=2, expert=2, model=2), 8)],
    ids=["at once", "chunks", "mesh"],
)
def test_values_and_gradients_are_the_plain_ones(objective, shape, tokens):
    student, labels, teacher = case()
    teacher = None if objective is HARD else teacher
    computation = Computation(mesh_of(shape), 4 * tokens * IDS // shape.model, objective)
    fast = functools.partial(cross_entropy, computation)
    ours, theirs = (
        jax.jit(jax.value_and_grad(lambda s, loss=loss: loss(s, labels, teacher), has_aux=True))(
            student
        )
        for loss in (fast, functools.partial(slow, objective))
    )
    assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    scored = jax.jit(fast)(student, labels, teacher)
    assert_close(scored, ours[0], rtol=1e-6)


@pytest.mark.parametrize("shape", [MeshShape(), MeshShape(model=2)], ids=str)
def test_a_label_outside_the_vocabulary_is_loud(shape):
    """In its row, also where `model` splits the ids; padding is id 0."""
    student, labels, _ = case()
    labels = labels._replace(ids=labels.ids.at[4, 1].set(IDS).at[6, 0].set(-1))
    loss, rows = jax.jit(functools.partial(cross_entropy, Computation(mesh_of(shape), 2**20)))(
        student, labels
    )
    assert np.isnan(loss)
    assert np.flatnonzero(np.isnan(rows.nats)).tolist() == [4, 6]


def test_chunks_are_as_large_as_the_logits_may_be():
    """Of one size, a multiple of a tile of 16 tokens, and all tokens at once if these fit."""
    assert chunk_tokens(1000, 100, 4 * 1000 * 100) == 1000
    assert chunk_tokens(1000, 100, 4 * 999 * 100) == 512
    assert chunk_tokens(64 * 229, 250_112, 2**29) == 528  # 28 chunks
    assert chunk_tokens(7, 100, 4) == 7
