"""Dispatch without capacity against loops over tokens."""

import jax
import numpy as np
import pytest
from small_networks import mesh_of
from switch_case import ROUTINGS, Loops, assert_equal, layer, tokens, with_gradients


@pytest.mark.parametrize("kind", ["dropless", "dropless top-2"])
def test_equals_loops_over_tokens_in_value_and_gradient(kind):
    result = jax.jit(with_gradients(mesh_of(), ROUTINGS[kind]))(layer(), *tokens())
    assert_equal(Loops(layer(), ROUTINGS[kind]), result)
    routed = result[0][1][1]
    kept = np.asarray(routed.kept)[np.asarray(tokens()[1])]
    assert kept.all()
    assert int(routed.expert_slots.sum()) == kept.sum()
