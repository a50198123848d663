"""The training loss against NumPy; scores of rows, at once and in parts."""

from dataclasses import replace

import equinox as eqx
import jax
import numpy as np
import pytest
from small_networks import (
    EIGHT,
    ROWS,
    SOURCE,
    SWITCH,
    TARGET,
    assert_close,
    batch,
    config,
    drawn,
    mesh_of,
    on_mesh,
    trainer,
)

from model.batch import Call
from model.config import MeshShape
from model.loss import scoring
from model.loss.scoring import part_count, score
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
    exact = replace(SWITCH, dispatch="dropless", jitter=0.0, **settings)
    call = Call(mesh_of(shape), jax.random.key(0))
    loss = lambda network: training_loss(network, batch(), call)[1][0].balance_loss  # noqa: E731
    return jax.jit(jax.value_and_grad(loss))(drawn(replace(config("switch"), switch=exact)))


@pytest.mark.slow
def test_a_balance_loss_over_the_batch_is_that_of_one_group_also_on_eight_devices():
    whole = balanced(encoder_group_tokens=128, decoder_group_tokens=64)
    found = balanced(EIGHT, balance_loss_over="batch")
    assert float(found[0]) == pytest.approx(float(whole[0]), rel=1e-5)
    assert_close(found[1], whole[1], atol=1e-5, rtol=1e-4)
    assert np.abs(whole[1].encoder.blocks[0].feed_forward.router).max() > 1e-3


def test_scores_do_not_depend_on_row_order():
    """Dense: each row's loss is its own; the sums agree with what a training step reports."""
    arrays = drawn(config("dense"))
    rows, _ = trainer("dense").score(arrays, batch(), 0)
    order = np.argsort(np.random.default_rng(0).random(ROWS))
    shuffled = jax.tree.map(lambda leaf: leaf[order], batch())
    other, _ = trainer("dense").score(arrays, shuffled, 0)
    np.testing.assert_allclose(rows.loss_nats[order], other.loss_nats, rtol=1e-5)
    run = jax.jit(lambda model: training_loss(model, batch(), Call(mesh_of(), jax.random.key(0))))
    losses = run(arrays)[1][0]
    np.testing.assert_allclose(rows.loss_nats.sum(), losses.loss_nats, rtol=1e-5)
    assert rows.target_tokens.tolist() == [8, 8, 3, 8, 8, 8, 8, 8]


def scoring_program(network, mesh):
    """Number of loops of the program, and a function that runs it."""
    arrays, static = eqx.partition(network, eqx.is_array)
    arrays, rows, call = on_mesh(arrays, mesh), batch(mesh=mesh), Call(mesh)
    run = jax.jit(lambda arrays, rows: score(eqx.combine(arrays, static), rows, call, languages=3))
    lowered = run.lower(arrays, rows)
    return lowered.as_text().count("stablehlo.while"), lambda: lowered.compile()(arrays, rows)


@pytest.mark.parametrize(
    ("kind", "shape", "least"),
    [
        pytest.param("dense", MeshShape(), 2 * SOURCE, marks=pytest.mark.slow),
        ("switch", MeshShape(data=2, expert=2), SOURCE),
    ],
    ids=str,
)
def test_scores_do_not_depend_on_the_parts(kind, shape, least, monkeypatch):
    """Parts of two rows on one device or of one row on each of four."""
    model = drawn(config(kind))
    loops, whole = scoring_program(model, mesh_of(shape))  # too few tokens for parts
    monkeypatch.setattr(scoring, "LEAST_TOKENS", least)
    more, parts = scoring_program(model, mesh_of(shape))
    assert more > loops
    assert_close(whole(), parts(), rtol=5e-6)  # a part of another size is summed in another order


POOLS = replace(SWITCH, encoder_pooled_groups=2)
PAIRS = replace(SWITCH, decoder_group_tokens=2 * TARGET)


@pytest.mark.parametrize(
    ("switch", "sizes", "devices", "parts"),
    [
        (None, (1024, 1024, 229), 1, 128),
        (None, (12, 1024, 229), 1, 1),  # 6 rows are too few
        (None, (24, 1024, 229), 1, 3),
        (None, (ROWS, SOURCE, TARGET), 1, 1),
        (SWITCH, (ROWS, SOURCE, TARGET), 4, 4),
        (PAIRS, (ROWS, SOURCE, TARGET), 4, 4),
        (PAIRS, (ROWS, SOURCE, TARGET), 8, 4),
        (POOLS, (ROWS, SOURCE, TARGET), 8, 4),
        (POOLS, (1, SOURCE, TARGET), 1, 1),  # a pool on several devices
    ],
)
def test_parts_are_whole_groups_and_no_larger_than_a_microbatch(switch, sizes, devices, parts):
    """Groups are one row here. 8,192 inputs are the least, unless a microbatch has fewer."""
    assert part_count(replace(config("switch"), switch=switch), *sizes, devices) == parts


def test_without_capacity_groups_do_not_bound_parts(monkeypatch):
    """A group is the batch here, so parts of a row are scored only where rows share nothing."""
    network = drawn(config("switch"))
    monkeypatch.setattr(scoring, "LEAST_TOKENS", SOURCE)
    whole = {"encoder_group_tokens": ROWS * SOURCE, "decoder_group_tokens": ROWS * TARGET}

    def dispatched(dispatch, **groups):
        switch = replace(SWITCH, dispatch=dispatch, **groups)
        stacks = network.encoder, network.decoder
        encoder, decoder = (replace(stack, switch=switch) for stack in stacks)
        sizes = replace(network.config, switch=switch)
        changed = replace(network, encoder=encoder, decoder=decoder, config=sizes)
        return scoring_program(changed, mesh_of())

    at_once, _ = dispatched(SWITCH.dispatch, **whole)
    loops, scores = dispatched("dropless", **whole)
    of_rows, expected = dispatched("dropless")
    assert loops == of_rows > at_once
    assert_close(scores(), expected(), rtol=5e-6)
