"""Chunked cross-entropy against the plain one, which holds all logits and differentiates them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import EIGHT, assert_close, mesh_of

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

ROWS, TARGET, IDS = 8, 7, 32  # 56 tokens; 7 per device if the mesh is 2 x 4
HARD = Objective(z_loss_weight=0.02)
SOFT = Objective(z_loss_weight=0.02, hard_share=0.4, temperature=2.5)
TAUGHT = Objective(hard_share=0.0)


def slow(objective, student, labels, teacher=None):
    """With the whole logits; no custom derivative."""
    logits = jnp.einsum("bte,ev->btv", *student)
    log_z = jax.nn.logsumexp(logits, axis=-1)
    nats = log_z - jnp.take_along_axis(logits, labels.ids[..., None], axis=-1)[..., 0]
    hard, soft, temperature = objective.hard_share, None, objective.temperature
    loss = hard * nats + objective.z_loss_weight * log_z**2
    if teacher is not None:
        targets = jax.nn.softmax(jnp.einsum("bte,ev->btv", *teacher) / temperature, axis=-1)
        log_q = jax.nn.log_softmax(logits / temperature, axis=-1)
        soft = -(temperature**2) * jnp.sum(targets * log_q, axis=-1)
        loss += (1 - hard) * soft
    sums = [None if one is None else (one * labels.real).sum(-1) for one in (nats, log_z**2, soft)]
    return (loss * labels.real).sum() / labels.whole, RowTerms(*sums)


@functools.cache
def case():
    """Rows of different length, one of them empty; logits of some units; a wider teacher."""
    generator = np.random.default_rng(0)

    def factors(width):
        shapes = (ROWS, TARGET, width), (width, IDS)
        return LogitFactors(*(jnp.array(generator.normal(size=s), jnp.float32) for s in shapes))

    lengths = np.array([7, 7, 3, 0, 7, 5, 1, 7])
    real = jnp.array(np.arange(TARGET) < lengths[:, None])
    ids = jnp.where(real, jnp.array(generator.integers(1, IDS, (ROWS, TARGET))), 0)
    return factors(16), Labels(ids, real, jnp.float32(37.0)), factors(24)


def value_and_slope(loss, teacher):
    student, labels, _ = case()
    run = jax.value_and_grad(lambda student: loss(student, labels, teacher), has_aux=True)
    return jax.jit(run)(student)


@pytest.mark.parametrize("objective", [HARD, SOFT, TAUGHT], ids=["hard", "soft", "taught"])
@pytest.mark.parametrize(
    ("shape", "tokens"),
    [(MeshShape(), 56), (MeshShape(), 16), (EIGHT, 8)],
    ids=["at once", "chunks", "mesh"],
)
def test_values_and_gradients_are_the_plain_ones(objective, shape, tokens):
    student, labels, teacher = case()
    teacher = None if objective is HARD else teacher
    computation = Computation(mesh_of(shape), 4 * tokens * IDS // shape.model, objective)
    fast = functools.partial(cross_entropy, computation)
    found = value_and_slope(fast, teacher)
    expected = value_and_slope(functools.partial(slow, objective), teacher)
    assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert_close(jax.jit(fast)(student, labels, teacher), found[0], rtol=1e-6)


@pytest.mark.parametrize("shape", [MeshShape(), MeshShape(model=2)], ids=str)
def test_a_label_outside_the_vocabulary_is_loud(shape):
    """In its row, also where `model` splits the ids; padding is id 0."""
    student, labels, _ = case()
    labels = labels._replace(ids=labels.ids.at[4, 1].set(IDS).at[6, 0].set(-1))
    computation = Computation(mesh_of(shape), 2**20)
    loss, rows = jax.jit(functools.partial(cross_entropy, computation))(student, labels)
    assert np.isnan(loss)
    assert np.flatnonzero(np.isnan(rows.nats)).tolist() == [4, 6]


def test_chunks_are_as_large_as_the_logits_may_be():
    """Of one size, a multiple of a tile of 16 tokens, and all tokens at once if these fit."""
    assert chunk_tokens(1000, 100, 4 * 1000 * 100) == 1000
    assert chunk_tokens(1000, 100, 4 * 999 * 100) == 512
    assert chunk_tokens(64 * 229, 250_112, 2**29) == 528  # 28 chunks
    assert chunk_tokens(7, 100, 4) == 7
