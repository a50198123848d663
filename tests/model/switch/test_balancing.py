"""Statistics of routing: nothing is lost between tokens, rows and layers.

Biases against loops over numbers, and in whole steps: on a mesh, in microbatches, resumed.
"""

import functools
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import (
    EIGHT,
    ROWS,
    SWITCH,
    assert_close,
    batch,
    config,
    drawn,
    mesh_of,
    start,
    trainer,
    trainer_of,
)

from eval.experts import usage_by_language
from model.batch import Call
from model.config import MeshShape
from model.loss.training_loss import training_loss
from model.sharding.layouts import with_shardings
from model.step import gradient_sites
from model.switch.balancing import (
    LayerRouting,
    quantile_rule,
    row_routing,
    sign_rule,
    with_new_biases,
)
from model.switch.routing import BINS, SIDE, margin_counts
from pipeline.runs.checkpoints import Checkpoints


def with_switch(switch):
    return replace(config("switch"), switch=switch)


def test_layers_count_what_routing_did_token_by_token():
    """One layer per stack, in groups of a row; by a loop over the assignments of real tokens."""
    choices = 2
    switch = replace(SWITCH, choices=choices)
    model, call = drawn(with_switch(switch)), Call(mesh_of(), jax.random.key(0))

    @jax.jit
    def routed(model):
        output, (_, (losses, _)) = model(batch(), call), training_loss(model, batch(), call)
        return losses, (output.encoder_routing, output.decoder_routing)

    losses, stacks = routed(model)
    layers, kept, slots, entropies = losses.layers, [], [], []
    reals = [np.asarray(batch().is_source), np.asarray(batch().is_target)]
    for layer, (routing, is_token) in enumerate(zip(stacks, reals, strict=True)):
        gates, load = np.zeros((ROWS, 8)), np.zeros((ROWS, 8), int)
        for row, token in np.argwhere(is_token):
            for choice in range(choices):
                expert = int(routing.expert_index[0, row, token, choice])
                gates[row, expert] += float(routing.gate[0, row, token, choice])
                load[row, expert] += 1
        capacity = switch.routing(decoder=layer == 1, training=True).capacity
        kept.append(int(np.asarray(routing.kept).sum()))
        assert kept[-1] == np.minimum(load, capacity).sum()
        slots.append(ROWS * 8 * capacity)
        entropies.append(np.asarray(routing.entropy_nats)[0, is_token].sum())
        sums = row_routing(routing, jnp.array(is_token), 8)
        np.testing.assert_allclose(sums.gate[0], gates, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(sums.load[0], load)
        np.testing.assert_array_equal(layers.load[layer], load.sum(axis=0))
    tokens = np.array([real.sum() for real in reals])
    assert layers.tokens.tolist() == tokens.tolist()
    assert layers.expert_slots.tolist() == slots
    assert layers.dropped.tolist() == np.subtract(choices * tokens, kept).tolist()
    assert layers.wasted.tolist() == np.subtract(slots, kept).tolist()
    assert 0 < losses.dropped_share == pytest.approx(1 - sum(kept) / (choices * tokens.sum()))
    assert 0 < losses.wasted_share == pytest.approx(1 - sum(kept) / sum(slots))
    np.testing.assert_allclose(losses.router_entropy_nats, sum(entropies) / sum(tokens), rtol=1e-6)


def test_languages_are_sums_of_their_rows():
    """Of which the last has none; a row of no language counts nowhere."""
    arrays = eqx.filter(drawn(config("switch")), eqx.is_array)

    def scored(language, languages):
        rows = replace(batch(), language=jnp.array(language, jnp.int32))
        return trainer("switch").score(arrays, rows, languages)[1]

    language = np.array([2, 0, -1, 0, 2, 1, 0, -1])
    alone = scored(range(ROWS), ROWS)
    tokens = [real.sum(axis=1).tolist() for real in (batch().is_source, batch().is_target)]
    assert alone.tokens.tolist() == tokens
    expected = usage_by_language([np.asarray(part) for part in alone], language, 4)
    for sums, part in zip(scored(language, 4), expected, strict=True):
        np.testing.assert_allclose(sums, part, rtol=1e-6)


RATE = 0.05
KINDS = {
    "sign, shared expert": replace(SWITCH, bias_rate=RATE, shared_mlp=16),
    "quantile": replace(SWITCH, quantile_rate=0.5, choices=2),
}


@functools.cache
def balancing(kind, shape=MeshShape(), accumulate=1):  # noqa: B008
    return trainer_of(with_switch(KINDS[kind]), shape, accumulate=accumulate)


def step(one, state, seed=0):
    return one.step(state, batch(seed, one.mesh))


def biases(arrays):
    stacks = arrays.encoder, arrays.decoder
    return np.concatenate([stack.blocks[-1].feed_forward.expert_bias for stack in stacks])


def by_sign(bias, load):
    """A loop over layers and experts."""
    moved = np.array(bias, np.float64)
    for layer, loads in enumerate(np.asarray(load)):
        for expert, count in enumerate(loads):
            moved[layer, expert] += RATE * np.sign(sum(loads) / len(loads) - count)
    return moved


def test_steps_of_the_sign_rule_even_out_uneven_experts():
    logits = np.random.default_rng(0).normal(size=(4096, 8)) + np.arange(8) / 2
    bias, share = jnp.zeros(8), []
    for _ in range(150):
        load = jnp.bincount(jnp.argmax(logits + bias, axis=-1), length=8)
        share.append(float(load.max()) / 512)
        bias = sign_rule(bias, load, RATE)
    assert share[0] > 3
    assert share[-1] < 1.15


def test_a_quantiles_bias_gives_each_expert_its_share_of_the_batch():
    """All biases move at once, so a few batches of the same tokens are needed."""
    scores = np.random.default_rng(0).normal(size=(1, 4096, 8)) + np.arange(8) / 2
    real, bias = jnp.ones((1, 4096), bool), jnp.zeros(8)
    for _ in range(20):
        _, index = jax.lax.top_k(scores + bias, 2)
        load = np.bincount(np.ravel(index), minlength=8)
        counts = margin_counts(jnp.asarray(scores + bias), index, real)
        bias = quantile_rule(bias, counts, 2 / 8, 1.0)
    assert load.max() / 1024 < 1.01
    assert load.min() / 1024 > 0.99


def test_a_network_moves_half_the_way_to_the_share_of_its_choices():
    """Of 8 tokens 6 are in a low bin: a share of 2 / 8 exceeds its upper edge."""
    network = drawn(with_switch(KINDS["quantile"]))
    counts = np.zeros((2, 8, BINS), np.int32)
    for expert in range(8):
        counts[0, expert, [SIDE + 1 + expert, BINS - 1]] = 6, 2  # from expert to expert + 1 widths
        counts[1, expert, [SIDE - 1 - 3 * expert, SIDE]] = 6, 2
    edges = np.array([np.arange(8) + 1, -3 * np.arange(8)]) / 128
    moved = biases(network) - 0.5 * edges
    layers = LayerRouting(np.ones((2, 8), np.int32), *(np.ones(2, np.int32) for _ in range(5)))
    run = jax.jit(with_new_biases, static_argnums=1)
    found = biases(run(network, KINDS["quantile"], layers, counts))
    np.testing.assert_allclose(found, moved - moved.mean(axis=1, keepdims=True), atol=1e-6)


@pytest.fixture(
    scope="module", params=["sign, shared expert", pytest.param("quantile", marks=pytest.mark.slow)]
)
def stepped(request):
    """Two steps on one device: the states and the metrics."""
    one = balancing(request.param)
    first, metrics = step(one, start(one))
    arrays = jax.device_get(first)
    return request.param, arrays, metrics, *step(one, first, 1)


def test_a_step_moves_biases_by_its_own_loads(stepped):
    kind, first, metrics, *_ = stepped
    before, after = biases(start(balancing(kind)).arrays), biases(first.arrays)
    if kind == "quantile":
        assert metrics.losses.margins is None
        np.testing.assert_allclose(after.mean(axis=-1), 0, atol=1e-6)
        assert np.abs(after - before).max() > 0.1
    else:
        np.testing.assert_allclose(after, by_sign(before, metrics.losses.layers.load), atol=1e-6)


def test_biases_are_no_part_of_gradients_and_moments():
    one = balancing("sign, shared expert")
    shapes = jax.eval_shape(one.init)
    assert shapes.arrays.encoder.blocks[0].feed_forward.expert_bias.shape == (1, 8)
    assert shapes.optimizer.states.encoder.blocks[0].feed_forward.expert_bias is None
    sites = {site.parameter for site in gradient_sites(one.shapes, 1)}
    assert "feed_forward.shared.up" in sites
    assert "feed_forward.expert_bias" not in sites


@pytest.mark.slow
def test_neither_devices_nor_microbatches_matter(stepped):
    kind, _, first, expected, second = stepped
    one = balancing(kind, EIGHT, 2)
    state, metrics = step(one, start(one))
    np.testing.assert_array_equal(metrics.losses.layers.load, first.losses.layers.load)
    state, metrics = step(one, state, 1)
    np.testing.assert_array_equal(metrics.losses.layers.load, second.losses.layers.load)
    assert_close(metrics.losses, second.losses, rtol=1e-4, atol=1e-5)
    assert_close(state.arrays, expected.arrays, atol=1e-4)


def test_a_resumed_run_has_the_biases_of_an_uninterrupted_one(stepped, tmp_path):
    kind, first, _, expected, _ = stepped
    one = balancing(kind)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, jax.device_put(first, one.shardings))
    checkpoints.close()
    again = Checkpoints(tmp_path)
    restored = again.restore(1, with_shardings(jax.eval_shape(one.init), one.shardings))
    again.close()
    resumed, _ = step(one, restored, 1)
    assert_close(resumed, expected, rtol=0)


def test_a_skipped_step_moves_no_bias(stepped):
    one = balancing(stepped[0])
    state = start(one)
    before = biases(state.arrays)
    broken = replace(state.arrays, logits=state.arrays.logits * np.nan)
    after, metrics = step(one, state._replace(arrays=broken))
    assert bool(metrics.skipped)
    np.testing.assert_array_equal(biases(after.arrays), before)
