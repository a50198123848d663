"""Transfers between slices, in a program of two blocks.

Collectives: executions, axes, bytes, and their origin: parameters or activations.
"""

import functools

import jax
import jax.numpy as jnp
import pytest
from hlo_programs import program_text
from jax.sharding import NamedSharding, PartitionSpec

from model.config import MeshShape
from model.sharding.mesh import make_mesh
from pipeline.planning.hlo.collectives import (
    Collective,
    SliceTransfer,
    _group,
    _result_arrays,
    collectives,
    sender,
    slice_transfers,
)
from pipeline.planning.hlo.program import parse

TARGET = '_xla_megascale_target="{1,2}x{0:7}",'
TEXT = program_text("two_slices")


def test_a_transfer_is_counted_once_per_execution():
    gathered = SliceTransfer("all-gather", 2, 4 * 8 * 4, 3)
    reduced = SliceTransfer("all-reduce", 2, 16 * 4, 2)
    assert list(slice_transfers(parse(TEXT), 3)) == [gathered, reduced]
    listed = TEXT.replace(TARGET, "_xla_megascale_target={{100000,100001,200000,200001}},")
    assert list(slice_transfers(parse(listed), 3)) == [gathered, reduced]


def test_a_recv_is_matched_with_its_send():
    values = parse(TEXT).computations["body"]
    assert sender(values["recv.1"], values) is values["send.1"]
    assert sender(values["send.1"], {}) is None


@pytest.mark.parametrize(
    ("kind", "in_a_slice", "between_slices"),  # of 1,000 bytes by four devices, of 600 by three
    [
        ("all-gather", 750, 2 * 600),  # of a slice its part, to two other slices
        ("all-to-all", 750, 400),  # a third is for its own
        ("reduce-scatter", 3000, 400),
        ("all-reduce", 1500, 800),  # a reduce-scatter, then a gather of thirds
        ("collective-permute", 1000, None),
    ],
)
def test_what_is_for_itself_is_not_sent(kind, in_a_slice, between_slices):
    assert Collective(kind, "activations", ("data",), (0, 1, 2, 3), 1, 1000).sent == in_a_slice
    if between_slices:
        assert SliceTransfer(kind, 1, 600, 3).sent == between_slices


MESH = {"data": 2, "expert": 4, "model": 1}
LAYERS = 7
ROWS = 8


def program(gathered: str):
    """Returns a scan over layers that gathers each layer's weights, or its activations."""
    mesh = make_mesh(MeshShape(**MESH))
    rows, whole = NamedSharding(mesh, PartitionSpec("expert")), NamedSharding(mesh, PartitionSpec())
    stored = NamedSharding(mesh, PartitionSpec(None, "data"))
    constrain = jax.lax.with_sharding_constraint

    def layer(x, weights):
        if gathered == "activations":
            x = constrain(constrain(x, whole) * 2, whole)
        if gathered == "a vector of activations":
            x = x * jnp.max(constrain(jnp.sum(x, axis=1), whole))
        used = constrain(weights, whole)
        return constrain(jnp.tanh(x @ used), rows), None

    step = jax.jit(
        lambda weights, x: jax.value_and_grad(
            lambda weights: jnp.sum(jax.lax.scan(layer, x, weights)[0])
        )(weights),
        in_shardings=(stored, rows),
    )
    weights = jax.ShapeDtypeStruct((LAYERS, 64, 64), jnp.float32)
    return parse(
        step.lower(weights, jax.ShapeDtypeStruct((ROWS, 64), jnp.float32)).compile().as_text() or ""
    )


@functools.cache
def found(gathered: str) -> list[Collective]:
    every = collectives(program(gathered), MESH, 1, ROWS)
    return [one for one in every if one.kind == "all-gather"]


def test_gathers_of_stored_parameters_differ_from_those_of_activations():
    assert {one.origin for one in found("parameters")} == {"parameters"}
    assert "activations" in {one.origin for one in found("activations")}
    vectors = [one for one in found("a vector of activations") if one.size == ROWS * 4]
    assert {one.origin for one in vectors} == {"activations"}


def test_gathers_are_counted_per_layer_with_axes_and_bytes():
    forward = [one for one in found("parameters") if one.executions == LAYERS]
    assert {(one.axes, len(one.group), one.size) for one in forward} == {
        (("data",), 2, 64 * 64 * 4)
    }


@pytest.mark.parametrize(
    ("attributes", "group"),
    [
        ("replica_groups={{0,2,4},{1,3,5}}, x", (0, 2, 4)),
        ("replica_groups=[2,3]<=[6], x", (0, 1, 2)),
        ("replica_groups=[2,4]<=[4,2]T(1,0), x", (0, 2, 4, 6)),
        ("replica_groups=mesh['a'=4,'b'=2] {'a'}, x", (0, 2, 4, 6)),
        ("replica_groups=mesh['a'=1,'b'=2,'c'=4], device_ids=([4,2]T(1,0)) {'b'}, x", (0, 1)),
        ("source_target_pairs={{3,1},{1,3}}, x", (3, 1)),
        ("source_target_pairs={{0,0},{1,2},{2,1},{3,3}}, x", (1, 2)),
        ("dimensions={0}", tuple(range(8))),
    ],
)
def test_groups_are_read_in_every_notation(attributes, group):
    text = f"ENTRY %m () -> f32[1] {{\n  ROOT %a = f32[1] all-gather(), {attributes}\n}}\n"
    (instruction,) = parse(text).computations["m"].values()
    assert _group(instruction, 8) == group


