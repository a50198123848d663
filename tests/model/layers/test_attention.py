import jax
import numpy as np
from small_networks import mesh_of

from model.batch import Visible
from model.config import ModelConfig
from model.layers.attention import Attention
from model.layers.position_bias import PositionBias

CONFIG = ModelConfig(
    vocabulary_rows=128, embed=16, heads=2, head=8, mlp=24, layers=2, activation_dtype="float32"
)


def test_attention_equals_loops():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(1, 5, 16)).astype(np.float32)
    table = generator.normal(size=(32, 2)).astype(np.float32)
    bias = np.moveaxis(table[np.maximum(np.arange(5)[:, None] - np.arange(5), 0)], -1, 0)

    @jax.jit
    def run(key, x, table):
        bias, visible = PositionBias(table, False), Visible(None, True, None, None)
        attention = Attention.init(CONFIG, key=key)
        return attention, attention(x, x, bias, visible, mesh_of())

    attention, y = run(jax.random.key(1), x, table)
    expected = np.zeros((5, 16))
    for head in range(2):
        query, key, value = (
            x[0] @ np.asarray(w)[:, head] for w in (attention.query, attention.key, attention.value)
        )
        for place in range(5):
            scores = query[place] @ key[: place + 1].T + bias[head, place, : place + 1]
            weights = np.exp(scores - scores.max())
            mixed = weights / weights.sum() @ value[: place + 1]
            expected[place] += mixed @ np.asarray(attention.output)[head]
    np.testing.assert_allclose(y[0], expected, atol=1e-5)
