"""Fitted experts against NumPy's least squares, and where there is nothing to fit."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import SWITCH, batch, config, drawn, mesh_of
from switch_oracle import gelu

from model.call import Call
from model.conversions.pruning import expert_axes, pruned_arrays, pruned_config
from model.conversions.refitting import RIDGE, refitted
from model.decoding.never_dropping import never_dropping
from model.dimensions import by_path
from model.stack import StackInputs
from model.transformer import Transformer, transformer_shapes

KEPT = np.array([[1, 4, 6], [0, 2, 7]])
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
    return refitted(whole, pruned, [batch(0), batch(1)], mesh_of())


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
    beside = replace(config("switch"), switch=replace(SWITCH, shared_mlp=16))
    whole = drawn(beside)
    same = refitted(whole, whole, [batch(0)], mesh_of())
    for name, leaf in by_path(same).items():
        np.testing.assert_allclose(leaf, by_path(whole)[name], atol=2e-3)