# As XLA for TPUs prints a gradient's reduce-scatter over four devices, with the padding that it
# adds and the rows that a neighbour has.
SCATTERED = program_text("scattered")


def test_a_fused_all_reduce_whose_part_is_kept_is_a_reduce_scatter_of_gradients():
    mesh, pairs = {"data": 4, "expert": 1, "model": 1}, ((0, 1), (1, 2), (2, 3))
    assert collectives(parse(SCATTERED), mesh, 0, ROWS) == [
        Collective("reduce-scatter", "gradients", ("data",), (0, 1, 2, 3), 1, 160),
        Collective("collective-permute", "gradients", ("data",), (0, 1), 1, 32, pairs),
    ]


# As XLA for GPUs prints two parameters gathered at once, one of them gathered again.
TOGETHER = program_text("gathered_together")


# As XLA for TPU7x prints a gather that a SparseCore carries out.
CALLED = program_text("called")


# libtpu 0.0.50 prints the argument at the call's update.
STARTED = (
    "%start = ((f32[3]{0}, token[]), f32[6]{0}) call-start(%part, %prepared), to_apply=%called"
)
UPDATED = """%begun = ((), (), (s32[1]{0})) call-start(), to_apply=%called
  %start = ((f32[3]{0}), f32[6]{0}) call-update(%begun, %part)"""


# What it gathers in part, and is gathered again.
AGAIN = """  %done = f32[6]{0} call-done(%start)
  ROOT %whole = f32[12]{0} all-gather(%done), replica_groups={{0,1}}
"""
AGAIN = CALLED.replace("  ROOT %done = f32[6]{0} call-done(%start)\n", AGAIN)


# As XLA for GPUs prints a slice of a stack that is taken beside other work, gathers over two axes
# in turn, and each row's loss and its language at once.
ON_GPUS = program_text("on_gpus")


# As XLA for GPUs prints Adafactor's statistics, each row's loss and its language gathered at once:
# named for the loss, or without a name. `%kept` makes it a gather of activations, too.
JOINED = program_text("joined")
NAMED = ', metadata={op_name="jit(step)/jvp()/reduce_sum"}'


@pytest.mark.parametrize("name", ["", NAMED])
def test_each_of_several_arrays_gathered_at_once_has_its_own_origin(name):
    def sizes(text: str) -> dict[str, int]:
        gathered = collectives(parse(text), {"data": 1, "expert": 4, "model": 1}, 0, 8)
        return {one.origin: one.size for one in gathered}

    text = JOINED.replace("NAME", name)
    assert sizes(text) == {"optimizer": 12 * 4 * 4, "reports": 2 * 8 * 4}
    text = text.replace("(%squares, %loss, %b)", "(%squares, %loss, %kept)")
    text = text.replace("s32[2])", "f32[2,5])").replace("s32[8])", "f32[8,5])")
    assert sizes(text) == {"optimizer": 12 * 4 * 4, "reports": 8 * 4, "activations": 8 * 5 * 4}


# As XLA for TPUs prints each row's loss and its language, gathered for the step's results.
REPORTED = program_text("reported")


@pytest.mark.parametrize(
    ("text", "mesh", "parameters", "rows", "origins"),
    [
        (TEXT, (1, 2), 1, 1, "parameters"),  # of another slice: the trace crosses the network
        (TOGETHER, (2, 4), 2, 8, "optimizer parameters parameters"),
        (CALLED, (2, 1), 1, 8, "parameters"),
        (CALLED.replace(STARTED, UPDATED), (2, 1), 1, 8, "parameters"),
        (AGAIN, (2, 2), 1, 8, "parameters parameters"),
        (ON_GPUS, (2, 2), 1, 8, "parameters parameters reports"),
        (REPORTED, (4, 1), 0, 8, "reports reports"),  # a number per row, whatever its tiles
        (REPORTED, (4, 1), 0, 4, "activations optimizer"),
    ],
)
def test_the_origin_of_what_is_gathered(text, mesh, parameters, rows, origins):
    sizes = dict(zip(("data", "expert", "model"), (*mesh, 1), strict=True))
    gathered = collectives(parse(text), sizes, parameters, rows)
    assert {one.kind for one in gathered} == {"all-gather"}
    assert [one.origin for one in gathered] == origins.split()
    if text is TEXT:
        assert gathered[0].executions == 2


@pytest.mark.parametrize(
    ("result", "opcode", "size"),
    [
        ("(f32[2], f32[8], u32[], u32[])", "all-gather-start", 32),
        ("((f32[2], f32[1]), (f32[8], f32[4]))", "all-gather-start", 48),
        ("(f32[2], f32[2], u32[]{:S(2)}, u32[]{:S(2)})", "collective-permute-start", 8),
        ("f32[2]", "all-reduce-start", 8),
        ("(f32[2], f32[3])", "all-reduce-start", 20),
        ("(f32[2], f32[3])", "all-to-all", 20),
    ],
)
def test_the_result_of_an_asynchronous_collective_is_without_its_operands(result, opcode, size):
    text = f"ENTRY %m (p: f32[2]) -> f32[2] {{\n  ROOT %a = {result} {opcode}(%p)\n}}\n"
    (instruction,) = parse(text).computations["m"].values()
    assert sum(array.size for array in _result_arrays(instruction)) == size
