"""Pruned experts against loops: which stay, and what a layer without the others computes.

Merged experts against loops and against what they must compute.

Fitted experts against NumPy's least squares, and where there is nothing to fit.
"""

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
from small_networks import SWITCH as SWITCH_OF_ALL
from small_networks import SWITCH as SWITCH_REFITTING
from small_networks import batch, config, drawn, mesh_of
from switch_case import EXPERTS, SWITCH, layer, tokens
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
from model.transformer import StackInputs, Transformer, transformer_shapes

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
    kept = most_important_experts(importance, count)
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


@pytest.mark.parametrize(("kind", "tied"), [("dense", False), ("dense", True), ("switch", False)])
def test_logits_of_kept_pieces_are_those_of_the_whole_vocabulary(kind, tied):
    whole = drawn(replace(config(kind), vocabulary_rows=384, tied_logits=tied))
    rows = np.unique(np.r_[:3, 5:250:2, 381:384])[-128:]  # as ids, half of them
    rows = np.r_[:3, rows[3:]]
    small = with_rows(whole, rows)
    assert small.config == replace(whole.config, vocabulary_rows=128)
    assert small.embedding.shape == (128, whole.config.embed)
    kept = batch()
    ids = jnp.array(rows)
    before = Batch(ids[kept.inputs], ids[kept.targets], kept.language)

    @jax.jit
    def logits(network, batch):
        return network.head(network(batch, Call(mesh_of())).decoded)

    expected = np.asarray(logits(whole, before))[..., rows]
    largest = np.abs(expected).max()
    np.testing.assert_allclose(np.asarray(logits(small, kept)), expected, atol=1e-5 * largest)


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
    """Up to rounding, which the shapes decide: a logit of -1,000 has probability 0 in float32."""
    whole, kept = layer(), np.array([0, 2, 3, 5])
    x, real = tokens()
    x = jnp.concatenate([jnp.ones_like(x[..., :1]), x[..., 1:]], axis=-1)
    unused = np.setdiff1d(np.arange(EXPERTS), kept)
    router = whole.router.at[:, unused].set(0).at[0, unused].set(-1000)
    whole = SwitchLayer(router, whole.gate, whole.up, whole.down)

    left = taken(whole, kept)
    np.testing.assert_allclose(run(whole, x, real)[0], run(left, x, real)[0], atol=1e-6)


def test_a_pruned_network_drops_no_token():
    assert SWITCH.dispatch == "slots"
    switch = pruned_config(config("switch"), 3).switch
    assert (switch.experts, switch.dispatch) == (3, "dropless")


EXPERTS_MERGING, EMBED, MLP = 5, 6, 7
KEPT_MERGING = np.array([1, 4])


@pytest.fixture
def draw():
    return np.random.default_rng(0).normal


def experts(draw, gated=True):
    gate = draw(size=(EXPERTS_MERGING, EMBED, MLP)) if gated else None
    return LayerExperts(
        gate, draw(size=(EXPERTS_MERGING, EMBED, MLP)), draw(size=(EXPERTS_MERGING, MLP, EMBED))
    )


def computed(of, expert, x):
    hidden = x @ of.up[expert]
    hidden = (
        np.maximum(hidden, 0)
        if of.gate is None
        else switch_oracle.gelu(x @ of.gate[expert]) * hidden
    )
    return hidden @ of.down[expert]


def permuted(of, source, target, order):
    """The experts, of which one is another one with its hidden units in another order."""
    gate = None if of.gate is None else of.gate.copy()
    up, down = of.up.copy(), of.down.copy()
    if gate is not None:
        gate[target] = of.gate[source][:, order]
    up[target], down[target] = of.up[source][:, order], of.down[source][order]
    return LayerExperts(gate, up, down)


@pytest.mark.parametrize("gated", [True, False])
def test_an_expert_merges_with_a_copy_of_itself_to_itself_whatever_the_order_of_units(draw, gated):
    given = permuted(experts(draw, gated), 1, 3, np.random.default_rng(1).permutation(MLP))
    load = np.array([0.0, 2.0, 0.0, 5.0, 1.0])
    made = merged_experts(given, np.array([1, 1, 1, 1, 4]), load, KEPT_MERGING)
    x = draw(size=(9, EMBED))
    np.testing.assert_allclose(computed(made, 0, x), computed(given, 1, x), atol=1e-12)
    np.testing.assert_array_equal(made.up[1], given.up[4])


def test_each_dropped_expert_joins_the_kept_one_with_the_most_similar_column(draw):
    router = draw(size=(EMBED, EXPERTS_MERGING))

    def cosine(one, other):
        return (
            router[:, one]
            @ router[:, other]
            / np.prod([np.linalg.norm(router[:, at]) for at in (one, other)])
        )

    expected = [
        one
        if one in KEPT_MERGING
        else max(KEPT_MERGING, key=lambda kept, one=one: cosine(one, kept))
        for one in range(EXPERTS_MERGING)
    ]
    np.testing.assert_array_equal(nearest_kept(router, KEPT_MERGING), expected)


def test_a_merged_expert_is_the_mean_by_load_of_aligned_units(draw):
    """With every permutation tried: units are few."""
    given, load = experts(draw), np.array([3.0, 1.0, 0.0, 0.0, 0.0])
    made = merged_experts(given, np.array([1, 1, 4, 4, 4]), load, KEPT_MERGING)
    np.testing.assert_array_equal(made.down[1], given.down[4])  # nothing was sent to its group
    units = [given.units(one) for one in (1, 0)]
    np.testing.assert_array_equal(units[0][2, :EMBED], given.gate[1, :, 2])
    best = best_order(*units)
    np.testing.assert_allclose(made.down[0], 0.25 * given.down[1] + 0.75 * given.down[0][best])
    np.testing.assert_allclose(made.gate[0], 0.25 * given.gate[1] + 0.75 * given.gate[0][:, best])


