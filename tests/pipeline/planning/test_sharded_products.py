"""Products with a weight whose shards other devices hold, compiled for a TPU and counted by hand.

Left to itself, XLA:TPU computes them shard by shard as the shards arrive: two per trip, from both
directions of the ring, in a loop that counts by two.
"""

import importlib.util

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from model.config import MeshShape
from model.sharding.mesh import make_mesh
from pipeline.planning.hlo.collectives import collectives
from pipeline.planning.hlo.program import Program, parse
from pipeline.planning.hlo.work import products, traffic_bytes
from pipeline.planning.topology import topology

pytestmark = [
    pytest.mark.plans,
    pytest.mark.skipif(
        importlib.util.find_spec("libtpu") is None, reason="the compiler for TPUs is missing"
    ),
]
ROWS, LENGTH, EMBED, MLP, CHIPS = 128, 512, 768, 3072, 16


MESH = {"data": CHIPS, "expert": 1, "model": 1}


def compiled(*, gathered: bool) -> Program:
    """Returns the product of rows and a weight of which each device stores a part."""
    mesh = make_mesh(MeshShape(**MESH), topology("v5p:2x2x4").devices)
    split, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (["data"], []))

    def product(x, weight):
        if gathered:
            weight = jax.lax.with_sharding_constraint(weight, whole)
        return x @ weight

    x = jax.ShapeDtypeStruct((CHIPS * ROWS, LENGTH, EMBED), jnp.bfloat16)
    weight = jax.ShapeDtypeStruct((EMBED, MLP), jnp.bfloat16)
    function = jax.jit(product, in_shardings=(split, split), out_shardings=split)
    return parse(function.lower(x, weight).compile().as_text() or "")


def test_a_product_computed_shard_by_shard_is_counted_once():
    program = compiled(gathered=False)
    assert any(one.opcode == "while" for _, one, _ in program.executed_instructions())
    assert products(program).flops == 2 * ROWS * LENGTH * EMBED * MLP
    permutes = [
        one
        for one in collectives(program, MESH, 2, CHIPS * ROWS)
        if one.kind == "collective-permute"
    ]
    shard = 2 * EMBED * MLP // CHIPS
    # Each device receives the shards of all others, from both sides, at most two of them twice.
    received = sum(one.executions * one.size for one in permutes)
    assert (CHIPS - 1) * shard <= received <= (CHIPS + 2) * shard


def test_a_product_with_a_gathered_weight_moves_what_a_count_by_hand_says():
    """The gather reads a shard and writes the weight; the product reads both and writes once."""
    program = compiled(gathered=True)
    x, weight, y = 2 * ROWS * LENGTH * EMBED, 2 * EMBED * MLP, 2 * ROWS * LENGTH * MLP
    assert products(program).flops == 2 * ROWS * LENGTH * EMBED * MLP
    assert traffic_bytes(program) == weight // CHIPS + weight + x + weight + y
    (gather,) = collectives(program, MESH, 2, CHIPS * ROWS)
    assert (gather.kind, gather.size, gather.executions) == ("all-gather", weight, 1)
