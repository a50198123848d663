"""Selective precision (Switch, section 2.4), read off the program before it is compiled.

XLA:CPU computes bfloat16 in float32, so the compiled program would not show it.
"""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from model.batch import Batch
from model.call import Call
from model.config import ModelConfig, SwitchConfig
from model.loss.training_loss import training_loss
from model.sharding.mesh import MeshShape, make_mesh
from model.transformer import transformer_shapes

EXPERTS = 6  # unlike any other size, so that it identifies the router
SWITCH = SwitchConfig(
    experts=EXPERTS,
    every=2,
    encoder_group_tokens=32,
    decoder_group_tokens=16,
    choices=2,
    expert_dropout=0.1,
)
CONFIG = ModelConfig(
    vocabulary_rows=128, embed=16, heads=2, head=8, mlp=24, layers=2, switch=SWITCH
)
OPERANDS = re.compile(r": \((tensor<[^)]*)\) -> (tensor<\S+>)")


@pytest.fixture(scope="module")
def program():
    """Forward and backward of the whole network, as StableHLO."""
    mesh = make_mesh(MeshShape(expert=2), jax.devices()[:2])
    arrays, rest = eqx.partition(
        transformer_shapes(CONFIG),
        lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct),
    )
    batch = Batch(*(jnp.ones(shape, jnp.int32) for shape in ((4, 16), (4, 8), (4,))))

    def loss(arrays):
        call = Call(mesh, jax.random.key(1))
        return training_loss(eqx.combine(arrays, rest), batch, call)[0]

    return jax.jit(jax.grad(loss)).lower(arrays).as_text()


def operands(program, operation):
    """The shapes and types of each such operation's operands."""
    lines = [line for line in program.splitlines() if f"stablehlo.{operation}" in line]
    assert lines
    found = [OPERANDS.search(line) for line in lines]
    assert all(found)
    return [re.findall(r"tensor<([^>]*)>", match.group(1)) for match in found if match]


def test_the_router_is_float32_and_every_other_product_bfloat16(program):
    router, others = [], []
    for shapes in operands(program, "dot_general"):
        is_router = any(str(EXPERTS) in shape.split("x")[:-1] for shape in shapes)
        (router if is_router else others).append({shape.split("x")[-1] for shape in shapes})
    assert router == [{"f32"}] * (2 * 3)  # two stacks; forward, and back to input and weights
    assert others == [{"bf16"}] * len(others)
    assert len(others) > 60


def test_nothing_is_summed_in_bfloat16(program):
    """Every addition of such a sum rounds; only the products' own sums are left to the hardware."""
    sums = [line for line in program.splitlines() if "applies stablehlo.add" in line]
    assert len(sums) > 20
    assert not [line for line in sums if "bf16" in line]


def test_tokens_travel_in_bfloat16(program):
    shapes = [shape for pair in operands(program, "all_to_all") for shape in pair]
    assert len(shapes) == 2 * 4
    assert {shape.split("x")[-1] for shape in shapes} == {"bf16"}
