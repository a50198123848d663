"""An upcycled Switch is the dense network at first, and its dense parts move as there."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import batch, drawn, leaves, mesh_of, start

from model.batch import Call
from model.config import ModelConfig, OptimizerConfig, SwitchConfig
from model.conversions.upcycling import Copy, first_arrays, first_moments
from model.step import TrainState
from model.trainer import make_trainer

EXPERTS, LAYERS = 8, 4
KEY = jax.random.key(7)


def config(switch: SwitchConfig | None, kind="gated-gelu", tied=False) -> ModelConfig:
    return ModelConfig(
        vocabulary_rows=128,
        embed=8,
        heads=2,
        head=4,
        mlp=130,  # with 128 rows a matrix has factored moments
        layers=LAYERS,
        switch=switch,
        feed_forward=kind,
        tied_logits=tied,
        activation_dtype="float32",
    )


def switch(every=2, **settings) -> SwitchConfig:
    """Switch layers that drop nothing and have no noise."""
    return SwitchConfig(
        experts=EXPERTS,
        every=every,
        encoder_group_tokens=16,
        decoder_group_tokens=8,
        dispatch="dropless",
        jitter=0.0,
        **settings,
    )


SWITCH = switch(router_scale=0.2)  # of `drawn`


def logits(arrays, batch):
    call = Call(mesh_of())
    return jax.jit(lambda model: model.head(model(batch, call).decoded))(arrays)


def upcycled_logits(config, seed=0):
    """Logits of a dense network and of its Switch, on one batch."""
    dense, own = drawn(replace(config, switch=None), seed), drawn(config, seed + 1)
    both = dense, first_arrays(dense, own, key=KEY)
    return [logits(one, batch())[batch().is_target] for one in both]  # padding goes to no expert


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize(("kind", "tied"), [("gated-gelu", False), ("relu", True)])
def test_the_first_function_is_the_dense_one(every, kind, tied):
    dense, sparse = upcycled_logits(config(switch(every, router_scale=0.2), kind, tied))
    assert np.abs(dense).max() > 0.5  # the tolerance is absolute
    np.testing.assert_allclose(sparse, dense, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_so_it_is_with_two_experts_per_token():
    dense, sparse = upcycled_logits(config(switch(choices=2, router_scale=0.2)))
    np.testing.assert_allclose(sparse, dense, rtol=1e-5, atol=1e-5)


def test_tokens_part_among_the_experts_at_once():
    """Near-zero routers are not equal routers: with those every token would take expert 0."""
    dense, own = (drawn(config(one), 3) for one in (None, switch(1, router_scale=0.2)))
    arrays = first_arrays(dense, own, key=KEY)
    output = jax.jit(lambda model: model(batch(), Call(mesh_of())))(arrays)
    for routing in (output.encoder_routing, output.decoder_routing):
        for layer in np.asarray(routing.expert_index):
            assert len(np.unique(layer)) > EXPERTS / 2
        np.testing.assert_allclose(routing.gate[routing.kept], 1 / EXPERTS, rtol=2e-6)


def test_noise_is_relative_to_each_matrix_and_parts_the_experts():
    dense, own = drawn(config(None)), drawn(config(SWITCH))
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
    dense, sparse = (make(config(one), embed, rule) for one in (None, SWITCH))
    state = start(dense)
    for seed in range(3):
        state, _ = dense.step(state, batch(seed))
    own = start(sparse, 1)
    first = TrainState(
        first_arrays(state.arrays, own.arrays, key=KEY), first_moments(state, own), state.step
    )
    first = jax.tree.map(jnp.copy, first)  # steps take their states' memory
    before = jax.tree.map(jnp.copy, (state.arrays, first.arrays))
    after, _ = dense.step(state, batch(3))
    moved, _ = sparse.step(first, batch(3))
    updates = jax.tree.map(jnp.subtract, after.arrays, before[0])
    ours = jax.tree.map(jnp.subtract, moved.arrays, before[1])
    wanted = first_arrays(updates, own.arrays, key=KEY)
    compared = 0
    paths = jax.tree_util.tree_flatten_with_path(ours)[0]
    for (path, here), there in zip(paths, jax.tree.leaves(wanted), strict=True):
        if "blocks[1].feed_forward." not in jax.tree_util.keystr(path):
            np.testing.assert_allclose(here, there, rtol=1e-3, atol=1e-3 * np.abs(there).max())
            compared += 1
    assert compared == len(paths) - 2 * 4


def make(config, embed, rule):
    optimizer = OptimizerConfig(rule=rule, hold_steps=100)
    config = replace(config, embed=embed, layers=2)
    return make_trainer(config, optimizer, steps=10, seed=0, mesh=mesh_of())


@pytest.mark.slow
def test_gradients_of_experts_sum_to_the_dense_ones_by_the_factors_of_their_moments():
    layers = switch(1, router_scale=0.2)
    sizes = replace(config(layers), layers=1)
    dense, own = drawn(replace(sizes, switch=None)), drawn(sizes, 1)

    def gradients(arrays):
        def loss(model):  # of real targets: padding goes to no expert
            return jnp.sum(jax.nn.log_softmax(logits(model, batch()))[..., 5] * batch().is_target)

        return jax.grad(loss)(arrays)

    per_token, output, _ = Copy.of(layers)
    assert (per_token, output) == (1 / EXPERTS, EXPERTS)
    theirs = gradients(dense).decoder.blocks[0].feed_forward
    ours = gradients(first_arrays(dense, own, key=KEY)).decoder.blocks[0].feed_forward
    for name, factor in (("gate", per_token * output), ("up", 1.0), ("down", per_token)):
        there = getattr(theirs, name)
        summed = getattr(ours, name).sum(axis=1) / factor
        np.testing.assert_allclose(summed, there, rtol=1e-3, atol=1e-4 * np.abs(there).max())
