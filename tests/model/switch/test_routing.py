import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import ConfigurationError, SwitchConfig, expert_capacity
from model.switch.capacity_dispatch import buffer_tokens, position_in_expert
from model.switch.routing import balance_loss, choose, sort_by_expert


def logits_for(experts_of_tokens, experts=4):
    return 5.0 * jax.nn.one_hot(jnp.array(experts_of_tokens), experts)


def test_slots_are_taken_in_order_of_position():
    expert = jnp.array([[2], [0], [2], [2], [0]])
    slot = position_in_expert(expert, experts=4)
    assert slot.T.tolist() == [[0, 0, 1, 2, 1]]
    table = buffer_tokens(expert, slot, experts=4, capacity=2)
    assert table.tolist() == [[1, 4], [5, 5], [0, 2], [5, 5]]


def test_first_choices_go_before_second_ones():
    expert = jnp.array([[0, 1], [1, 0], [0, 1]])
    slot = position_in_expert(expert, experts=2)
    assert slot.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert buffer_tokens(expert, slot, experts=2, capacity=2).tolist() == [[0, 2], [1, 0]]


def test_padding_takes_no_slot():
    nowhere = 4
    expert = jnp.array([[1], [nowhere], [1], [1]])
    table = buffer_tokens(expert, position_in_expert(expert, experts=4), experts=4, capacity=2)
    assert table[1].tolist() == [0, 2]


# Few shapes, many seeds: each new shape is compiled.
@given(
    st.sampled_from([1, 40]),
    st.sampled_from([1, 2]),
    st.sampled_from([2, 5]),
    st.integers(1, 10),
    st.integers(0, 10**6),
)
@settings(max_examples=25, deadline=None)
def test_every_choice_with_a_slot_has_it_for_itself(tokens, choices, experts, capacity, seed):
    generator = np.random.default_rng(seed)
    ranked = np.argsort(generator.random((tokens, experts)), axis=1)[:, :choices]
    real = generator.random(tokens) < 0.8
    expert = jnp.array(np.where(real[:, None], ranked, experts))
    slot = position_in_expert(expert, experts)
    table = np.array(buffer_tokens(expert, slot, experts, capacity))
    kept = (np.array(slot) < capacity) & real[:, None]
    for row in range(experts):
        expected = np.flatnonzero(
            (np.array(expert) == row).any(1) & (kept & (ranked == row)).any(1)
        )
        assert sorted(table[row][table[row] < tokens].tolist()) == expected.tolist()
    wanted = np.bincount(ranked[real].reshape(-1), minlength=experts)
    assert kept.sum() == np.minimum(wanted, capacity).sum()


@given(st.lists(st.integers(0, 3), min_size=6, max_size=6))
@settings(max_examples=25, deadline=None)
def test_a_queue_is_a_stable_sort(experts):
    line = sort_by_expert(jnp.array(experts), 3)
    assert [experts[i] for i in line.order] == sorted(experts)
    assert jnp.array_equal(line.order[line.place], jnp.arange(6))
    for expert in range(3):
        start, end = int(line.start[expert]), int(line.start[expert] + line.waiting[expert])
        members = [i for i, chosen in enumerate(experts) if chosen == expert]
        assert line.order[start:end].tolist() == members


def test_one_choice_counts_its_probability_and_several_share_one():
    logits = jnp.log(jnp.array([[0.5, 0.2, 0.3]]))
    real = jnp.ones(1, bool)
    one, two = choose(logits, real, 1), choose(logits, real, 2)
    np.testing.assert_allclose(one.gate, [[0.5]], rtol=1e-6)
    np.testing.assert_allclose(two.gate, [[0.625, 0.375]], rtol=1e-6)
    assert two.expert.tolist() == [[0, 2]]


def test_balance_loss_is_one_when_even_and_experts_when_collapsed():
    real = jnp.ones(8, bool)
    even = choose(logits_for([0, 1, 2, 3] * 2), real, 1).balance_loss
    collapsed = choose(100 * logits_for([1] * 8), real, 1).balance_loss
    assert even == pytest.approx(1.0, abs=1e-6)
    assert collapsed == pytest.approx(4.0, abs=1e-6)


def test_losses_ignore_padding():
    logits = jnp.concatenate([logits_for([0, 1, 2, 3]), 2 * logits_for([1] * 4)])
    padded, whole = choose(logits, jnp.arange(8) < 4, 1), choose(logits[:4], jnp.ones(4, bool), 1)
    nothing = choose(logits, jnp.zeros(8, bool), 1)
    for name in ("balance_loss", "z_loss"):
        assert getattr(padded, name) == pytest.approx(float(getattr(whole, name)), abs=1e-6)
        assert getattr(nothing, name) == 0


def test_z_loss_of_one_large_logit_is_its_square():
    logits = jnp.array([[30.0, 0.0], [0.0, 40.0]])
    assert choose(logits, jnp.ones(2, bool), 1).z_loss == pytest.approx(1250.0)


def test_balance_loss_pushes_away_from_a_crowded_expert():
    logits = logits_for([1, 1, 1, 0])

    def loss(logits):
        probabilities = jax.nn.softmax(logits)
        return balance_loss(probabilities, jnp.argmax(logits, -1)[:, None], jnp.ones(4, bool))

    slope = jax.grad(loss)(logits).sum(axis=0)
    assert slope[1] > 0
    assert (slope[2:] <= 0).all()


@pytest.mark.parametrize(
    ("tokens", "experts", "factor", "minimum", "capacity"),
    [
        (8192, 128, 1.25, 4, 80),  # released Switch-Base, a training group
        (8192, 128, 2.0, 4, 128),
        (2048, 2048, 1.0, 2, 2),  # released Switch-C: its minimum counts
        (16, 8, 1.25, 4, 4),
        (2, 8, 1.25, 4, 2),  # never more than there are tokens
    ],
)
def test_capacity(tokens, experts, factor, minimum, capacity):
    assert expert_capacity(tokens, experts, factor, minimum) == capacity


def switch(**changes):
    sizes = {"experts": 4, "every": 1, "encoder_group_tokens": 64, "decoder_group_tokens": 16}
    return SwitchConfig(**(sizes | changes))


def test_stacks_have_groups_and_training_has_noise_of_its_own():
    config = switch(choices=2, jitter=0.1, expert_dropout=0.4)
    training = config.routing(decoder=False, training=True)
    evaluation = config.routing(decoder=True, training=False)
    assert (training.group_tokens, training.capacity) == (64, 40)  # 64 * 2 / 4 * 1.25
    assert (evaluation.group_tokens, evaluation.capacity) == (16, 16)
    assert (training.jitter, training.expert_dropout) == (0.1, 0.4)
    assert (evaluation.jitter, evaluation.expert_dropout) == (0, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choices": 5}, "5 of 4"),
        ({"choices": 0}, "choices was 0"),
        ({"expert_dropout": 1.0}, "below 1"),
    ],
)
def test_a_routing_that_cannot_be(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        switch(**changes)
