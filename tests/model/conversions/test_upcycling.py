"""An upcycled Switch is the dense network at first, and its dense parts move as there."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import batch, drawn, leaves, mesh_of, sized, start, trainer_of

from model.batch import Call
from model.config import SwitchConfig
from model.conversions.upcycling import Copy, first_arrays, first_moments
from model.step import TrainState

EXPERTS = 8
KEY = jax.random.key(7)


def config(switch, kind="gated-gelu", tied=False, **sizes):
    """With 128 rows a matrix of 130 columns has factored moments."""
    sizes = {"embed": 8, "head": 4, "mlp": 130, "layers": 4} | sizes
    return sized(**sizes, switch=switch, feed_forward=kind, tied_logits=tied)


def switch(every=2, **settings):
    """Switch layers that drop nothing and have no noise; routers have the scale of `drawn`."""
    groups = {"encoder_group_tokens": 16, "decoder_group_tokens": 8}
    exact = {"dispatch": "dropless", "jitter": 0.0, "router_scale": 0.2}
    return SwitchConfig(experts=EXPERTS, every=every, **groups, **exact, **settings)


@jax.jit
def run(model):
    """Logits and both stacks' routing."""
    output = model(batch(), Call(mesh_of()))
    return model.head(output.decoded), (output.encoder_routing, output.decoder_routing)


@pytest.mark.parametrize(
    ("switch", "kind", "tied"),
    [
        (switch(1), "relu", True),
        (switch(2), "gated-gelu", False),
        pytest.param(switch(choices=2), "gated-gelu", False, marks=pytest.mark.slow),
    ],
)
def test_the_first_function_is_the_dense_one_and_tokens_part_among_experts(switch, kind, tied):
    """Near-zero routers are not equal routers: with those every token would take expert 0."""
    dense, own = (drawn(config(one, kind, tied), seed) for seed, one in enumerate((None, switch)))
    (expected, _), (found, stacks) = run(dense), run(first_arrays(dense, own, key=KEY))
    real = batch().is_target  # padding goes to no expert
    assert np.abs(expected[real]).max() > 0.5  # the tolerance is absolute
    np.testing.assert_allclose(found[real], expected[real], rtol=1e-5, atol=1e-5)
    for routing in stacks:
        gate = 1 / EXPERTS if switch.choices == 1 else 1 / 2
        np.testing.assert_allclose(routing.gate[routing.kept], gate, rtol=2e-6)
    assert all(len(np.unique(layer)) > EXPERTS / 2 for layer in stacks[0].expert_index)


def test_noise_is_relative_to_each_matrix_and_parts_the_experts():
    dense, own = drawn(config(None)), drawn(config(switch()))
    still, noisy = (first_arrays(dense, own, noise=noise, key=KEY) for noise in (0.0, 0.1))
    names = jax.tree_util.tree_flatten_with_path(still)[0]
    for (path, one), other in zip(names, leaves(noisy), strict=True):
        if "blocks[1].feed_forward." not in jax.tree_util.keystr(path) or one.ndim < 4:
            np.testing.assert_array_equal(one, other)
            continue
        assert (one == one[:, :1]).all()
        size = np.sqrt(np.mean(one**2, axis=(2, 3)))
        added = np.sqrt(np.mean((other - one) ** 2, axis=(2, 3)))
        np.testing.assert_allclose(added / size, 0.1, rtol=0.1)
        assert len(np.unique(other[0, :, 0, 0])) == EXPERTS


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "embed"), [("adafactor", 128), ("adamw", 8)])
def test_the_next_step_moves_the_dense_parts_as_the_dense_run_would(rule, embed):
    """After three steps of the dense run; its moments are factored if both sizes reach 128."""
    configs = (config(one, embed=embed, layers=2) for one in (None, switch()))
    dense, sparse = (trainer_of(one, rule=rule) for one in configs)
    state = start(dense)
    for seed in range(3):
        state, _ = dense.step(state, batch(seed))
    own = start(sparse, 1)
    arrays, moments = first_arrays(state.arrays, own.arrays, key=KEY), first_moments(state, own)
    first = jax.tree.map(jnp.copy, TrainState(arrays, moments, state.step))
    before = jax.tree.map(jnp.copy, (state.arrays, arrays))  # steps take their states' memory
    after, _ = dense.step(state, batch(3))
    moved, _ = sparse.step(first, batch(3))
    updates = jax.tree.map(jnp.subtract, after.arrays, before[0])
    ours = jax.tree.map(jnp.subtract, moved.arrays, before[1])
    wanted = jax.tree.leaves(first_arrays(updates, own.arrays, key=KEY))
    compared, paths = 0, jax.tree_util.tree_flatten_with_path(ours)[0]
    for (path, here), there in zip(paths, wanted, strict=True):
        if "blocks[1].feed_forward." not in jax.tree_util.keystr(path):
            np.testing.assert_allclose(here, there, rtol=1e-3, atol=1e-3 * np.abs(there).max())
            compared += 1
    assert compared == len(paths) - 2 * 4


@pytest.mark.slow
def test_gradients_of_experts_sum_to_the_dense_ones_by_the_factors_of_their_moments():
    sizes = config(switch(1), layers=1)
    dense, own = drawn(replace(sizes, switch=None)), drawn(sizes, 1)

    @jax.grad
    def gradients(arrays):  # of real targets: padding goes to no expert
        return jnp.sum(jax.nn.log_softmax(run(arrays)[0])[..., 5] * batch().is_target)

    per_token, output, _ = Copy.of(sizes.switch)
    assert (per_token, output) == (1 / EXPERTS, EXPERTS)
    theirs = gradients(dense).decoder.blocks[0].feed_forward
    ours = gradients(first_arrays(dense, own, key=KEY)).decoder.blocks[0].feed_forward
    for name, factor in (("gate", per_token * output), ("up", 1.0), ("down", per_token)):
        there = getattr(theirs, name)
        summed = getattr(ours, name).sum(axis=1) / factor
        np.testing.assert_allclose(summed, there, rtol=1e-3, atol=1e-4 * np.abs(there).max())
