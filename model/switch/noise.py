"""The noise of a switch layer in training: on the router's input, and experts' dropout.

It is drawn from the number of a group or a slot, so it is the same on any mesh.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key


def noise_keys(
    key: Key[Array, ""] | None, microbatch: Int[Array, ""], microbatches: int
) -> tuple[Key[Array, ""] | None, Key[Array, ""] | None]:
    """Returns the keys of jitter and expert dropout; None without randomness."""
    if key is None:
        return None, None
    jitter_key, dropout_key = jax.random.split(key)
    if microbatches > 1:  # dropout masks may differ from the whole batch's: pretraining has none
        dropout_key = jax.random.fold_in(dropout_key, microbatch)
    return jitter_key, dropout_key


def jittered(
    x: Float[Array, "groups tokens embed"],
    jitter: float,
    key: Key[Array, ""] | None,
    first_group: Int[Array, ""],
) -> Float[Array, "groups tokens embed"]:
    """Multiplies by U(1 - jitter, 1 + jitter); a group's noise depends on its number only."""
    if jitter == 0.0:
        return x
    assert key is not None  # jitter has a key
    numbers = first_group + jnp.arange(len(x))
    keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)
    noise = jax.vmap(
        lambda key: jax.random.uniform(key, x.shape[1:], minval=1 - jitter, maxval=1 + jitter)
    )(keys)
    return x * noise
