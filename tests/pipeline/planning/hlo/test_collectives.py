"""Transfers between slices, in a program of two blocks.

Collectives: executions, axes, bytes, and their origin: parameters or activations.
"""

import functools

import jax
import jax.numpy as jnp
import pytest
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

FAR = (
    "is_host_transfer=true, frontend_attributes="
    '{{_xla_host_transfer_rendezvous="{name}",_xla_megascale_transfer_type="{kind}"}}'
)
GATHER = FAR.format(name="gather.1_0", kind="ALL_GATHER")
TARGET = '_xla_megascale_target="{1,2}x{0:7}",'
REDUCE = FAR.format(name="reduce.2_0", kind="ALL_REDUCE").replace("{_xla", "{" + TARGET + "_xla")
NEAR = 'replica_groups={{0,1}}, dimensions={0}, metadata={op_name="jit(step)/jvp()/dot"}'
TEXT = f"""HloModule step

%body (given: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {{
  %given = (s32[], f32[4,8]{{1,0}}) parameter(0)
  %count = s32[] get-tuple-element(%given), index=0
  %one = s32[] constant(1)
  %next = s32[] add(%count, %one)
  %weights = f32[4,8]{{1,0}} get-tuple-element(%given), index=1
  %after = token[] after-all()
  %send.1 = (f32[4,8]{{1,0}}, u32[], token[]) send(%weights, %after), channel_id=1, {GATHER}
  %recv.1 = (f32[8,8]{{1,0}}, u32[], token[]) recv(%after), channel_id=2, {GATHER}
  %recv-done.1 = (f32[8,8]{{1,0}}, token[]) recv-done(%recv.1), channel_id=2
  %whole = f32[8,8]{{1,0}} get-tuple-element(%recv-done.1), index=0
  %near = f32[16,8]{{1,0}} all-gather(%whole), channel_id=3, {NEAR}
  %send.2 = (f32[16]{{0}}, u32[], token[]) send(%near, %after), channel_id=4, {REDUCE}
  ROOT %made = (s32[], f32[4,8]{{1,0}}) tuple(%next, %weights)
}}

%condition (given: (s32[], f32[4,8])) -> pred[] {{
  %given = (s32[], f32[4,8]{{1,0}}) parameter(0)
  %count = s32[] get-tuple-element(%given), index=0
  %bound = s32[] constant(2)
  ROOT %less = pred[] compare(%count, %bound), direction=LT
}}

ENTRY %main (weights: f32[4,8]) -> f32[4,8] {{
  %weights = f32[4,8]{{1,0}} parameter(0)
  %zero = s32[] constant(0)
  %first = (s32[], f32[4,8]{{1,0}}) tuple(%zero, %weights)
  %loop = (s32[], f32[4,8]{{1,0}}) while(%first), condition=%condition, body=%body
  ROOT %out = f32[4,8]{{1,0}} get-tuple-element(%loop), index=1
}}
"""


def test_a_transfer_is_counted_once_per_execution():
    found = list(slice_transfers(parse(TEXT), 3))
    assert found == [
        SliceTransfer("all-gather", 2, 4 * 8 * 4, 3),
        SliceTransfer("all-reduce", 2, 16 * 4, 2),
    ]


def test_devices_of_a_transfer_may_be_listed():
    text = TEXT.replace(TARGET, "_xla_megascale_target={{100000,100001,200000,200001}},")
    _, found = slice_transfers(parse(text), 3)
    assert found.slices == 2


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        ("all-gather", 2 * 600),  # its part, to two other slices
        ("all-to-all", 400),  # a third is for its own
        ("reduce-scatter", 400),
        ("all-reduce", 800),  # a reduce-scatter, then a gather of thirds
    ],
)
def test_what_is_for_its_own_slice_does_not_cross(kind, sent):
    assert SliceTransfer(kind, 1, 600, 3).sent == sent


def test_a_recv_is_matched_with_its_send():
    values = parse(TEXT).computations["body"]
    sent = sender(values["recv.1"], values)
    assert sent is not None
    assert sent.name == "send.1"
    assert sender(values["send.1"], {}) is None


