"""One block's, or one expert's, part of a stacked array, gathered from all devices and hosts.

An export needs one matrix at a time. The whole stack of a large network fits neither a device nor
a host, so only the part is gathered. Along dimensions that no axis splits it is a slice, which
reads only itself. Along split ones its bits are moved as integers: the partitioner adds zeros of
the other devices, and a sum of floats would turn -0.0 into 0.0.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float32


def gathered_part(array: Float32[Array | np.ndarray, "..."], at: tuple[int, ...]) -> np.ndarray:
    """Returns `array[at]` on every host; every host must call this.

    Args:
        array: array on a mesh, or on this machine alone.
        at: indices along the first dimensions, which may be split over devices.
    """
    sharding = getattr(array, "sharding", None)
    if not isinstance(sharding, NamedSharding):
        return np.asarray(array)[at]
    everywhere = NamedSharding(sharding.mesh, PartitionSpec())
    shard = sharding.shard_shape(array.shape)
    split = tuple(shard[number] < array.shape[number] for number in range(len(at)))
    bits = _bits_of(array, np.array(at, np.int32), everywhere, split)
    return np.asarray(bits).view(np.float32)


@partial(jax.jit, static_argnames=("everywhere", "split"))
def _bits_of(
    array: jax.Array, at: jax.Array, everywhere: NamedSharding, split: tuple[bool, ...]
) -> jax.Array:
    for number, is_split in enumerate(split):
        if not is_split:
            array = jax.lax.dynamic_slice_in_dim(array, at[number], 1, axis=number)
    bits = jax.lax.bitcast_convert_type(array, jnp.uint32)
    for number, is_split in enumerate(split):
        chosen = jnp.arange(bits.shape[0]) == at[number] if is_split else jnp.ones(1, bool)
        chosen = chosen.reshape(-1, *[1] * (bits.ndim - 1))
        bits = jnp.sum(jnp.where(chosen, bits, 0), axis=0, dtype=jnp.uint32)
    return jax.lax.with_sharding_constraint(bits, everywhere)
