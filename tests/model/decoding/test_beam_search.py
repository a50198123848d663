"""Beam search writes what a search over lists of hypotheses writes, without a cache.

Scores of labels are the losses of the labels taken one by one.
"""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import ROWS, SOURCE, batch, config, drawn, mesh_of, on_mesh

from model.batch import Batch, Call
from model.config import EOS, MeshShape, Sampling
from model.decoding.beam_search import Beams, beam_search, label_nats
from model.decoding.generation import cached_decoder, generate, never_dropping
from model.transformer import StackInputs

LENGTH, IDS = 7, 6  # EOS is one of few ids, so that targets of all lengths are likely
LONG = Beams(number=3, alpha=2.5, offset=0.0)
INPUTS = np.random.default_rng(1).integers(2, 128, (8, 8)).astype(np.int32)
INPUTS[1, 5:], INPUTS[3] = 0, 0  # one is padded, one is a row of padding


def small(kind):
    """A network of one layer that is not very sure of its next token."""
    model = drawn(replace(config(kind), layers=1))
    return replace(model, logits=0.5 * model.logits)


def log_probabilities(model):
    """The function from targets so far to log probabilities of the next token, without a cache."""
    model = never_dropping(model, INPUTS.shape[1], LENGTH)
    call = Call(mesh_of())

    @jax.jit
    def logs(row, before):
        batch = Batch(row[None], before[None], jnp.zeros(1, jnp.int32))
        shared = StackInputs(
            visible=batch.target_to_target,
            is_token=jnp.ones((1, LENGTH), bool),
            source=model.encode(batch, call).x,
            visible_source=batch.target_to_source,
        )
        decoded = model.decoder(model.embed(before[None], call), shared, call).x
        return jax.nn.log_softmax(model.head(decoded)[0, :, :IDS])

    def of(row, tokens):
        before = np.zeros(LENGTH, np.int32)  # later positions are not seen
        before[1 : len(tokens) + 1] = tokens
        return np.asarray(logs(INPUTS[row], jnp.array(before)))[len(tokens)]

    return of


def searched(next_logs, beams):
    """The best target of one input: lists of (log probability, tokens), sorted in each step."""

    def score(value, length):
        return value / ((beams.offset + length) / (beams.offset + 1)) ** beams.alpha

    running, finished = [(0.0, ())], []
    for length in range(1, LENGTH + 1):
        candidates = sorted(
            (
                (value + log, (*tokens, token))
                for value, tokens in running
                for token, log in enumerate(next_logs(tokens))
            ),
            reverse=True,
        )[: 2 * beams.number]
        ends = [tokens[-1] == EOS or length == LENGTH for _, tokens in candidates]
        for end, (value, tokens) in list(zip(ends, candidates, strict=True))[: beams.number]:
            if end:
                finished.append((score(value, length), tokens))
        finished = sorted(finished, reverse=True)[: beams.number]
        going_on = zip(ends, candidates, strict=True)
        running = [candidate for end, candidate in going_on if not end][: beams.number]
        full = len(finished) == beams.number
        if not running or (full and score(running[0][0], length) <= finished[-1][0]):
            break
    return finished[0][1]


def reference(model, beams):
    """The best targets of all inputs."""
    next_logs, rows = log_probabilities(model), []
    for row, ids in enumerate(INPUTS):
        tokens = searched(lambda tokens, row=row: next_logs(row, tokens), beams) if any(ids) else ()
        rows.append([*tokens, *[0] * (LENGTH - len(tokens))])
    return np.array(rows)


def decoder(model, shape=MeshShape()):  # noqa: B008
    return cached_decoder(model, jnp.array(INPUTS), length=LENGTH, ids=IDS, mesh=mesh_of(shape))


def search(model, beams, shape=MeshShape()):  # noqa: B008
    return np.asarray(jax.jit(lambda: beam_search(decoder(model, shape), beams))())