def test_a_gather_of_another_slices_parameters_is_of_parameters():
    """The trace crosses the network, as the operation's name is that of a product."""
    (gather,) = collectives(parse(TEXT), {"data": 1, "expert": 2, "model": 1}, parameters=1, rows=1)
    assert gather.origin == "parameters"
    assert gather.executions == 2


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
    return [
        one for one in collectives(program(gathered), MESH, 1, ROWS) if one.kind == "all-gather"
    ]


def test_gathers_of_stored_parameters_differ_from_those_of_activations():
    assert {one.origin for one in found("parameters")} == {"parameters"}
    assert "activations" in {one.origin for one in found("activations")}


def test_a_vector_is_classified_by_its_origin_and_not_by_its_shape():
    of_vectors = [one for one in found("a vector of activations") if one.size == ROWS * 4]
    assert of_vectors
    assert {one.origin for one in of_vectors} == {"activations"}


def test_gathers_are_counted_per_layer_with_axes_and_bytes():
    forward = [one for one in found("parameters") if one.executions == LAYERS]
    assert forward
    for one in forward:
        assert one.axes == ("data",)
        assert len(one.group) == 2
        assert one.size == 64 * 64 * 4
        assert one.sent == one.size / 2


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


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        ("all-gather", 750),
        ("all-to-all", 750),
        ("all-reduce", 1500),
        ("reduce-scatter", 3000),
        ("collective-permute", 1000),
    ],
)
def test_bytes_sent_by_kind(kind, sent):
    assert Collective(kind, "activations", ("data",), (0, 1, 2, 3), 1, 1000).sent == sent


# As XLA for TPUs prints a gradient's reduce-scatter over four devices, with the padding that it
# adds and the rows that a neighbour has.
SCATTERED = """HloModule step

%all-reduce-scatter (input: f32[16,8]) -> f32[5,8] {
  %input = f32[16,8]{1,0} parameter(0)
  %zero = f32[] constant(0)
  %pad = f32[20,8]{1,0} pad(%input, %zero), padding=0_4x0_0
  %all-reduce = f32[20,8]{1,0} all-reduce(%pad), replica_groups={{0,1,2,3}}, to_apply=%add
  %row = u32[] partition-id()
  %column = u32[] constant(0)
  ROOT %kept = f32[5,8]{1,0} dynamic-slice(%all-reduce, %row, %column), dynamic_slice_sizes={5,8}
}

ENTRY %main (x: bf16[4,16], y: bf16[4,8]) -> f32[5,8] {
  %x = bf16[4,16]{1,0} parameter(0)
  %y = bf16[4,8]{1,0} parameter(1)
  %gradient = f32[16,8]{1,0} dot(%x, %y), lhs_contracting_dims={0}, metadata={op_name="jit(step)/transpose(jvp())/dot"}
  %scattered = f32[5,8]{1,0} fusion(%gradient), kind=kCustom, calls=%all-reduce-scatter
  %rows = f32[1,8]{1,0} slice(%scattered), slice={[4:5], [0:8]}
  %sent = (f32[1,8]{1,0}, f32[1,8]{1,0}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%rows), source_target_pairs={{0,1},{1,2},{2,3}}
  %received = f32[1,8]{1,0} collective-permute-done(%sent)
  ROOT %whole = f32[6,8]{1,0} concatenate(%received, %scattered), dimensions={0}
}
"""  # noqa: E501


def test_a_fused_all_reduce_whose_part_is_kept_is_a_reduce_scatter_of_gradients():
    scattered, permuted = collectives(
        parse(SCATTERED), {"data": 4, "expert": 1, "model": 1}, 0, ROWS
    )
    assert scattered == Collective("reduce-scatter", "gradients", ("data",), (0, 1, 2, 3), 1, 160)
    assert scattered.sent == 3 * 160
    pairs = (0, 1), (1, 2), (2, 3)
    alone = Collective("collective-permute", "gradients", ("data",), (0, 1), 1, 32, pairs)
    assert permuted == alone


