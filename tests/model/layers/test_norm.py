import jax
import numpy as np

from model.layers.norm import RMSNorm


def test_norm_equals_its_definition():
    x = jax.random.normal(jax.random.key(0), (2, 3, 16)) * 7
    y = RMSNorm.init(16)(x)
    np.testing.assert_allclose(
        y, x / np.sqrt(np.mean(np.square(x), -1, keepdims=True) + 1e-6), rtol=1e-5
    )
