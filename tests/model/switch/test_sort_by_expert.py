"""Every list of six assignments to three experts or to padding."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from model.switch.sort_by_expert import sort_by_expert


def test_it_is_a_stable_sort():
    lists = np.array(list(itertools.product(range(4), repeat=6)))
    found = jax.jit(jax.vmap(lambda experts: sort_by_expert(experts, 3)))(jnp.array(lists))
    np.testing.assert_array_equal(found.order, np.argsort(lists, axis=1, kind="stable"))
    np.testing.assert_array_equal(np.argsort(found.order, axis=1), found.rank)
    for expert in range(3):
        np.testing.assert_array_equal(found.group_sizes[:, expert], (lists == expert).sum(axis=1))
        np.testing.assert_array_equal(found.offsets[:, expert], (lists < expert).sum(axis=1))
