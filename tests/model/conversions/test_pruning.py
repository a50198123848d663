"""Pruned, merged and fitted experts, against loops and NumPy's least squares."""

import itertools
import math
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import switch_oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from small_networks import SWITCH, batch, config, drawn, mesh_of
from switch_case import EXPERTS, layer, tokens
from switch_oracle import gelu

from model.batch import Batch, Call
from model.conversions.pruning import (
    RIDGE,
    LayerExperts,
    expert_axes,
    kept_count,
    merged_arrays,
    merged_experts,
    most_important_experts,
    nearest_kept,
    pruned_arrays,
    pruned_config,
    refitted_network,
    with_rows,
)
from model.decoding.generation import never_dropping
from model.sharding.layouts import by_path
from model.switch.switch_layer import SwitchLayer
from model.transformer import StackInputs, transformer_shapes

KEPT = np.array([[1, 4, 6], [0, 2, 7]])


@settings(max_examples=30)
@given(arrays(float, (4, 5), elements=st.integers(0, 3).map(float)), st.integers(1, 5))
def test_the_most_important_stay_and_of_equal_ones_the_first(importance, count):
    ranked = [
        sorted(range(5), key=lambda expert, of=of: (-of[expert], expert)) for of in importance
    ]
    expected = [sorted(experts[:count]) for experts in ranked]
    assert most_important_experts(importance, count).tolist() == expected


@pytest.mark.parametrize(
    ("experts", "share", "count"),
    [(16, 0.25, 4), (10, 0.7, 7), (10, 0.71, 8), (8, 1.0, 8), (16, 0.001, 1), (128, 0.8, 103)],
)
def test_a_share_is_rounded_up_to_whole_experts(experts, share, count):
    assert kept_count(experts, share) == count


def named_arrays(network):
    return {name: np.asarray(leaf) for name, leaf in by_path(network).items()}


def shapes_by_name(network):
    return {name: leaf.shape for name, leaf in by_path(network).items()}


@pytest.mark.parametrize(
    ("changes", "experts", "left"),
    [
        ({"bias_rate": 0.1, "shared_mlp": 8}, 3, set()),
        ({"quantile_rate": 0.5, "choices": 2}, 3, set()),
        ({"quantile_rate": 0.5, "choices": 2}, 2, {"expert_bias"}),  # each token has every expert
    ],
)
def test_a_pruned_network_has_the_arrays_of_its_config_and_drops_no_token(changes, experts, left):
    of = replace(config("switch"), switch=replace(SWITCH, **changes))
    whole, pruned = named_arrays(drawn(of)), pruned_config(of, experts)
    assert (pruned.switch.experts, pruned.switch.dispatch) == (experts, "dropless")
    assert (pruned.switch.quantile_rate == of.switch.quantile_rate) == (not left)
    kept = pruned_arrays(whole, expert_axes(transformer_shapes(of)), KEPT[:, :experts])
    expected = shapes_by_name(transformer_shapes(pruned))
    assert {name: kept[name].shape for name in expected} == expected
    assert {name.rpartition(".")[2] for name in kept.keys() - expected.keys()} == left
    encoder, decoder = (f".{stack}.blocks[0].feed_forward" for stack in ("encoder", "decoder"))
    np.testing.assert_array_equal(kept[f"{decoder}.up"][0, 1], whole[f"{decoder}.up"][0, 2])
    for name in ("router", "expert_bias"):
        found, before = kept[f"{encoder}.{name}"][0], whole[f"{encoder}.{name}"][0]
        np.testing.assert_array_equal(found, before[..., KEPT[0, :experts]])


@pytest.mark.parametrize(("kind", "tied"), [("dense", True), ("switch", False)])
def test_logits_of_kept_pieces_are_those_of_the_whole_vocabulary(kind, tied):
    whole = drawn(replace(config(kind), vocabulary_rows=384, tied_logits=tied))
    rows = np.r_[:3, np.unique(np.r_[5:250:2, 381:384])[-125:]]
    small = with_rows(whole, rows)
    assert small.config == replace(whole.config, vocabulary_rows=128)
    assert small.embedding.shape == (128, whole.config.embed)
    kept, ids = batch(), jnp.array(rows)
    before = Batch(ids[kept.inputs], ids[kept.targets], kept.language)
    logits = jax.jit(lambda network, rows: network.head(network(rows, Call(mesh_of())).decoded))
    expected = np.asarray(logits(whole, before))[..., rows]
    largest = np.abs(expected).max()
    np.testing.assert_allclose(np.asarray(logits(small, kept)), expected, atol=1e-5 * largest)