def test_a_kept_expert_keeps_its_bias(draw):
    given, biases = experts(draw), draw(size=EXPERTS_MERGING)
    parts = {
        "router": draw(size=(EMBED, EXPERTS_MERGING)),
        **given._asdict(),
        "expert_bias": biases,
    }
    arrays = {f".layer.{name}": part[None] for name, part in parts.items()}
    made = merged_arrays(arrays, KEPT_MERGING[None], np.ones((1, EXPERTS_MERGING)))
    assert made.keys() == arrays.keys()
    np.testing.assert_array_equal(made[".layer.expert_bias"], [biases[KEPT_MERGING]])


def best_order(kept, joining):
    import itertools

    orders = itertools.permutations(range(MLP))
    return list(max(orders, key=lambda order: np.sum(kept * joining[list(order)])))


def test_keeping_all_experts_merges_nothing(draw):
    given, every = experts(draw), np.arange(EXPERTS_MERGING)
    names = [f".encoder.blocks[0].feed_forward.{one}" for one in ("router", "gate", "up", "down")]
    arrays = dict(
        zip(
            names,
            (part[None] for part in (draw(size=(EMBED, EXPERTS_MERGING)), *given)),
            strict=True,
        )
    )
    made = merged_arrays(arrays, every[None], np.ones((1, EXPERTS_MERGING)))
    assert list(made) == names
    assert all(np.array_equal(made[name], arrays[name]) for name in names)


DOWN = ".encoder.blocks[0].feed_forward.down"


def network(arrays, of):
    shapes = transformer_shapes(of)
    in_order = [jnp.asarray(arrays[name]) for name in by_path(shapes)]
    return jax.tree.unflatten(jax.tree.structure(shapes), in_order)


@pytest.fixture(scope="module")
def whole() -> Transformer:
    return drawn(config("switch"))


@pytest.fixture(scope="module")
def pruned(whole):
    arrays = {name: np.asarray(leaf) for name, leaf in by_path(whole).items()}
    axes = expert_axes(transformer_shapes(config("switch")))
    return network(pruned_arrays(arrays, axes, KEPT), pruned_config(config("switch"), 3))


@pytest.fixture(scope="module")
def fitted(whole, pruned):
    return refitted_network(whole, pruned, [batch(0), batch(1)], mesh_of())


def rows_of_encoder(net, of):
    """Each real token's stream before the experts, their input, its expert, gate and output."""
    net = never_dropping(net, 16, 8)
    stack, call = net.encoder, Call(mesh_of())
    layer = jax.tree.map(lambda leaf: leaf[0], stack.blocks[0])
    inputs = StackInputs(of.source_to_source, of.is_source, None, None)

    @eqx.filter_jit
    def run(stack, layer, x):
        x = x + stack.attend(layer, x, inputs, call.mesh)
        y, routing = stack.feed_forward(layer, x, of.is_source, call, jnp.asarray(0))
        seen = layer.feed_forward_norm(x)
        return x, seen, routing.expert_index[..., 0], routing.gate[..., 0], x + y

    real = np.asarray(of.is_source)
    found = run(stack, layer, net.embed(of.inputs, call))
    return [np.asarray(part, np.float64)[real] for part in found]


@pytest.mark.slow
def test_a_layers_fit_is_numpys_least_squares_with_the_old_matrix_as_prior(whole, pruned, fitted):
    """The prior as rows of their own; both batches count."""
    both = [np.concatenate(parts) for parts in zip(
        *(rows_of_encoder(pruned, batch(seed)) for seed in (0, 1)), strict=True)]  # fmt: skip
    before, seen, index, gate, _ = both
    target = np.concatenate([rows_of_encoder(whole, batch(seed))[-1] for seed in (0, 1)]) - before
    experts = pruned.encoder.blocks[0].feed_forward
    found = np.asarray(fitted.encoder.blocks[0].feed_forward.down)[0]
    for expert in range(3):
        own = index == expert
        inward, up, down = (
            np.asarray(part, np.float64)[0, expert]
            for part in (experts.gate, experts.up, experts.down)
        )
        units = gelu(seen[own] @ inward) * (seen[own] @ up) * gate[own, None]
        weight = np.sqrt(RIDGE * np.sum(units**2) / units.shape[1])
        rows = np.concatenate([units, weight * np.eye(units.shape[1])])
        values = np.concatenate([target[own], weight * down])
        expected = np.linalg.lstsq(rows, values, rcond=None)[0]
        assert own.any()
        np.testing.assert_allclose(found[expert], expected, atol=2e-3)


@pytest.mark.slow
def test_only_the_last_matrices_change_and_outputs_come_nearer(whole, pruned, fitted):
    """On the text that they were fitted on; two small batches are too little for other text."""
    before, after = by_path(pruned), by_path(fitted)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {DOWN, DOWN.replace("encoder", "decoder")}
    distance = [
        sum(
            np.square(rows_of_encoder(net, of)[-1] - rows_of_encoder(whole, of)[-1]).sum()
            for of in (batch(0), batch(1))
        )
        for net in (pruned, fitted)
    ]
    assert distance[1] < distance[0]


def test_where_all_experts_stay_there_is_nothing_to_fit():
    """Nor is what a shared expert adds."""
    beside = replace(config("switch"), switch=replace(SWITCH_REFITTING, shared_mlp=16))
    whole = drawn(beside)
    same = refitted_network(whole, whole, [batch(0)], mesh_of())
    for name, leaf in by_path(same).items():
        np.testing.assert_allclose(leaf, by_path(whole)[name], atol=2e-3)
