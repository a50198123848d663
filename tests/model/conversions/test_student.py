"""A student's first weights against loops over layers and experts."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import batch, drawn, mesh_of, sized

from model.batch import Call
from model.config import SwitchConfig
from model.conversions.student import TeacherExpertUse, expert_use, with_teachers_weights
from model.layers.feed_forward import FeedForward

EXPERTS, LAYERS = 4, 4


def config(every, feed_forward="gated-gelu", tied=False):
    groups = {"encoder_group_tokens": 32, "decoder_group_tokens": 16}
    switch = SwitchConfig(experts=EXPERTS, every=every, **groups) if every else None
    sizes = {"embed": 8, "head": 4, "mlp": 6, "layers": LAYERS, "tied_logits": tied}
    return sized(**sizes, switch=switch, feed_forward=feed_forward)


def layer(stack, number):
    """One layer of a stack, by its number from 0."""
    block, inside = divmod(number, len(stack.blocks))
    return jax.tree.map(lambda leaf: np.asarray(leaf[block]), stack.blocks[inside])


def same(*trees):
    return all(map(np.array_equal, *map(jax.tree.leaves, trees)))


@pytest.mark.parametrize(
    ("every", "kind", "tied"), [(1, "relu", True), (2, "gated-gelu", False), (2, "relu", True)]
)
def test_every_weight_outside_experts_is_the_teachers(every, kind, tied):
    teacher, dense = drawn(config(every, kind, tied), 0), drawn(config(0, kind, tied), 1)
    student = with_teachers_weights(dense, teacher)
    assert student.config == dense.config
    assert jax.tree.structure(student) == jax.tree.structure(dense)
    assert same((student.embedding, student.logits), (teacher.embedding, teacher.logits))
    for name in ("encoder", "decoder"):
        ours, theirs, own = (getattr(one, name) for one in (student, teacher, dense))
        assert same(ours.position_bias, theirs.position_bias)
        assert same(ours.final_norm, theirs.final_norm)
        for number in range(LAYERS):
            here, there = layer(ours, number), layer(theirs, number)
            is_dense = isinstance(there.feed_forward, FeedForward)
            assert is_dense == (number % every != every - 1)
            wanted = there if is_dense else layer(own, number)
            assert same(here, replace(there, feed_forward=wanted.feed_forward))


def use_of(layers):
    """Of the last layer only one expert has tokens."""
    generator = np.random.default_rng(0)
    load = generator.integers(1, 50, (layers, EXPERTS))
    load[-1] = 0, 0, 7, 0
    gate = load * generator.random((layers, EXPERTS))
    return TeacherExpertUse(jnp.array(load), jnp.array(gate, jnp.float32))


@pytest.mark.parametrize(("every", "choices"), [(1, 1), (1, 2), (2, 1)])
def test_the_mean_of_experts_is_a_loop_over_them(every, choices):
    """Shares sum to 1 over assignments, of which a token has as many as choices."""
    teacher, dense = drawn(config(every), 0), drawn(config(0), 1)
    switch = replace(teacher.config.switch, choices=choices)
    teacher = replace(teacher, config=replace(teacher.config, switch=switch))
    use = use_of(2 * LAYERS // every)
    student = with_teachers_weights(dense, teacher, use)
    places = [(name, at) for name in ("encoder", "decoder") for at in range(every - 1, 4, every)]
    for (name, number), load, gate in zip(places, *map(np.asarray, use), strict=True):
        theirs = layer(getattr(teacher, name), number).feed_forward
        here = layer(getattr(student, name), number).feed_forward
        sums = dict.fromkeys(("gate", "up", "down"), 0.0)
        for expert in np.flatnonzero(load):
            share = load[expert] / load.sum()
            sums["gate"] += share * theirs.gate[expert]
            sums["up"] += share * theirs.up[expert]
            sums["down"] += choices * share * gate[expert] / load[expert] * theirs.down[expert]
        for matrix, wanted in sums.items():
            np.testing.assert_allclose(getattr(here, matrix), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_use_counts_every_real_token_once_and_its_gate():
    teacher, rows, call = drawn(config(2), 0), batch(), Call(mesh_of())
    run = jax.jit(lambda teacher: (expert_use(teacher, rows, call), teacher(rows, call)))
    use, output = run(teacher)
    load, gate = np.zeros((4, EXPERTS)), np.zeros((4, EXPERTS))
    stacks = (output.encoder_routing, rows.is_source), (output.decoder_routing, rows.is_target)
    for half, (routing, real) in enumerate(stacks):
        for number, (row, place) in itertools.product(range(2), np.argwhere(real)):
            expert = routing.expert_index[number, row, place, 0]
            load[2 * half + number, expert] += 1
            gate[2 * half + number, expert] += routing.gate[number, row, place, 0]
    np.testing.assert_array_equal(use.load, load)
    np.testing.assert_allclose(use.gate, gate, rtol=1e-5)
    np.testing.assert_allclose(use.share.sum(axis=-1), 1, rtol=1e-6)
