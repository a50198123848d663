"""The noise of a switch layer in training: on the router's input, and experts' dropout.

It is drawn from the number of a group or a slot in the whole batch, so neither the mesh nor
microbatches change it.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key


def noise_keys(
    key: Key[Array, ""] | None,
) -> tuple[Key[Array, ""] | None, Key[Array, ""] | None]:
    """Returns the keys of jitter and expert dropout; None without randomness."""
    return (None, None) if key is None else tuple(jax.random.split(key))


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
