"""A student's loss against loops over ids; its step on eight devices and in microbatches."""

import functools
import math
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import assert_close, drawn, mesh_of, start

from model.batch import Batch
from model.call import Call
from model.config import ModelConfig, SwitchConfig
from model.configuration_checks import ConfigurationError
from model.loss.chunks import Computation, Labels, LogitFactors
from model.loss.cross_entropy import cross_entropy
from model.loss.distillation import Distillation, DistillationConfig
from model.loss.token_loss import Objective
from model.loss.training_loss import training_loss
from model.optimizer import OptimizerConfig
from model.sharding.layouts import batch_sharding, parameter_shardings
from model.sharding.mesh import MeshShape
from model.trainer import make_trainer

ROWS, SOURCE, TARGET, IDS = 8, 16, 8, 128
SWITCH = SwitchConfig(
    experts=4, every=1, encoder_group_tokens=16, decoder_group_tokens=8, jitter=0.3
)


def config(switch=None):
    return ModelConfig(
        vocabulary_rows=IDS,
        embed=16,
        heads=2,
        head=4,
        mlp=16,
        layers=1,
        switch=switch,
        activation_dtype="float32",
    )


@functools.cache
def network(switch, seed):
    return drawn(config(switch), seed)


def batch():
    """Rows of very different length, so that a mean of means would be off by percents."""
    generator = np.random.default_rng(0)
    inputs, targets = (
        generator.integers(3, IDS, (ROWS, length)).astype(np.int32) for length in (SOURCE, TARGET)
    )
    targets[: ROWS // 2, 2:] = 0
    inputs[1::3, 5:] = 0
    return Batch(jnp.array(inputs), jnp.array(targets), jnp.zeros(ROWS, jnp.int32))


def slow_soft_nats(student, teacher, real, temperature):
    """Token by token, id by id."""
    total = 0.0
    for row, place in np.argwhere(real):
        soft = [math.exp(x / temperature) for x in teacher[row, place].astype(float)]
        found = [math.exp(x / temperature) for x in student[row, place].astype(float)]
        for p, q in zip(soft, found, strict=True):
            total -= p / sum(soft) * math.log(q / sum(found))
    return temperature**2 * total


def soft_losses(student, teacher, real, temperature):
    """The loss of a row's teacher alone; the matrices are ones that make `x` the logits."""
    objective = Objective(hard_share=0.0, temperature=temperature)
    ones = jnp.eye(student.shape[-1])
    return cross_entropy(
        Computation(mesh_of(), 2**20, objective),
        LogitFactors(student, ones),
        Labels(jnp.zeros(real.shape, jnp.int32), real, jnp.ones(())),
        LogitFactors(teacher, ones),
    )


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_soft_losses_are_a_loop_over_ids(temperature):
    generator = np.random.default_rng(1)
    student, teacher = generator.normal(0, 2, (2, ROWS, TARGET, 7)).astype(np.float32)
    real = generator.random((ROWS, TARGET)) < 0.6
    loss, rows = soft_losses(*map(jnp.array, (student, teacher, real)), temperature)
    for row in range(ROWS):
        of_row = np.zeros_like(real)
        of_row[row] = real[row]
        slow = slow_soft_nats(student, teacher, of_row, temperature)
        assert rows.soft_nats[row] == pytest.approx(slow, rel=1e-5)
    assert loss == pytest.approx(float(jnp.sum(rows.soft_nats)), rel=1e-6)


def test_a_student_like_its_teacher_has_the_least_loss():
    """Its soft loss is the teacher's entropy, with gradient zero."""
    logits = jnp.array(np.random.default_rng(2).normal(0, 2, (1, 3, 9)).astype(np.float32))
    real = jnp.array([[True, True, False]])

    def loss(student):
        return soft_losses(student, logits, real, 2.0)[0]

    value, slope = jax.jit(jax.value_and_grad(loss))(logits)
    p = jax.nn.softmax(logits / 2.0, axis=-1)
    entropy = -jnp.sum(p * jnp.log(p), axis=-1)[0, :2].sum()
    assert value == pytest.approx(4 * float(entropy), rel=1e-5)
    np.testing.assert_allclose(slope, 0, atol=1e-6)


def distillation(**settings):
    return Distillation(DistillationConfig(**settings), network(SWITCH, 1))


@functools.cache
def loss_and_slope(hard_share):
    """Loss, its terms and gradients of the student; `hard_share` None is without a teacher."""
    arrays, rest = eqx.partition(network(None, 0), eqx.is_array)
    call = Call(mesh_of())
    of = None
    if hard_share is not None:
        of = distillation(hard_share=hard_share, temperature=2.0)

    def loss(arrays):
        return training_loss(eqx.combine(arrays, rest), batch(), call, of)

    (value, (losses, _)), slope = jax.jit(jax.value_and_grad(loss, has_aux=True))(arrays)
    return value, losses, [np.asarray(leaf) for leaf in jax.tree.leaves(slope)]


def test_the_mixture_is_of_both_losses_in_value_and_gradient():
    """0.7 labels and 0.3 teacher are that share of each limit; labels alone need no teacher."""
    alone, hard, soft, both = (loss_and_slope(share) for share in (None, 1.0, 0.0, 0.7))
    assert both[0] == pytest.approx(0.7 * float(hard[0]) + 0.3 * float(soft[0]), rel=1e-5)
    assert float(alone[0]) == pytest.approx(float(hard[0]), rel=1e-6)
    for none, of_hard, of_soft, of_both in zip(alone[2], hard[2], soft[2], both[2], strict=True):
        np.testing.assert_allclose(of_hard, none, atol=1e-6)
        np.testing.assert_allclose(of_both, 0.7 * of_hard + 0.3 * of_soft, atol=1e-6)
    assert any(
        np.abs(one - other).max() > 1e-3 for one, other in zip(hard[2], soft[2], strict=True)
    )


def test_the_reported_loss_is_the_labels_alone():
    alone, taught = loss_and_slope(None)[1], loss_and_slope(0.7)[1]
    assert float(taught.loss_nats) == pytest.approx(float(alone.loss_nats), rel=1e-6)
    assert alone.soft_loss_nats is None
    student, teacher = network(None, 0), network(SWITCH, 1)
    call = Call(mesh_of())
    logits = [
        np.asarray(jax.jit(lambda m=m: m.head(m(batch(), call).decoded))())
        for m in (student, teacher)
    ]
    slow = slow_soft_nats(*logits, np.asarray(batch().is_target), 2.0)
    assert float(taught.soft_loss_nats) == pytest.approx(slow, rel=1e-4)


@pytest.mark.slow
def test_the_teacher_of_a_training_step_has_neither_noise_nor_the_training_capacity():
    teacher = network(replace(SWITCH, jitter=0.3, capacity_factor_training=0.5), 1)
    of = Distillation(DistillationConfig(hard_share=0.7, temperature=2.0), teacher)
    student = network(None, 0)
    in_training, still = Call(mesh_of(), jax.random.key(0)), Call(mesh_of())
    _, (losses, _) = jax.jit(lambda: training_loss(student, batch(), in_training, of))()
    logits = [
        np.asarray(jax.jit(lambda m=m: m.head(m(batch(), still).decoded))())
        for m in (student, teacher)
    ]
    slow = slow_soft_nats(*logits, np.asarray(batch().is_target), 2.0)
    assert float(losses.soft_loss_nats) == pytest.approx(slow, rel=1e-6)


def step(shape, accumulate=1):
    mesh = mesh_of(shape)
    arrays, static = eqx.partition(network(SWITCH, 1), eqx.is_array)
    arrays = jax.device_put(arrays, parameter_shardings(arrays, mesh))
    trainer = make_trainer(
        config(),
        OptimizerConfig(hold_steps=100),
        steps=10,
        seed=0,
        mesh=mesh,
        accumulate=accumulate,
        distillation=Distillation(DistillationConfig(hard_share=0.4), eqx.combine(arrays, static)),
    )
    rows = jax.device_put(batch(), batch_sharding(mesh))
    return trainer.step(start(trainer), rows, *trainer.teacher_arrays)


@pytest.fixture(scope="module")
def one():
    return step(MeshShape())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "accumulate"),
    [
        (MeshShape(), 4),
        (MeshShape(data=2, expert=2, model=2), 1),
    ],
    ids=str,
)
def test_a_students_step_does_not_depend_on_devices_or_microbatches(one, shape, accumulate):
    state, metrics = one
    other_state, other_metrics = step(shape, accumulate)
    assert metrics.losses.soft_loss_nats > 0
    assert_close(metrics, other_metrics, rtol=1e-5, atol=1e-6)
    assert_close(state.arrays, other_state.arrays, atol=1e-5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"hard_share": 1.5}, "between 0"),
        ({"temperature": 0.0}, "above 0"),
    ],
)
def test_unusable_settings(setting, message):
    with pytest.raises(ConfigurationError, match=message):
        DistillationConfig(**setting)
