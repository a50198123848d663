"""Which layer a skipped step's numbers came from."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import mesh_of, start

from model.batch import Batch
from model.config import ModelConfig, SwitchConfig
from model.nonfinite import Trace, gradient_sites, gradient_squares, skip_cause
from model.optimizer import OptimizerConfig
from model.trainer import Trainer, make_trainer
from model.transformer import transformer_shapes

SWITCH = SwitchConfig(experts=2, every=2, encoder_group_tokens=8, decoder_group_tokens=8)
CONFIG = ModelConfig(
    vocabulary_rows=128,
    embed=4,
    heads=2,
    head=2,
    mlp=6,
    layers=4,
    switch=SWITCH,
)


@pytest.fixture(scope="module")
def gradients():
    shapes = transformer_shapes(CONFIG)
    arrays, _ = eqx.partition(shapes, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    return jax.tree.map(lambda leaf: jnp.array(np.full(leaf.shape, 0.5, np.float32)), arrays)


def cause(gradients, row_loss=(0.0, 0.0), finite=2):
    squares = np.asarray(gradient_squares(gradients))
    found = gradient_sites(gradients, CONFIG.layers_per_block)
    assert len(found) == len(squares)
    rows = np.float32(row_loss), np.zeros(2, np.int32), np.int32([finite, 8])
    return skip_cause(Trace(squares, *rows), found, limit=10.0)


def spoiled(gradients, pick, block, value=np.nan):
    return eqx.tree_at(pick, gradients, pick(gradients).at[block].set(value))


def test_the_squares_are_the_norm(gradients):
    count = sum(leaf.size for leaf in jax.tree.leaves(gradients))
    assert float(gradient_squares(gradients).sum()) == pytest.approx(count / 4)


def test_the_last_spoiled_layer_is_named(gradients):
    """Block 1, second of two layers: layer 4; what lies before it in the network is its victim."""
    broken = spoiled(gradients, lambda m: m.decoder.blocks[1].feed_forward.up, 1)
    broken = spoiled(broken, lambda m: m.decoder.blocks[0].self_attention.query, 1)
    broken = spoiled(broken, lambda m: m.encoder.blocks[0].feed_forward.up, 0)
    broken = spoiled(broken, lambda m: m.embedding, 5)
    for bias in ("encoder", "decoder"):  # whose gradients are sums over layers
        broken = spoiled(broken, lambda m, of=bias: getattr(m, of).position_bias.table, 0)
    assert "in decoder layer 4 (feed_forward.up)" in cause(broken)


def test_the_largest_is_named_where_gradients_exploded(gradients):
    grown = spoiled(gradients, lambda m: m.encoder.blocks[1].feed_forward.router, 0, 1e6)
    assert "100% of its square came from encoder layer 2 (feed_forward.router)" in cause(grown)


def test_the_layer_in_which_a_row_first_broke_is_named(gradients):
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, gradients)
    assert "forward pass stopped being finite in encoder layer 3" in cause(broken)


def test_squares_that_overflow_leave_the_loss_finite(gradients):
    """All gradients are 1e20: finite, and so is the forward pass."""
    large = jax.tree.map(lambda leaf: leaf * 2e20, gradients)
    assert "the gradient stopped being finite in logits" in cause(large, finite=8)


def test_a_loss_of_a_wrong_target_has_finite_gradients(gradients):
    assert "every layer was finite in the forward pass and the loss was not" in cause(
        gradients, row_loss=(1.0, np.nan), finite=8
    )


@functools.cache
def accumulating_trainer() -> Trainer:
    """Compiled once for all spoiled weights; scanned, which is less to compile."""
    return make_trainer(
        CONFIG,
        OptimizerConfig(hold_steps=1),
        steps=2,
        seed=0,
        mesh=mesh_of(),
        accumulate=2,
        remat="full",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pick", "layer"),
    [
        (lambda m: m.encoder.blocks[1].self_attention.query, "encoder layer 4"),
        (lambda m: m.decoder.blocks[0].feed_forward.up, "decoder layer 3"),
        (lambda m: m.decoder.blocks[1].feed_forward.down, "decoder layer 4"),  # every expert's
        (lambda m: m.logits, "every layer was finite"),
    ],
)
def test_a_step_in_microbatches_names_the_layer_that_broke_in_the_forward_pass(pick, layer):
    """Weights of the last block of two, so of layers 2 and 3; or of what has no blocks."""
    trainer = accumulating_trainer()
    state = start(trainer)
    state = state._replace(arrays=spoiled(state.arrays, pick, -1))
    ids = jnp.ones((4, 8), jnp.int32)
    _, metrics = trainer.step(state, Batch(ids, ids, jnp.zeros(4, jnp.int32)))
    found = gradient_sites(trainer.shapes, CONFIG.layers_per_block)
    assert bool(metrics.skipped)
    assert layer in skip_cause(jax.device_get(metrics.trace), found, limit=10.0)
