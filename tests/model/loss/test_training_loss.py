"""The training loss against NumPy; scores of rows."""

import dataclasses

import equinox as eqx
import jax
import numpy as np
import pytest
from small_networks import ROWS, SWITCH, assert_close, batch, config, drawn, mesh_of, trainer

from model.batch import Call
from model.config import MeshShape
from model.loss.training_loss import training_loss


def test_the_loss_is_nats_and_squared_log_z_and_routing():
    """By NumPy from the logits: padding does not count, every term by its weight."""
    model, one = drawn(config("switch")), batch()
    call = Call(mesh_of(), jax.random.key(0))

    @eqx.filter_jit
    def loss_and_logits(model):
        output = model(one, call)
        stacks = output.encoder_routing, output.decoder_routing
        return training_loss(model, one, call), model.head(output.decoded), stacks

    (loss, (losses, _)), logits, stacks = loss_and_logits(model)
    logits, targets = np.float64(logits), np.asarray(one.targets)
    real = targets != 0
    log_z = np.log(np.exp(logits).sum(-1))
    nats = (log_z - np.take_along_axis(logits, targets[..., None], -1)[..., 0])[real]
    z_loss = 1e-4 * np.square(log_z[real]).mean()
    routing = SWITCH.balance_loss_weight * losses.balance_loss + 1e-3 * losses.router_z_loss
    tokens = np.sum(one.is_source), np.sum(one.is_target)
    for name, ours in (("balance_loss", losses.balance_loss), ("z_loss", losses.router_z_loss)):
        layers = [getattr(stack, name) / n for stack, n in zip(stacks, tokens, strict=True)]
        assert float(ours) == pytest.approx(np.mean(layers), rel=1e-5)
    assert float(losses.z_loss) == pytest.approx(z_loss, rel=1e-5)
    assert z_loss > 1e-3
    assert float(loss) == pytest.approx(float(nats.mean() + z_loss + routing), rel=1e-5)


def balanced(shape=MeshShape(), **settings):  # noqa: B008
    """Balance loss and its gradient, without drops and noise, which depend on groups."""
    exact = dataclasses.replace(SWITCH, dispatch="dropless", jitter=0.0, **settings)
    network = drawn(dataclasses.replace(config("switch"), switch=exact))
    call = Call(mesh_of(shape), jax.random.key(0))

    @eqx.filter_jit
    @eqx.filter_value_and_grad
    def loss_of(network):
        return training_loss(network, batch(), call)[1][0].balance_loss

    return loss_of(network)


@pytest.mark.slow
def test_a_balance_loss_over_the_batch_is_that_of_one_group_also_on_eight_devices():
    whole = balanced(encoder_group_tokens=128, decoder_group_tokens=64)
    found = balanced(MeshShape(data=2, expert=2, model=2), balance_loss_over="batch")
    assert float(found[0]) == pytest.approx(float(whole[0]), rel=1e-5)
    assert_close(found[1], whole[1], atol=1e-5, rtol=1e-4)
    assert np.abs(whole[1].encoder.blocks[0].feed_forward.router).max() > 1e-3


def test_scores_do_not_depend_on_row_order():
    """Dense: each row's loss is its own; the sums agree with what a training step reports."""
    one, model = trainer("dense"), drawn(config("dense"))
    arrays, _ = eqx.partition(model, eqx.is_array)
    rows, _ = one.score(arrays, batch(), 0)
    order = np.argsort(np.random.default_rng(0).random(ROWS))
    shuffled, _ = one.score(arrays, jax.tree.map(lambda leaf: leaf[order], batch()), 0)
    np.testing.assert_allclose(rows.loss_nats[order], shuffled.loss_nats, rtol=1e-5)
    call = Call(mesh_of(), jax.random.key(0))
    _, (losses, _) = eqx.filter_jit(training_loss)(model, batch(), call)
    np.testing.assert_allclose(rows.loss_nats.sum(), losses.loss_nats, rtol=1e-5)
    assert rows.target_tokens.tolist() == [8, 8, 3, 8, 8, 8, 8, 8]