def test_a_layer_without_experts_is_the_layer_with_their_logits_at_minus_infinity():
    """Against loops in which the dropped experts' probability is 0."""
    whole, kept = layer(), np.array([1, 4, 6])
    left = (whole.router[:, kept], whole.gate[kept], whole.up[kept], whole.down[kept])
    routing = pruned_config(config("switch"), 3).switch.routing(decoder=False, training=False)
    run = jax.jit(lambda of, x, real: of(x, real, routing, key=None, mesh=mesh_of()))
    y, routed = run(SwitchLayer(*left), *tokens())
    x, real = (np.asarray(part, np.float64) for part in tokens())
    router = np.concatenate([np.asarray(whole.router), np.zeros((1, EXPERTS))])
    router[-1, np.setdiff1d(np.arange(EXPERTS), kept)] = -600  # times the last input, which is 1
    gate, up = (
        np.pad(np.float64(part), ((0, 0), (0, 1), (0, 0))) for part in (whole.gate, whole.up)
    )
    down = np.pad(np.float64(whole.down), ((0, 0), (0, 0), (0, 1)))
    for row, is_token in enumerate(real > 0):
        ones = np.concatenate([x[row], np.ones((len(x[row]), 1))], axis=1)
        loops = switch_oracle.switch_group(
            ones, is_token, router, gate, up, down, top_k=1, capacity=math.inf
        )
        np.testing.assert_allclose(y[row], loops.output[:, :-1], atol=1e-5)
        chosen = kept[np.asarray(routed.expert_index[row])]
        np.testing.assert_array_equal(chosen[is_token], loops.expert_index[is_token])


MERGED, EMBED, MLP = 5, 6, 7  # experts and their sizes
STAY = np.array([1, 4])


@pytest.fixture
def draw():
    return np.random.default_rng(0).normal


def experts(draw, gated=True):
    gate, up = (draw(size=(MERGED, EMBED, MLP)) for _ in range(2))
    return LayerExperts(gate if gated else None, up, draw(size=(MERGED, MLP, EMBED)))


def computed(of, expert, x):
    hidden = x @ of.up[expert]
    gated = np.maximum(hidden, 0) if of.gate is None else gelu(x @ of.gate[expert]) * hidden
    return gated @ of.down[expert]


@pytest.mark.parametrize("gated", [True, False])
def test_an_expert_merges_with_a_copy_of_itself_to_itself_whatever_the_order_of_units(draw, gated):
    given, order = experts(draw, gated), np.random.default_rng(1).permutation(MLP)
    for matrices in (given.gate, given.up) if gated else (given.up,):
        matrices[3] = matrices[1][:, order]
    given.down[3] = given.down[1][order]
    load = np.array([0.0, 2.0, 0.0, 5.0, 1.0])
    made = merged_experts(given, np.array([1, 1, 1, 1, 4]), load, STAY)
    x = draw(size=(9, EMBED))
    np.testing.assert_allclose(computed(made, 0, x), computed(given, 1, x), atol=1e-12)
    np.testing.assert_array_equal(made.up[1], given.up[4])


def test_each_dropped_expert_joins_the_kept_one_with_the_most_similar_column(draw):
    columns = draw(size=(EMBED, MERGED))
    lengths = np.linalg.norm(columns, axis=0)

    def nearest(one):
        cosine = lambda kept: columns[:, one] @ columns[:, kept] / lengths[kept]  # noqa: E731
        return one if one in STAY else max(STAY, key=cosine)

    expected = [nearest(one) for one in range(MERGED)]
    np.testing.assert_array_equal(nearest_kept(columns, STAY), expected)


def test_a_merged_expert_is_the_mean_by_load_of_aligned_units(draw):
    """With every permutation tried: units are few."""
    given, load = experts(draw), np.array([3.0, 1.0, 0.0, 0.0, 0.0])
    made = merged_experts(given, np.array([1, 1, 4, 4, 4]), load, STAY)
    np.testing.assert_array_equal(made.down[1], given.down[4])  # nothing was sent to its group
    kept, joining = (given.units(one) for one in (1, 0))
    np.testing.assert_array_equal(kept[2, :EMBED], given.gate[1, :, 2])
    orders = map(list, itertools.permutations(range(MLP)))
    best = max(orders, key=lambda order: np.sum(kept * joining[order]))
    np.testing.assert_allclose(made.down[0], 0.25 * given.down[1] + 0.75 * given.down[0][best])
    np.testing.assert_allclose(made.gate[0], 0.25 * given.gate[1] + 0.75 * given.gate[0][:, best])


