"""Statistics of routing: nothing is lost between tokens, rows and layers."""

import equinox as eqx
import jax
import numpy as np
import pytest
from small_networks import ROWS, batch, config, drawn, mesh_of, trainer

from model.loss.training_loss import training_loss
from model.stack import Call


@pytest.fixture(scope="module")
def model():
    return drawn(config("switch"))


def test_layers_count_what_routing_did(model):
    """Conserved: each real token has one assignment; an expert slot is used or wasted."""
    call = Call(mesh_of(), jax.random.key(0))
    _, (losses, _) = eqx.filter_jit(training_loss)(model, batch(), call)
    layers = losses.layers
    real = [int(batch().is_source.sum()), int(batch().is_target.sum())]
    assert layers.tokens.tolist() == real
    assert layers.load.sum(axis=1).tolist() == real
    kept = layers.load.sum(axis=1) - layers.dropped
    assert (layers.expert_slots - layers.wasted).tolist() == kept.tolist()
    # Groups of 16 and 8 tokens, 8 experts: capacity round(1.25 * 16 / 8) = 2 and round(1.25) = 1.
    assert layers.expert_slots.tolist() == [8 * 8 * 2, 8 * 8 * 1]


def test_rows_add_up_to_layers(model):
    _, rows = trainer("switch").score(eqx.filter(model, eqx.is_array), batch())
    assert rows.load.shape == (2, ROWS, 8)
    assert rows.tokens.tolist() == [
        batch().is_source.sum(axis=1).tolist(),
        batch().is_target.sum(axis=1).tolist(),
    ]
    np.testing.assert_array_equal(rows.load.sum(axis=-1), rows.tokens)
    assert (rows.entropy_nats <= rows.tokens * np.log(8) + 1e-4).all()
    assert (rows.dropped <= rows.tokens).all()
    assert ((rows.gate <= rows.load) & (rows.gate >= 0)).all()
    assert (rows.gate.sum(axis=-1) >= (rows.tokens - rows.dropped) / 8 - 1e-5).all()  # the largest
