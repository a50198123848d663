"""Statistics of routing: nothing is lost between tokens, rows and layers."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import ROWS, SWITCH, batch, config, drawn, mesh_of, trainer

from eval.experts.usage import by_language
from model.call import Call
from model.loss.training_loss import training_loss
from model.switch.routing_sums import row_routing


@pytest.fixture(scope="module")
def model():
    return drawn(config("switch"))


@eqx.filter_jit
def routed(model, batch, call):
    """Returns the losses, and the routing of both stacks."""
    output = model(batch, call)
    _, (losses, _) = training_loss(model, batch, call)
    return losses, (output.encoder_routing, output.decoder_routing)


def test_layers_count_what_routing_did(model):
    """One layer per stack, and groups of a row: 16 or 8 tokens, for which an expert has 2 or 1."""
    losses, stacks = routed(model, batch(), Call(mesh_of(), jax.random.key(0)))
    layers, real = losses.layers, [np.asarray(batch().is_source), np.asarray(batch().is_target)]
    tokens = [int(one.sum()) for one in real]
    assert layers.tokens.tolist() == tokens
    loads, kept, entropies = [], [], []
    for routing, is_token, capacity in zip(stacks, real, (2, 1), strict=True):
        rows = np.asarray(routing.expert_index)[0, ..., 0]
        load = np.array(
            [np.bincount(row[some], minlength=8) for row, some in zip(rows, is_token, strict=True)]
        )
        loads.append(load.sum(axis=0).tolist())
        kept.append(int(np.asarray(routing.kept).sum()))
        assert kept[-1] == np.minimum(load, capacity).sum()
        assert not np.asarray(routing.kept)[0, ~is_token].any()
        entropies.append(np.asarray(routing.entropy_nats)[0, is_token].sum())
    slots = [ROWS * 8 * 2, ROWS * 8 * 1]
    assert layers.load.tolist() == loads
    assert layers.expert_slots.tolist() == slots
    assert layers.dropped.tolist() == np.subtract(tokens, kept).tolist()
    assert layers.wasted.tolist() == np.subtract(slots, kept).tolist()
    assert 0 < losses.dropped_share == pytest.approx(1 - sum(kept) / sum(tokens))
    assert 0 < losses.wasted_share == pytest.approx(1 - sum(kept) / sum(slots))
    np.testing.assert_allclose(losses.router_entropy_nats, sum(entropies) / sum(tokens), rtol=1e-6)


@pytest.mark.parametrize("choices", [1, 2])
def test_gates_and_drops_are_counted_token_by_token(choices):
    """By a loop over the assignments of real tokens, in groups of a row."""
    switch = replace(SWITCH, choices=choices)
    model = drawn(replace(config("switch"), switch=switch))
    losses, stacks = routed(model, batch(), Call(mesh_of(), jax.random.key(0)))
    kept, real = 0, [np.asarray(batch().is_source), np.asarray(batch().is_target)]
    for layer, (routing, is_token) in enumerate(zip(stacks, real, strict=True)):
        sums = row_routing(routing, jnp.array(is_token), 8)
        gates, load = np.zeros((ROWS, 8)), np.zeros((ROWS, 8), int)
        for row, token in np.argwhere(is_token):
            for choice in range(choices):
                expert = int(routing.expert_index[0, row, token, choice])
                gates[row, expert] += float(routing.gate[0, row, token, choice])
                load[row, expert] += 1
        np.testing.assert_allclose(sums.gate[0], gates, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(sums.load[0], load)
        assert losses.layers.load[layer].sum() == choices * is_token.sum()
        kept += int(np.asarray(routing.kept).sum())
    every = choices * sum(int(one.sum()) for one in real)
    assert 0 < losses.dropped_share == pytest.approx(1 - kept / every)


def scored(model, language, languages):
    rows = replace(batch(), language=jnp.array(language, jnp.int32))
    return trainer("switch").score(eqx.filter(model, eqx.is_array), rows, languages)[1]


def test_languages_are_sums_of_their_rows(model):
    """Of which the last has none; a row of no language counts nowhere."""
    language = np.array([2, 0, -1, 0, 2, 1, 0, -1])
    alone = scored(model, range(ROWS), ROWS)
    expected = by_language([np.asarray(part) for part in alone], language, 4)
    for sums, part in zip(scored(model, language, 4), expected, strict=True):
        np.testing.assert_allclose(sums, part, rtol=1e-6)


def test_rows_add_up_to_layers(model):
    rows = scored(model, range(ROWS), ROWS)
    assert rows.load.shape == (2, ROWS, 8)
    assert rows.tokens.tolist() == [
        batch().is_source.sum(axis=1).tolist(),
        batch().is_target.sum(axis=1).tolist(),
    ]
    np.testing.assert_array_equal(rows.load.sum(axis=-1), rows.tokens)
    assert (rows.entropy_nats <= rows.tokens * np.log(8) + 1e-4).all()
    assert (rows.dropped <= rows.tokens).all()
    assert ((rows.gate <= rows.load) & (rows.gate >= 0)).all()
    assert (rows.gate.sum(axis=-1) >= (rows.tokens - rows.dropped) / 8 - 1e-5).all()  # the largest
