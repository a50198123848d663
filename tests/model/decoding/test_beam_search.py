"""Beam search writes what a search over lists of hypotheses writes, without a cache.

Scores of labels are the losses of the labels taken one by one.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import ROWS, batch, config, drawn, mesh_of
from small_networks import SOURCE as SOURCE_LABEL_SCORING

from model.batch import Batch, Call
from model.config import EOS, ConfigurationError, MeshShape, Sampling
from model.decoding.beam_search import Beams, beam_search, label_nats
from model.decoding.generation import cached_decoder, generate, never_dropping
from model.sharding.layouts import batch_sharding, parameter_shardings
from model.transformer import StackInputs

LENGTH, SOURCE, IDS = 7, 8, 6  # EOS is one of few ids, so that targets of all lengths are likely
LONG = Beams(number=3, alpha=2.5, offset=0.0)


@pytest.fixture(scope="module")
def inputs():
    ids = np.random.default_rng(1).integers(2, 128, (8, SOURCE)).astype(np.int32)
    ids[1, 5:], ids[3] = 0, 0  # one is padded, one is a row of padding
    return jnp.array(ids)


def small(kind):
    """A network of one layer that is not very sure of its next token."""
    model = drawn(dataclasses.replace(config(kind), layers=1))
    return eqx.tree_at(lambda m: m.logits, model, replace_fn=lambda matrix: 0.5 * matrix)


def log_probabilities(model, inputs):
    """The function from targets so far to log probabilities of the next token, without a cache."""
    model = never_dropping(model, SOURCE, LENGTH)
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
        return np.asarray(logs(inputs[row], jnp.array(before)))[len(tokens)]

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


def reference(model, inputs, beams):
    """The best targets of all inputs."""
    next_logs, rows = log_probabilities(model, inputs), []
    for row, ids in enumerate(np.asarray(inputs)):
        tokens = searched(lambda tokens, row=row: next_logs(row, tokens), beams) if any(ids) else ()
        rows.append([*tokens, *[0] * (LENGTH - len(tokens))])
    return np.array(rows)


def searcher(model, inputs, shape=MeshShape()):  # noqa: B008
    """The function from beams to the targets found on a mesh of this shape."""
    mesh = mesh_of(shape)
    run = jax.jit(
        lambda inputs, beams: beam_search(
            cached_decoder(model, inputs, length=LENGTH, ids=IDS, mesh=mesh), beams
        ),
        static_argnums=1,
    )
    return lambda beams: np.asarray(run(inputs, beams))


def test_equals_a_search_over_lists(inputs):
    """With T5's penalty and with one that prefers long targets."""
    model = small("dense")
    search = searcher(model, inputs)
    found = {beams: search(beams) for beams in (Beams(), LONG)}
    for beams, targets in found.items():
        np.testing.assert_array_equal(targets, reference(model, inputs, beams))
        assert not targets[3].any()
    assert 1.5 * np.count_nonzero(found[Beams()]) < np.count_nonzero(found[LONG])


@pytest.mark.slow
def test_sharded_equals_unsharded(inputs):
    """A Switch network, of which also the lists of hypotheses are compared."""
    model = small("switch")
    expected = reference(model, inputs, Beams())
    for shape in (MeshShape(), MeshShape(data=2, expert=2)):
        np.testing.assert_array_equal(searcher(model, inputs, shape)(Beams()), expected)
    assert len(set(map(tuple, expected))) > 5


@pytest.mark.slow
def test_one_beam_is_greedy(inputs):
    """Whatever the penalty: a longer target is never compared with the first that ends."""
    model = small("dense")
    greedy = jax.jit(
        lambda inputs: generate(
            cached_decoder(model, inputs, length=LENGTH, ids=IDS, mesh=mesh_of()),
            jax.random.key(0),
            Sampling(),
        )
    )(inputs)
    found = searcher(model, inputs)(dataclasses.replace(LONG, number=1))
    np.testing.assert_array_equal(found, greedy)
    assert len(set(map(tuple, found))) > 3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"number": 0}, "number was 0; it must be 1 or more"),
        ({"alpha": float("nan")}, "alpha was nan"),
        ({"offset": -1.0}, "offset was -1.0"),
    ],
)
def test_settings_that_mean_nothing(setting, message):
    with pytest.raises(ConfigurationError, match=message):
        Beams(**setting)


LABELS = np.array([[5, 9, 1, 0], [5, 1, 0, 0], [70, 80, 90, 1]], np.int32)


def small_label_scoring(kind):
    """A network; its routers are decided, so that capacity would drop many tokens."""
    model = drawn(config(kind))
    if kind == "dense":
        return model
    return eqx.tree_at(
        lambda m: [stack.blocks[0].feed_forward.router for stack in (m.encoder, m.decoder)],
        model,
        replace_fn=lambda router: 5 * router,
    )


def plain(model, inputs):
    """Each label alone: the whole network, logits, log softmax, the sum over the label's tokens."""
    model = never_dropping(model, SOURCE_LABEL_SCORING, LABELS.shape[1])

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
    mesh, labels = mesh_of(shape), jnp.array(LABELS)
    arrays = jax.device_put(arrays, parameter_shardings(arrays, mesh))
    call = Call(mesh, **logits)
    run = jax.jit(lambda arrays, rows: label_nats(eqx.combine(arrays, static), rows, labels, call))
    return lambda inputs: np.asarray(run(arrays, jax.device_put(inputs, batch_sharding(mesh))))


@pytest.mark.parametrize("kind", [pytest.param("dense", marks=pytest.mark.slow), "switch"])
def test_equals_the_loss_of_each_label(kind):
    """On one device, on four, a few logits at a time, and with the other rows changed."""
    model, inputs = small_label_scoring(kind), batch().inputs
    score = scorer(model)
    found = score(inputs)
    assert found.shape == (ROWS, len(LABELS))
    np.testing.assert_allclose(found, plain(model, inputs), rtol=1e-5)
    sharded = scorer(model, MeshShape(data=2, expert=2))(inputs)
    np.testing.assert_allclose(sharded, found, rtol=1e-5)
    in_chunks = scorer(model, logits_bytes=4_096)(inputs)
    np.testing.assert_allclose(in_chunks, found, rtol=1e-5)
    others = score(inputs.at[1:].set(inputs[:1]))
    np.testing.assert_allclose(others[0], found[0], rtol=1e-6)
    assert np.abs(others[1] - found[1]).min() > 0.01
