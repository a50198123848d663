"""Merged experts against loops and against what they must compute."""

import numpy as np
import pytest
import switch_oracle

from model.conversions.merging import LayerExperts, joined_by, merged, merged_arrays

EXPERTS, EMBED, MLP = 5, 6, 7
KEPT = np.array([1, 4])


@pytest.fixture
def draw():
    return np.random.default_rng(0).normal


def experts(draw, gated=True):
    gate = draw(size=(EXPERTS, EMBED, MLP)) if gated else None
    return LayerExperts(gate, draw(size=(EXPERTS, EMBED, MLP)), draw(size=(EXPERTS, MLP, EMBED)))


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
    made = merged(given, np.array([1, 1, 1, 1, 4]), load, KEPT)
    x = draw(size=(9, EMBED))
    np.testing.assert_allclose(computed(made, 0, x), computed(given, 1, x), atol=1e-12)
    np.testing.assert_array_equal(made.up[1], given.up[4])


def test_each_dropped_expert_joins_the_kept_one_with_the_most_similar_column(draw):
    router = draw(size=(EMBED, EXPERTS))

    def cosine(one, other):
        return (
            router[:, one]
            @ router[:, other]
            / np.prod([np.linalg.norm(router[:, at]) for at in (one, other)])
        )

    expected = [
        one if one in KEPT else max(KEPT, key=lambda kept, one=one: cosine(one, kept))
        for one in range(EXPERTS)
    ]
    np.testing.assert_array_equal(joined_by(router, KEPT), expected)


def test_a_merged_expert_is_the_mean_by_load_of_aligned_units(draw):
    """With every permutation tried: units are few."""
    given, load = experts(draw), np.array([3.0, 1.0, 0.0, 0.0, 0.0])
    made = merged(given, np.array([1, 1, 4, 4, 4]), load, KEPT)
    np.testing.assert_array_equal(made.down[1], given.down[4])  # nothing was sent to its group
    units = [given.units(one) for one in (1, 0)]
    np.testing.assert_array_equal(units[0][2, :EMBED], given.gate[1, :, 2])
    best = best_order(*units)
    np.testing.assert_allclose(made.down[0], 0.25 * given.down[1] + 0.75 * given.down[0][best])
    np.testing.assert_allclose(made.gate[0], 0.25 * given.gate[1] + 0.75 * given.gate[0][:, best])


def test_a_kept_expert_keeps_its_bias(draw):
    given, biases = experts(draw), draw(size=EXPERTS)
    parts = {"router": draw(size=(EMBED, EXPERTS)), **given._asdict(), "expert_bias": biases}
    arrays = {f".layer.{name}": part[None] for name, part in parts.items()}
    made = merged_arrays(arrays, KEPT[None], np.ones((1, EXPERTS)))
    assert made.keys() == arrays.keys()
    np.testing.assert_array_equal(made[".layer.expert_bias"], [biases[KEPT]])


def best_order(kept, joining):
    import itertools

    orders = itertools.permutations(range(MLP))
    return list(max(orders, key=lambda order: np.sum(kept * joining[list(order)])))


def test_keeping_all_experts_merges_nothing(draw):
    given, every = experts(draw), np.arange(EXPERTS)
    names = [f".encoder.blocks[0].feed_forward.{one}" for one in ("router", "gate", "up", "down")]
    arrays = dict(
        zip(names, (part[None] for part in (draw(size=(EMBED, EXPERTS)), *given)), strict=True)
    )
    made = merged_arrays(arrays, every[None], np.ones((1, EXPERTS)))
    assert list(made) == names
    assert all(np.array_equal(made[name], arrays[name]) for name in names)
