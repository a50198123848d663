"""Products that XLA computes shard by shard as the shards of a weight arrive, counted as written.

XLA:TPU computes two shards per trip, from both directions of the ring, and counts its loop by two.
"""

import importlib.util

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from model.sharding import MeshShape, make_mesh
from pipeline.planning.flops import products
from pipeline.planning.program import Program, parse
from pipeline.planning.topology import topology

pytestmark = [
    pytest.mark.plans,
    pytest.mark.skipif(
        importlib.util.find_spec("libtpu") is None, reason="the compiler for TPUs is missing"
    ),
]
ROWS, LENGTH, EMBED, MLP, CHIPS = 128, 512, 768, 3072, 16


@pytest.fixture(scope="module")
def windowed() -> Program:
    mesh = make_mesh(MeshShape(data=CHIPS), topology("v5p:2x2x4").devices)
    split = NamedSharding(mesh, PartitionSpec("data"))
    x = jax.ShapeDtypeStruct((CHIPS * ROWS, LENGTH, EMBED), jnp.bfloat16)
    weight = jax.ShapeDtypeStruct((EMBED, MLP), jnp.bfloat16)
    product = jax.jit(jnp.matmul, in_shardings=(split, split), out_shardings=split)
    return parse(product.lower(x, weight).compile().as_text() or "")


def test_a_windowed_product_is_counted_once(windowed):
    assert any(one.opcode == "while" for _, one, _ in windowed.executed())
    assert products(windowed).flops == 2 * ROWS * LENGTH * EMBED * MLP