# As XLA for GPUs prints two parameters gathered at once, one of them gathered again.
TOGETHER = """HloModule step

ENTRY %main (a: f32[2], b: f32[3]) -> f32[24] {
  %a = f32[2]{0} parameter(0)
  %b = f32[3]{0} parameter(1)
  %scaled = f32[2]{0} negate(%a)
  %both = ((f32[2], f32[3]), (f32[4], f32[6])) all-gather-start(%scaled, %b), replica_groups={{0,4}}
  %gathered = (f32[4], f32[6]) all-gather-done(%both)
  %second = f32[6]{0} get-tuple-element(%gathered), index=1
  %matrix = f32[3,2]{1,0} bitcast(%second)
  ROOT %again = f32[12,2]{1,0} all-gather(%matrix), replica_groups={{0,1,2,3}}, metadata={op_name="jit(step)/jvp()/dot"}
}
"""  # noqa: E501


def test_one_of_several_parameters_gathered_at_once_is_a_parameter():
    mesh = {"data": 2, "expert": 4, "model": 1}
    *_, again = collectives(parse(TOGETHER), mesh, 2, ROWS)
    assert (again.size, again.origin) == (96, "parameters")


# As XLA for TPU7x prints a gather that a SparseCore carries out.
CALLED = """HloModule step

%called (input: f32[3]) -> f32[6] {
  %input = f32[3]{0} parameter(0)
  ROOT %gathered = f32[6]{0} all-gather(%input), replica_groups={{0,1}}
}

ENTRY %main (a: f32[6]) -> f32[6] {
  %a = f32[6]{0} parameter(0)
  %part = f32[3]{0} slice(%a), slice={[0:3]}
  %prepared = token[] custom-call(), custom_call_target="PrepareAsyncCallDone"
  %start = ((f32[3]{0}, token[]), f32[6]{0}) call-start(%part, %prepared), to_apply=%called
  ROOT %done = f32[6]{0} call-done(%start)
}
"""


# libtpu 0.0.50 prints the argument at the call's update.
STARTED = (
    "%start = ((f32[3]{0}, token[]), f32[6]{0}) call-start(%part, %prepared), to_apply=%called"
)
UPDATED = """%begun = ((), (), (s32[1]{0})) call-start(), to_apply=%called
  %start = ((f32[3]{0}), f32[6]{0}) call-update(%begun, %part)"""


@pytest.mark.parametrize("call", [STARTED, UPDATED])
def test_a_parameter_gathered_in_a_called_computation_is_a_parameter(call):
    program = parse(CALLED.replace(STARTED, call))
    (gathered,) = collectives(program, {"data": 2, "expert": 1, "model": 1}, 1, ROWS)
    assert (gathered.kind, gathered.origin) == ("all-gather", "parameters")


AGAIN = """  %done = f32[6]{0} call-done(%start)
  ROOT %whole = f32[12]{0} all-gather(%done), replica_groups={{0,1}}
"""


def test_what_a_called_computation_gathers_in_part_is_a_parameter_when_it_is_whole():
    program = parse(CALLED.replace("  ROOT %done = f32[6]{0} call-done(%start)\n", AGAIN))
    found = collectives(program, {"data": 2, "expert": 2, "model": 1}, 1, ROWS)
    assert [gathered.origin for gathered in found] == ["parameters"] * 2


# As XLA for GPUs prints a slice of a stack that is taken beside other work, gathers over two axes
# in turn, and each row's loss and its language at once.
ON_GPUS = """HloModule step

%sliced (stack: f32[4,3]) -> f32[1,3] {
  %stack = f32[4,3]{1,0} parameter(0)
  ROOT %slice = f32[1,3]{1,0} slice(%stack), slice={[0:1],[0:3]}
}

ENTRY %main (a: f32[4,3], b: s32[2]) -> f32[48] {
  %a = f32[4,3]{1,0} parameter(0)
  %b = s32[2]{0} parameter(1)
  %begun = ((f32[4,3]{1,0}), f32[1,3]{1,0}, u32[]) fusion-start(%a), kind=kLoop, calls=%sliced
  %layer = f32[1,3]{1,0} fusion-done(%begun)
  %part = f32[3]{0} bitcast(%layer)
  %start = (f32[3]{0}, f32[6]{0}) all-gather-start(%part), replica_groups={{0,1},{2,3}}
  %done = f32[6]{0} all-gather-done(%start)
  %again = f32[24]{0} all-gather(%done), replica_groups={{0,1,2,3}}
  %loss = f32[2]{0} negate(%again)
  %start.2 = ((f32[2]{0}, s32[2]{0}), (f32[8]{0}, s32[8]{0})) all-gather-start(%loss, %b), replica_groups={{0,1,2,3}}, metadata={op_name="jit(step)/jvp()/shard_map"}
  %done.2 = (f32[8]{0}, s32[8]{0}) all-gather-done(%start.2)
  ROOT %out = f32[48]{0} copy(%again)
}
"""  # noqa: E501


