"""A student's first weights against loops over layers and experts."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import drawn, mesh_of

from model.batch import Batch, Call
from model.config import ModelConfig, SwitchConfig
from model.conversions.student import (
    TeacherExpertUse,
    expert_use,
    mean_of_experts,
    with_teachers_weights,
)
from model.layers.feed_forward import FeedForward

EXPERTS = 4


def config(every, feed_forward="gated-gelu", tied=False):
    switch = None
    if every:
        switch = SwitchConfig(
            experts=EXPERTS, every=every, encoder_group_tokens=24, decoder_group_tokens=12
        )
    return ModelConfig(
        vocabulary_rows=128,
        embed=8,
        heads=2,
        head=4,
        mlp=6,
        layers=4,
        switch=switch,
        feed_forward=feed_forward,
        tied_logits=tied,
        activation_dtype="float32",
    )


def layer(stack, number):
    """One layer of a stack, by its number from 0."""
    block, inside = divmod(number, len(stack.blocks))
    return jax.tree.map(lambda leaf: np.asarray(leaf[block]), stack.blocks[inside])


def same(one, other):
    return all(
        np.array_equal(left, right)
        for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize(("kind", "tied"), [("gated-gelu", False), ("relu", True)])
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
        for number in range(4):
            here, there = layer(ours, number), layer(theirs, number)
            for part in ("self_norm", "self_attention", "cross_norm", "feed_forward_norm"):
                assert same(getattr(here, part), getattr(there, part))
            assert same(here.cross_attention, there.cross_attention)
            is_dense = isinstance(there.feed_forward, FeedForward)
            assert is_dense == (number % every != every - 1)
            wanted = there if is_dense else layer(own, number)
            assert same(here.feed_forward, wanted.feed_forward)


def use_of(layers, seed=0):
    generator = np.random.default_rng(seed)
    load = generator.integers(1, 50, (layers, EXPERTS))
    gate = load * generator.random((layers, EXPERTS))
    return TeacherExpertUse(jnp.array(load), jnp.array(gate, jnp.float32))


@pytest.mark.parametrize("every", [1, 2])
def test_the_mean_of_experts_is_a_loop_over_them(every):
    teacher, dense = drawn(config(every), 0), drawn(config(0), 1)
    use = use_of(2 * 4 // every)
    student = with_teachers_weights(dense, teacher, use)
    sparse = 0
    for name in ("encoder", "decoder"):
        for number in range(every - 1, 4, every):
            load, gate = np.asarray(use.load[sparse]), np.asarray(use.gate[sparse])
            theirs = layer(getattr(teacher, name), number).feed_forward
            here = layer(getattr(student, name), number).feed_forward
            sums = dict.fromkeys(("gate", "up", "down"), 0.0)
            for expert in range(EXPERTS):
                share = load[expert] / load.sum()
                sums["gate"] += share * theirs.gate[expert]
                sums["up"] += share * theirs.up[expert]
                sums["down"] += share * gate[expert] / load[expert] * theirs.down[expert]
            for matrix, wanted in sums.items():
                np.testing.assert_allclose(getattr(here, matrix), wanted, rtol=1e-5, atol=1e-6)
            sparse += 1
    assert sparse == len(use.load)


def test_a_token_of_two_experts_gets_the_sum_of_both():
    """Shares sum to 1 over assignments, of which a token has two."""
    teacher, dense, use = drawn(config(1), 0), drawn(config(0), 1), use_of(8)
    switch = dataclasses.replace(teacher.config.switch, choices=2)
    two = dataclasses.replace(teacher.config, switch=switch)
    both = dataclasses.replace(teacher, config=two)
    downs = [
        layer(with_teachers_weights(dense, one, use).encoder, 0).feed_forward.down
        for one in (teacher, both)
    ]
    np.testing.assert_allclose(downs[1], 2 * downs[0], rtol=1e-6)


def test_the_only_expert_with_tokens_is_the_mean():
    switch = layer(drawn(config(1), 0).encoder, 3).feed_forward
    load = jnp.zeros(EXPERTS, jnp.int32).at[2].set(7)
    mean = mean_of_experts(jax.tree.map(jnp.array, switch), TeacherExpertUse(load, 0.5 * load))
    np.testing.assert_allclose(mean.up, switch.up[2], rtol=1e-6)
    np.testing.assert_allclose(mean.down, 0.5 * switch.down[2], rtol=1e-6)


@pytest.mark.slow
def test_use_counts_every_real_token_once_and_its_gate():
    teacher, generator = drawn(config(2), 0), np.random.default_rng(3)
    inputs, targets = (generator.integers(3, 128, (6, size)).astype(np.int32) for size in (12, 6))
    inputs[1, 4:], targets[2, 3:] = 0, 0
    batch = Batch(jnp.array(inputs), jnp.array(targets), jnp.zeros(6, jnp.int32))
    call = Call(mesh_of())
    arrays, rest = eqx.partition(teacher, eqx.is_array)
    use, output = jax.jit(
        lambda arrays: (
            expert_use(eqx.combine(arrays, rest), batch, call),
            eqx.combine(arrays, rest)(batch, call),
        )
    )(arrays)
    load, gate = np.zeros((4, EXPERTS)), np.zeros((4, EXPERTS))
    stacks = (output.encoder_routing, inputs), (output.decoder_routing, targets)
    for half, (routing, ids) in enumerate(stacks):
        for number, row, place in np.ndindex(2, *ids.shape):
            if ids[row, place]:
                expert = routing.expert_index[number, row, place, 0]
                load[2 * half + number, expert] += 1
                gate[2 * half + number, expert] += routing.gate[number, row, place, 0]
    np.testing.assert_array_equal(use.load, load)
    np.testing.assert_allclose(use.gate, gate, rtol=1e-5)
    np.testing.assert_allclose(use.share.sum(axis=-1), 1, rtol=1e-6)
