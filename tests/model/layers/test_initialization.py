from dataclasses import replace

import jax
import numpy as np
import pytest

from model.config import ModelConfig, SwitchConfig
from model.transformer import Transformer

CONFIG = ModelConfig(
    vocabulary_rows=128,
    embed=64,
    heads=2,
    head=32,
    mlp=128,
    layers=1,
    switch=SwitchConfig(experts=16, every=1, encoder_group_tokens=64, decoder_group_tokens=64),
)


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_every_matrix_starts_at_its_scale(scale):
    """sigma = sqrt(scale / fan-in), cut at two sigma; T5's query is smaller by sqrt(head)."""

    @jax.jit
    def weights(key):
        model = Transformer.init(replace(CONFIG, initialization_scale=scale), key=key)
        block = model.encoder.blocks[0]
        attention, experts = block.self_attention, block.feed_forward
        return (
            (experts.up, experts.gate, experts.down),
            (attention.key, attention.query, model.logits),
        )

    embed, mlp = CONFIG.embed, CONFIG.mlp
    fan_ins = (embed, embed, mlp), (embed, embed * CONFIG.head, embed)
    for found, fan_in in zip(
        jax.tree.leaves(weights(jax.random.key(0))), jax.tree.leaves(fan_ins), strict=True
    ):
        assert np.std(found) == pytest.approx(np.sqrt(scale / fan_in), rel=0.05)
