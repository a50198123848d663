"""Compiles a program with all collectives of a sharded training step; prints it as compiled.

    python tests/helpers/overlap_program.py TOPOLOGY

Run as a process of its own: compilers read their flags from the environment, once.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pipeline.planning import topology as gpus
from pipeline.planning.topology import topology

LAYERS, EMBED, MLP, ROWS = 4, 1024, 4096, 256


def lowered(devices) -> jax.stages.Lowered:
    """Four layers: weights gathered, rows exchanged, gradients summed, the first by a scatter."""
    mesh = Mesh(np.array(devices).reshape(-1, 2), ("data", "expert"))
    rows = NamedSharding(mesh, PartitionSpec(("data", "expert")))
    stored = NamedSharding(mesh, PartitionSpec("data"))
    whole = NamedSharding(mesh, PartitionSpec())

    @jax.custom_vjp
    def gathered(weight):
        return jax.lax.with_sharding_constraint(weight.astype(jnp.bfloat16), whole)

    def backward(_, slope):
        return (jax.lax.with_sharding_constraint(slope.astype(jnp.float32), stored),)

    gathered.defvjp(lambda weight: (gathered(weight), None), backward)

    @jax.shard_map(mesh=mesh, in_specs=rows.spec, out_specs=rows.spec, check_vma=False)
    def exchanged(x):
        return jax.lax.all_to_all(x, "data", 0, 0, tiled=True)

    def layer(x, weights):
        up, down = weights
        return x + exchanged(x) + jax.nn.relu(x @ gathered(up)) @ gathered(down), None

    def loss(weights, table, ids):
        x, _ = jax.lax.scan(layer, table[ids].astype(jnp.bfloat16), weights)
        return jnp.sum(jnp.square(x.astype(jnp.float32)))

    scanned = NamedSharding(mesh, PartitionSpec(None, "data"))
    shapes = [(LAYERS, EMBED, MLP), (LAYERS, MLP, EMBED)]
    weights = tuple(jax.ShapeDtypeStruct(one, jnp.float32, sharding=scanned) for one in shapes)
    table = jax.ShapeDtypeStruct((512, EMBED), jnp.float32, sharding=whole)
    ids = jax.ShapeDtypeStruct((ROWS * len(devices),), jnp.int32, sharding=rows)
    gradients = jax.jit(jax.grad(loss, argnums=(0, 1)), out_shardings=((scanned,) * 2, whole))
    return gradients.lower(weights, table, ids)


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    found = topology(sys.argv[1])
    print(lowered(found.devices).compile(gpus.GPU_OPTIONS if found.is_gpu else None).as_text())