def test_kept_experts_keep_their_biases_and_where_all_stay_nothing_merges(draw):
    parts = {"router": draw(size=(EMBED, MERGED)), **experts(draw)._asdict()}
    parts["expert_bias"] = draw(size=MERGED)
    arrays = {f".layer.{name}": part[None] for name, part in parts.items()}
    load = np.ones((1, MERGED))
    made = merged_arrays(arrays, STAY[None], load)
    assert list(made) == list(arrays)
    np.testing.assert_array_equal(made[".layer.expert_bias"], [parts["expert_bias"][STAY]])
    same = merged_arrays(arrays, np.arange(MERGED)[None], load)
    assert all(np.array_equal(same[name], arrays[name]) for name in arrays)


BATCHES = [batch(0), batch(1)]


@pytest.fixture(scope="module")
def networks():
    """The whole one, the pruned one, and the pruned one with fitted experts."""
    whole, of = drawn(config("switch")), transformer_shapes(pruned_config(config("switch"), 3))
    axes = expert_axes(transformer_shapes(config("switch")))
    arrays = pruned_arrays(named_arrays(whole), axes, KEPT)
    leaves = [jnp.asarray(arrays[name]) for name in by_path(of)]
    pruned = jax.tree.unflatten(jax.tree.structure(of), leaves)
    return whole, pruned, refitted_network(whole, pruned, BATCHES, mesh_of())


def rows_of_encoder(net):
    """Of both batches, each real token's stream before the experts, input, expert, gate, output."""
    net = never_dropping(net, 16, 8)
    stack, call = net.encoder, Call(mesh_of())
    layer = jax.tree.map(lambda leaf: leaf[0], stack.blocks[0])

    @eqx.filter_jit
    def run(stack, layer, of):
        inputs = StackInputs(of.source_to_source, of.is_source, None, None)
        x = net.embed(of.inputs, call)
        x = x + stack.attend(layer, x, inputs, call.mesh)
        y, routing = stack.feed_forward(layer, x, of.is_source, call, jnp.asarray(0))
        seen = layer.feed_forward_norm(x)
        return x, seen, routing.expert_index[..., 0], routing.gate[..., 0], x + y

    rows = [[np.float64(part)[of.is_source] for part in run(stack, layer, of)] for of in BATCHES]
    return [np.concatenate(parts) for parts in zip(*rows, strict=True)]


@pytest.mark.slow
def test_a_layers_fit_is_numpys_least_squares_with_the_old_matrix_as_prior(networks):
    """The prior as rows of their own; both batches count."""
    whole, pruned, fitted = networks
    before, seen, index, gate, _ = rows_of_encoder(pruned)
    target = rows_of_encoder(whole)[-1] - before
    experts = pruned.encoder.blocks[0].feed_forward
    found = np.asarray(fitted.encoder.blocks[0].feed_forward.down)[0]
    for expert in range(3):
        own = index == expert
        matrices = (
            np.float64(part)[0, expert] for part in (experts.gate, experts.up, experts.down)
        )
        inward, up, down = matrices
        units = gelu(seen[own] @ inward) * (seen[own] @ up) * gate[own, None]
        weight = np.sqrt(RIDGE * np.sum(units**2) / units.shape[1])
        rows = np.concatenate([units, weight * np.eye(units.shape[1])])
        values = np.concatenate([target[own], weight * down])
        assert own.any()
        expected = np.linalg.lstsq(rows, values, rcond=None)[0]
        np.testing.assert_allclose(found[expert], expected, atol=2e-3)


@pytest.mark.slow
def test_only_the_last_matrices_change_and_outputs_come_nearer(networks):
    """On the text that they were fitted on; two small batches are too little for other text."""
    before, after = (by_path(network) for network in networks[1:])
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {f".{one}.blocks[0].feed_forward.down" for one in ("encoder", "decoder")}
    whole, *others = (rows_of_encoder(network)[-1] for network in networks)
    far, near = (np.square(output - whole).sum() for output in others)
    assert near < far


def test_where_all_experts_stay_there_is_nothing_to_fit():
    """Nor is what a shared expert adds."""
    whole = drawn(replace(config("switch"), switch=replace(SWITCH, shared_mlp=16)))
    same = by_path(refitted_network(whole, whole, BATCHES[:1], mesh_of()))
    for name, leaf in by_path(whole).items():
        np.testing.assert_allclose(same[name], leaf, atol=2e-3)
