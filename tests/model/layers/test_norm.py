import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.layers.norm import RMSNorm


def test_norm_equals_its_definition():
    x = jax.random.normal(jax.random.key(0), (2, 3, 16)) * 7
    y = RMSNorm.init(16)(x)
    np.testing.assert_allclose(
        y, x / np.sqrt(np.mean(np.square(x), -1, keepdims=True) + 1e-6), rtol=1e-5
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_scale_s_gradient_is_a_sum_in_float32(dtype):
    """Of equal terms, of which a sum in bfloat16 stops growing at 256."""
    x = jnp.ones((64, 256, 4), dtype)
    norm = RMSNorm(jnp.full(4, 3.0))
    slope, of_x = jax.grad(lambda norm, x: norm(x).astype(jnp.float32).sum(), (0, 1))(norm, x)
    np.testing.assert_allclose(slope.scale, 64 * 256, rtol=1e-5)
    assert of_x.dtype == dtype