def test_asynchronous_gathers_on_gpus_are_of_parameters_and_reports():
    gathered = collectives(parse(ON_GPUS), {"data": 2, "expert": 2, "model": 1}, 1, 8)
    assert [one.origin for one in gathered] == ["parameters", "parameters", "reports"]


# As XLA for GPUs prints Adafactor's statistics, each row's loss and its language gathered at once:
# named for the loss, or without a name. `%kept` makes it a gather of activations, too.
JOINED = """HloModule step

ENTRY %main (a: f32[2,3], b: s32[2]) -> f32[8] {
  %a = f32[2,3]{1,0} parameter(0)
  %b = s32[2]{0} parameter(1)
  %squares = f32[3,4]{1,0} negate(%a), metadata={op_name="jit(step)/jit(_where)/select_n"}
  %loss = f32[2]{0} negate(%a), metadata={op_name="jit(step)/jvp()/reduce_sum"}
  %kept = f32[2,5]{1,0} negate(%a), metadata={op_name="jit(step)/jvp()/mul"}
  %start = ((f32[3,4], f32[2], s32[2]), (f32[12,4], f32[8], s32[8])) all-gather-start(%squares, %loss, %b), replica_groups={{0,1,2,3}}NAME
  %done = (f32[12,4], f32[8], s32[8]) all-gather-done(%start)
  ROOT %out = f32[8]{0} get-tuple-element(%done), index=1
}
"""  # noqa: E501
NAMED = ', metadata={op_name="jit(step)/jvp()/reduce_sum"}'


@pytest.mark.parametrize("name", ["", NAMED])
def test_each_of_several_arrays_gathered_at_once_has_its_own_origin(name):
    mesh, text = {"data": 1, "expert": 4, "model": 1}, JOINED.replace("NAME", name)
    gathered = collectives(parse(text), mesh, 0, 8)
    sizes = {one.origin: one.size for one in gathered}
    assert sizes == {"optimizer": 12 * 4 * 4, "reports": 2 * 8 * 4}
    with_kept = (
        text.replace("(%squares, %loss, %b)", "(%squares, %loss, %kept)")
        .replace("s32[2])", "f32[2,5])")
        .replace("s32[8])", "f32[8,5])")
    )
    sizes = {one.origin: one.size for one in collectives(parse(with_kept), mesh, 0, 8)}
    assert sizes == {"optimizer": 12 * 4 * 4, "reports": 8 * 4, "activations": 8 * 5 * 4}


# As XLA for TPUs prints each row's loss and its language, gathered for the step's results.
REPORTED = """HloModule step

ENTRY %main (a: f32[8,64], b: s32[2]) -> (f32[8], s32[8]) {
  %a = f32[8,64]{1,0} parameter(0)
  %b = s32[2]{0} parameter(1)
  %row = f32[1,1,2]{2,1,0} negate(%a), metadata={op_name="jit(step)/jvp()/shard_map"}
  %rows = f32[4,1,2]{2,1,0} all-gather(%row), replica_groups={{0,1,2,3}}, metadata={op_name="jit(step)/jvp()/shard_map"}
  %tiled = s32[1,1,2]{2,1,0} bitcast(%b)
  %languages = s32[4,1,2]{2,1,0} all-gather(%tiled), replica_groups={{0,1,2,3}}, metadata={op_name="batch.language"}
  ROOT %results = (f32[4,1,2], s32[4,1,2]) tuple(%rows, %languages)
}
"""  # noqa: E501


@pytest.mark.parametrize(
    ("rows", "origins"), [(8, ["reports"] * 2), (4, ["activations", "optimizer"])]
)
def test_a_number_per_row_is_a_report_whatever_its_tiles(rows, origins):
    gathered = collectives(parse(REPORTED), {"data": 4, "expert": 1, "model": 1}, 0, rows)
    assert [one.origin for one in gathered] == origins


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
