from dataclasses import replace

import jax
import numpy as np
import pytest

from model.config import ConfigurationError, ModelConfig, SwitchConfig
from model.switch.switch_layer import SwitchLayer
from model.transformer import Transformer

SWITCH = SwitchConfig(experts=16, every=1, encoder_group_tokens=64, decoder_group_tokens=64)
CONFIG = ModelConfig(
    vocabulary_rows=128, embed=64, heads=2, head=32, mlp=128, layers=1, switch=SWITCH
)


def drawn(switch):
    return SwitchLayer.init(CONFIG, switch, key=jax.random.key(0))


def test_the_router_has_the_scale_that_was_asked():
    assert np.std(drawn(SWITCH).router) == pytest.approx(0.02, rel=0.05)
    wide = drawn(replace(SWITCH, router_scale=0.18)).router
    assert np.std(wide) == pytest.approx(0.18, rel=0.05)


def test_the_output_scale_moves_the_last_matrix_and_nothing_else():
    plain, loud = drawn(SWITCH), drawn(replace(SWITCH, expert_output_scale=16.0))
    np.testing.assert_allclose(loud.down, 16 * plain.down, rtol=1e-6)
    for name in ("router", "gate", "up"):
        np.testing.assert_array_equal(getattr(loud, name), getattr(plain, name))


@pytest.mark.parametrize("name", ["router_scale", "expert_output_scale"])
def test_a_scale_of_nothing_is_refused(name):
    with pytest.raises(ConfigurationError, match=f"{name} was 0"):
        replace(SWITCH, **{name: 0.0})


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_every_matrix_begins_at_the_scale_that_was_asked(scale):
    """sigma = sqrt(scale / fan-in), cut at two sigma; of T5 the query is smaller by sqrt(head)."""
    model = Transformer.init(replace(CONFIG, initialization_scale=scale), key=jax.random.key(0))
    block, embed, mlp = model.encoder.blocks[0], CONFIG.embed, CONFIG.mlp
    for weights, fan_in in (
        (block.feed_forward.up, embed),
        (block.feed_forward.gate, embed),
        (block.feed_forward.down, mlp),
        (block.self_attention.key, embed),
        (block.self_attention.query, embed * CONFIG.head),
        (model.logits, embed),
    ):
        assert np.std(weights) == pytest.approx(np.sqrt(scale / fan_in), rel=0.05)