def test_equals_a_search_over_lists():
    """With T5's penalty and with one that prefers long targets."""
    model = small("dense")
    found = {beams: search(model, beams) for beams in (Beams(), LONG)}
    for beams, targets in found.items():
        np.testing.assert_array_equal(targets, reference(model, beams))
        assert not targets[3].any()
    assert 1.5 * np.count_nonzero(found[Beams()]) < np.count_nonzero(found[LONG])


@pytest.mark.slow
def test_sharded_equals_unsharded():
    """A Switch network, of which also the lists of hypotheses are compared."""
    model = small("switch")
    expected = reference(model, Beams())
    for shape in (MeshShape(), MeshShape(data=2, expert=2)):
        np.testing.assert_array_equal(search(model, Beams(), shape), expected)
    assert len(set(map(tuple, expected))) > 5


@pytest.mark.slow
def test_one_beam_is_greedy():
    """Whatever the penalty: a longer target is never compared with the first that ends."""
    model = small("dense")
    greedy = jax.jit(lambda: generate(decoder(model), jax.random.key(0), Sampling()))()
    found = search(model, replace(LONG, number=1))
    np.testing.assert_array_equal(found, greedy)
    assert len(set(map(tuple, found))) > 3


LABELS = np.array([[5, 9, 1, 0], [5, 1, 0, 0], [70, 80, 90, 1]], np.int32)


def plain(model, inputs):
    """Each label alone: the whole network, logits, log softmax, the sum over the label's tokens."""
    model = never_dropping(model, SOURCE, LABELS.shape[1])

    @jax.jit
    def nats(targets):
        rows = Batch(inputs, targets, jnp.zeros(len(inputs), jnp.int32))
        logs = jax.nn.log_softmax(model.head(model(rows, Call(mesh_of())).decoded))
        of_target = jnp.take_along_axis(logs, targets[..., None], axis=-1)[..., 0]
        return -jnp.sum(of_target * rows.is_target, axis=1)

    columns = [nats(jnp.broadcast_to(label, (len(inputs), len(label)))) for label in LABELS]
    return np.stack(columns, axis=1)


def scorer(model, shape=MeshShape(), **logits):  # noqa: B008
    """The compiled function from inputs to scores, on a mesh of this shape."""
    arrays, static = eqx.partition(model, eqx.is_array)
    arrays, call = on_mesh(arrays, mesh_of(shape)), Call(mesh_of(shape), **logits)
    labels = jnp.array(LABELS)
    run = jax.jit(lambda arrays, rows: label_nats(eqx.combine(arrays, static), rows, labels, call))
    return lambda inputs: np.asarray(run(arrays, inputs))


@pytest.mark.parametrize("kind", [pytest.param("dense", marks=pytest.mark.slow), "switch"])
def test_equals_the_loss_of_each_label(kind):
    """On one device, on four, a few logits at a time, and with the other rows changed.

    Routers are decided, so that capacity would drop many tokens.
    """
    model, inputs = drawn(config(kind)), batch().inputs
    if kind == "switch":
        routers = lambda m: [s.blocks[0].feed_forward.router for s in (m.encoder, m.decoder)]  # noqa: E731
        model = eqx.tree_at(routers, model, replace_fn=lambda router: 5 * router)
    score = scorer(model)
    found = score(inputs)
    assert found.shape == (ROWS, len(LABELS))
    np.testing.assert_allclose(found, plain(model, inputs), rtol=1e-5)
    sharded, in_chunks = (
        scorer(model, MeshShape(data=2, expert=2)),
        scorer(model, logits_bytes=4096),
    )
    np.testing.assert_allclose(sharded(inputs), found, rtol=1e-5)
    np.testing.assert_allclose(in_chunks(inputs), found, rtol=1e-5)
    others = score(inputs.at[1:].set(inputs[:1]))
    np.testing.assert_allclose(others[0], found[0], rtol=1e-6)
    assert np.abs(others[1] - found[1]).min() > 0.01
