"""Experts without a gate, and their dropout, against loops over tokens."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import mesh_of
from switch_case import (
    BATCH,
    EMBED,
    EXPERTS,
    LENGTH,
    MLP,
    ROUTINGS,
    SWITCH,
    Loops,
    assert_equal,
    layer,
    tokens,
    with_gradients,
)

from model.switch.switch_layer import SwitchLayer


def test_relu_experts_equal_loops():
    relu = SwitchLayer(layer().router, None, layer().up, layer().down)
    result = jax.jit(with_gradients(mesh_of(), SWITCH))(relu, *tokens())
    assert_equal(Loops(relu, SWITCH), result)


@pytest.mark.parametrize("kind", ["top-2", "dropless top-2"])
def test_dropout_zeroes_hidden_units(kind):
    """Which units is read off experts that show them one at a time, then passed to the loops."""
    switch = replace(ROUTINGS[kind], expert_dropout=0.4)
    run = jax.jit(with_gradients(mesh_of(), switch))
    mask = np.ones((BATCH, LENGTH, switch.choices, MLP))
    routed = None
    for expert in range(EXPERTS):
        shows = jnp.zeros_like(layer().down).at[expert].set(jnp.eye(MLP, EMBED))
        (_, (y, routed)), _ = run(
            SwitchLayer(layer().router, layer().gate, layer().up, shows), *tokens()
        )
        here = np.asarray((routed.expert_index == expert) & routed.kept)
        units = np.broadcast_to(np.asarray(y)[:, :, None, :MLP] != 0, mask.shape)
        mask[here] = units[here] / 0.6
    assert routed is not None
    assert (mask[np.asarray(routed.kept)] == 0).mean() == pytest.approx(0.4, abs=0.03)
    assert_equal(Loops(layer(), switch, dropout_mask=mask), run(layer(), *tokens()))
    assert switch.routing(decoder=False, training=False).expert_dropout == 0
