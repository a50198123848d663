"""Pruned experts against loops: which stay, and what a layer without the others computes."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import switch_oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from small_networks import SWITCH as SWITCH_OF_ALL
from small_networks import config, drawn, mesh_of
from switch_case import EXPERTS, SWITCH, layer, tokens

from model.conversions.pruning import (
    expert_axes,
    kept_count,
    most_important,
    pruned_arrays,
    pruned_config,
)
from model.dimensions import by_path
from model.switch.switch_layer import SwitchLayer
from model.transformer import transformer_shapes

KEPT = np.array([[1, 4, 6], [0, 2, 7]])


def slowly_chosen(importance, count):
    """The `count` largest of one layer, the first of equal ones, by looking for the best left."""
    left, chosen = list(range(len(importance))), []
    for _ in range(count):
        best = left[0]
        for expert in left:
            if importance[expert] > importance[best]:
                best = expert
        chosen.append(best)
        left.remove(best)
    return sorted(chosen)


@settings(max_examples=30, deadline=None)
@given(arrays(float, (4, 5), elements=st.integers(0, 3).map(float)), st.integers(1, 5))
def test_the_most_important_stay_and_of_equal_ones_the_first(importance, count):
    kept = most_important(importance, count)
    expected = [slowly_chosen(of.tolist(), count) for of in importance]
    assert kept.tolist() == expected


@pytest.mark.parametrize(
    ("experts", "share", "count"),
    [(16, 0.25, 4), (10, 0.7, 7), (10, 0.71, 8), (8, 1.0, 8), (16, 0.001, 1), (128, 0.8, 103)],
)
def test_a_share_is_rounded_up_to_whole_experts(experts, share, count):
    assert kept_count(experts, share) == count


def test_keeping_all_experts_changes_no_array():
    shapes = transformer_shapes(config("switch"))
    whole = {name: np.asarray(leaf) for name, leaf in by_path(drawn(config("switch"))).items()}
    axes = expert_axes(shapes)
    assert {name.rpartition(".")[2] for name in axes} == {"router", "gate", "up", "down"}
    everyone = np.tile(np.arange(8), (2, 1))
    kept = pruned_arrays(whole, axes, everyone)
    assert kept.keys() == whole.keys()
    assert all(np.array_equal(kept[name], whole[name]) for name in whole)


def test_a_pruned_network_has_the_arrays_of_its_config():
    biased = replace(SWITCH_OF_ALL, bias_rate=0.1, shared_mlp=8)
    whole_config = replace(config("switch"), switch=biased)
    shapes = transformer_shapes(whole_config)
    whole = {name: np.asarray(leaf) for name, leaf in by_path(drawn(whole_config)).items()}
    kept = pruned_arrays(whole, expert_axes(shapes), KEPT)
    expected = by_path(transformer_shapes(pruned_config(whole_config, 3)))
    assert {name: leaf.shape for name, leaf in kept.items()} == {
        name: leaf.shape for name, leaf in expected.items()
    }
    up = ".decoder.blocks[0].feed_forward.up"
    np.testing.assert_array_equal(kept[up][0, 1], whole[up][0, 2])
    bias = ".encoder.blocks[0].feed_forward.expert_bias"
    np.testing.assert_array_equal(kept[bias][0], whole[bias][0, KEPT[0]])


def test_biases_by_quantiles_leave_where_each_token_has_every_expert():
    """All arrays of the pruned network are still there, and more than as many experts keep them."""
    balanced = replace(SWITCH_OF_ALL, quantile_rate=0.5, choices=2)
    whole_config = replace(config("switch"), switch=balanced)
    whole = {name: np.asarray(leaf) for name, leaf in by_path(drawn(whole_config)).items()}
    axes = expert_axes(transformer_shapes(whole_config))
    for experts, rate in ((2, 0.0), (3, 0.5)):
        pruned = pruned_config(whole_config, experts)
        assert pruned.switch.quantile_rate == rate
        kept = pruned_arrays(whole, axes, np.tile(np.arange(experts), (2, 1)))
        expected = by_path(transformer_shapes(pruned))
        assert {name: kept[name].shape for name in expected} == {
            name: leaf.shape for name, leaf in expected.items()
        }
        left = {name.rpartition(".")[2] for name in kept.keys() - expected.keys()}
        assert left == (set() if rate else {"expert_bias"})


def taken(whole, experts):
    """A switch layer without the other experts."""
    return SwitchLayer(
        whole.router[:, experts], whole.gate[experts], whole.up[experts], whole.down[experts]
    )


@jax.jit
def run(of, x, real):
    """Returns what a layer of so many experts computes, and its routing."""
    switch = pruned_config(config("switch"), of.up.shape[0]).switch
    routing = switch.routing(decoder=False, training=False)
    return of(x, real, routing, key=None, mesh=mesh_of())


def test_a_layer_without_experts_is_the_layer_with_their_logits_at_minus_infinity():
    """Against loops in which the dropped experts' probability is 0."""
    whole, kept = layer(), np.array([1, 4, 6])
    y, routing = run(taken(whole, kept), *tokens())
    x, real = (np.asarray(part, np.float64) for part in tokens())
    router = np.concatenate([np.asarray(whole.router), np.zeros((1, EXPERTS))])
    router[-1, np.setdiff1d(np.arange(EXPERTS), kept)] = -600  # times the last input, which is 1
    weights = [np.asarray(part, np.float64) for part in (whole.gate, whole.up, whole.down)]
    gate, up = (np.pad(part, ((0, 0), (0, 1), (0, 0))) for part in weights[:2])
    down = np.pad(weights[2], ((0, 0), (0, 0), (0, 1)))
    for row in range(len(x)):
        ones = np.concatenate([x[row], np.ones((len(x[row]), 1))], axis=1)
        loops = switch_oracle.switch_group(
            ones, real[row] > 0, router, gate, up, down, top_k=1, capacity=math.inf
        )
        np.testing.assert_allclose(y[row], loops.output[:, :-1], atol=1e-5)
        chosen = kept[np.asarray(routing.expert_index[row])]
        real_tokens = real[row] > 0
        np.testing.assert_array_equal(chosen[real_tokens], loops.expert_index[real_tokens])


def test_experts_that_no_token_has_a_probability_for_change_nothing():
    """Bit for bit: a logit of -1,000 has probability 0 in float32."""
    whole, kept = layer(), np.array([0, 2, 3, 5])
    x, real = tokens()
    x = jnp.concatenate([jnp.ones_like(x[..., :1]), x[..., 1:]], axis=-1)
    unused = np.setdiff1d(np.arange(EXPERTS), kept)
    router = whole.router.at[:, unused].set(0).at[0, unused].set(-1000)
    whole = SwitchLayer(router, whole.gate, whole.up, whole.down)

    left = taken(whole, kept)
    np.testing.assert_array_equal(run(whole, x, real)[0], run(left, x, real)[0])


def test_a_pruned_network_drops_no_token():
    assert SWITCH.dispatch == "slots"
    switch = pruned_config(config("switch"), 3).switch
    assert (switch.experts, switch.dispatch) == (3, "dropless")
