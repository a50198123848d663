"""Transfers between slices, in a program of two blocks."""

import pytest

from pipeline.planning.between_slices import SliceTransfer, sender, slice_transfers
from pipeline.planning.hlo.collectives import collectives
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
