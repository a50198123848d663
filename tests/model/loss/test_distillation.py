"""A student's loss against loops over ids; its step on eight devices and in microbatches."""

import functools
import math
from dataclasses import replace

import equinox as eqx
import jax
import numpy as np
import pytest
from small_networks import (
    EIGHT,
    ROWS,
    assert_close,
    batch,
    drawn,
    leaves,
    mesh_of,
    on_mesh,
    sized,
    start,
)

from model.batch import Call
from model.config import DistillationConfig, MeshShape, OptimizerConfig, SwitchConfig
from model.loss.training_loss import Distillation, training_loss
from model.sharding.layouts import batch_sharding
from model.trainer import make_trainer

SWITCH = SwitchConfig(
    experts=4, every=1, encoder_group_tokens=16, decoder_group_tokens=8, jitter=0.3
)
CONFIG = sized(head=4, mlp=16, layers=1)
STUDENT = drawn(CONFIG)
TEACHER = drawn(replace(CONFIG, switch=SWITCH), 1)


# Rows of very different length, so that a mean of means would be off by percents.
BATCH = replace(
    batch(),
    inputs=batch().inputs.at[1::3, 5:].set(0),
    targets=batch().targets.at[: ROWS // 2, 2:].set(0),
)


def slow_soft_nats(student, teacher, real, temperature=2.0):
    """Token by token, id by id."""
    total = 0.0
    for row, place in np.argwhere(real):
        soft = [math.exp(x / temperature) for x in teacher[row, place].astype(float)]
        found = [math.exp(x / temperature) for x in student[row, place].astype(float)]
        for p, q in zip(soft, found, strict=True):
            total -= p / sum(soft) * math.log(q / sum(found))
    return temperature**2 * total


@functools.cache
def losses_and_slopes():
    """Loss, its terms and gradients by the labels' share; with share None without a teacher."""

    def of(share):
        teaching = None
        if share is not None:
            settings = DistillationConfig(hard_share=share, temperature=2.0)
            teaching = Distillation(settings, TEACHER)
        return lambda student: training_loss(student, BATCH, Call(mesh_of()), teaching)

    @jax.jit
    def run(student):
        shares = (None, 1.0, 0.0, 0.7)
        return [jax.value_and_grad(of(share), has_aux=True)(student) for share in shares]

    return [(value, losses, leaves(slope)) for (value, (losses, _)), slope in run(STUDENT)]


def test_the_mixture_is_of_both_losses_in_value_and_gradient():
    """0.7 labels and 0.3 teacher are that share of each limit; labels alone need no teacher."""
    alone, hard, soft, both = losses_and_slopes()
    assert both[0] == pytest.approx(0.7 * float(hard[0]) + 0.3 * float(soft[0]), rel=1e-5)
    assert float(alone[0]) == pytest.approx(float(hard[0]), rel=1e-6)
    assert_close(hard[2], alone[2], atol=1e-6)
    mixed = [0.7 * one + 0.3 * other for one, other in zip(hard[2], soft[2], strict=True)]
    assert_close(both[2], mixed, atol=1e-6)
    assert max(np.abs(a - b).max() for a, b in zip(hard[2], soft[2], strict=True)) > 1e-3


def soft_nats_of_logits(teacher=TEACHER):
    """The loop over all ids of the logits of whole networks, as in an evaluation."""
    logits = [
        np.asarray(jax.jit(lambda m=model: m.head(m(BATCH, Call(mesh_of())).decoded))())
        for model in (STUDENT, teacher)
    ]
    return slow_soft_nats(*logits, np.asarray(BATCH.is_target))


def test_the_reported_loss_is_the_labels_alone():
    (_, alone, _), *_, (_, taught, _) = losses_and_slopes()
    assert float(taught.loss_nats) == pytest.approx(float(alone.loss_nats), rel=1e-6)
    assert alone.soft_loss_nats is None
    assert float(taught.soft_loss_nats) == pytest.approx(soft_nats_of_logits(), rel=1e-4)


@pytest.mark.slow
def test_the_teacher_of_a_training_step_has_neither_noise_nor_the_training_capacity():
    switch = replace(SWITCH, capacity_factor_training=0.5)
    teacher = drawn(replace(CONFIG, switch=switch), 1)
    of = Distillation(DistillationConfig(hard_share=0.7, temperature=2.0), teacher)
    in_training = Call(mesh_of(), jax.random.key(0))
    _, (losses, _) = jax.jit(lambda: training_loss(STUDENT, BATCH, in_training, of))()
    assert float(losses.soft_loss_nats) == pytest.approx(soft_nats_of_logits(teacher), rel=1e-6)


def step(shape, accumulate=1):
    mesh = mesh_of(shape)
    arrays, static = eqx.partition(TEACHER, eqx.is_array)
    teacher = eqx.combine(on_mesh(arrays, mesh), static)
    given = {"steps": 10, "seed": 0, "mesh": mesh, "accumulate": accumulate}
    distillation = Distillation(DistillationConfig(hard_share=0.4), teacher)
    optimizer = OptimizerConfig(hold_steps=100)
    trainer = make_trainer(CONFIG, optimizer, **given, distillation=distillation)
    rows = jax.device_put(BATCH, batch_sharding(mesh))
    return trainer.step(start(trainer), rows, *trainer.teacher_arrays)


@pytest.mark.slow
def test_a_students_step_does_not_depend_on_devices_or_microbatches():
    state, metrics = step(MeshShape())
    assert metrics.losses.soft_loss_nats > 0
    for shape, accumulate in ((MeshShape(), 4), (EIGHT, 1)):
        other_state, other_metrics = step(shape, accumulate)
        assert_close(metrics, other_metrics, rtol=1e-5, atol=1e-6)
        assert_close(state.arrays, other_state.arrays, atol=1e-5)
