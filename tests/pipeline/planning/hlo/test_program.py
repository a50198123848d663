"""Programs are parsed from XLA's text: loops, memory spaces, products, bytes."""
# ruff: noqa: E501

import re

import jax
import jax.numpy as jnp
import pytest

from pipeline.planning.hlo.program import parse
from pipeline.planning.hlo.work import products, traffic_bytes

# As XLA for TPUs prints it, shortened: a loop of 5 in a loop that counts by two to 6.
NESTED = """HloModule jit_step, is_scheduled=true

%fused (param_0: f32[7,8,8], param_1: s32[]) -> f32[8,8] {
  %param_0 = f32[7,8,8]{2,1,0:T(8,128)} parameter(0)
  %param_1 = s32[]{:T(128)} parameter(1)
  %slice = f32[1,8,8]{2,1,0:T(8,128)} dynamic-slice(%param_0, %param_1), dynamic_slice_sizes={1,8,8}
  ROOT %squeezed = f32[8,8]{1,0:T(8,128)} bitcast(%slice)
}

%inner (p: (s32[], f32[7,8,8], f32[8,8])) -> (s32[], f32[7,8,8], f32[8,8]) {
  %p = (s32[]{:T(128)}, f32[7,8,8]{2,1,0:T(8,128)}, /*index=2*/f32[8,8]{1,0:T(8,128)S(1)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  %stack = f32[7,8,8]{2,1,0:T(8,128)} get-tuple-element(%p), index=1
  %x = f32[8,8]{1,0:T(8,128)S(1)} get-tuple-element(%p), index=2
  %one = f32[8,8]{1,0:T(8,128)S(1)} fusion(%stack, %i), kind=kLoop, calls=%fused
  %y = f32[8,8]{1,0:T(8,128)S(1)} convolution(%x, %one), dim_labels=bf_io->bf, operand_precision={highest,highest}
  %step = s32[]{:T(128)} constant(1)
  %next = s32[]{:T(128)S(6)} add(%i, %step)
  ROOT %t = (s32[]{:T(128)}, f32[7,8,8]{2,1,0:T(8,128)}, f32[8,8]{1,0:T(8,128)S(1)}) tuple(%next, %stack, %y)
}

%until_5 (p: (s32[], f32[7,8,8], f32[8,8])) -> pred[] {
  %bound = s32[]{:T(128)} constant(5)
  %p.1 = (s32[]{:T(128)}, f32[7,8,8]{2,1,0:T(8,128)}, f32[8,8]{1,0:T(8,128)S(1)}) parameter(0)
  %i.1 = s32[]{:T(128)} get-tuple-element(%p.1), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i.1, %bound), direction=LT
}

%outer (p: (s32[], f32[7,8,8], f32[8,8])) -> (s32[], f32[7,8,8], f32[8,8]) {
  %p.2 = (s32[]{:T(128)}, f32[7,8,8]{2,1,0:T(8,128)}, f32[8,8]{1,0:T(8,128)S(1)}) parameter(0)
  %i.3 = s32[]{:T(128)} get-tuple-element(%p.2), index=0
  %two = s32[]{:T(128)} constant(2)
  %next.1 = s32[]{:T(128)S(6)} add(%two, %i.3)
  %first = s32[]{:T(128)S(6)} constant(0)
  %stack.1 = f32[7,8,8]{2,1,0:T(8,128)} get-tuple-element(%p.2), index=1
  %x.1 = f32[8,8]{1,0:T(8,128)S(1)} get-tuple-element(%p.2), index=2
  %t.2 = (s32[]{:T(128)}, f32[7,8,8]{2,1,0:T(8,128)}, f32[8,8]{1,0:T(8,128)S(1)}) tuple(%first, %stack.1, %x.1)
  %w.1 = (s32[]{:T(128)}, f32[7,8,8]{2,1,0:T(8,128)}, f32[8,8]{1,0:T(8,128)S(1)}) while(%t.2), condition=%until_5, body=%inner
  %x.2 = f32[8,8]{1,0:T(8,128)S(1)} get-tuple-element(%w.1), index=2
  ROOT %t.3 = (s32[]{:T(128)}, f32[7,8,8]{2,1,0:T(8,128)}, f32[8,8]{1,0:T(8,128)S(1)}) tuple(%next.1, %stack.1, %x.2)
}

%until_6 (p: (s32[], f32[7,8,8], f32[8,8])) -> pred[] {
  %bound.1 = s32[]{:T(128)} constant(6)
  %p.3 = (s32[]{:T(128)}, f32[7,8,8]{2,1,0:T(8,128)}, f32[8,8]{1,0:T(8,128)S(1)}) parameter(0)
  %i.2 = s32[]{:T(128)} get-tuple-element(%p.3), index=0
  ROOT %lt.1 = pred[]{:T(512)} compare(%i.2, %bound.1), direction=LT
}

ENTRY %main (a: f32[7,8,8], b: f32[8,8]) -> f32[8,8] {
  %a = f32[7,8,8]{2,1,0:T(8,128)} parameter(0)
  %b = f32[8,8]{1,0:T(8,128)} parameter(1)
  %zero = s32[]{:T(128)} constant(0)
  %c = f32[8,8]{1,0:T(8,128)S(1)} copy(%b)
  %t.1 = (s32[]{:T(128)}, f32[7,8,8]{2,1,0:T(8,128)}, f32[8,8]{1,0:T(8,128)S(1)}) tuple(%zero, %a, %c)
  %w = (s32[]{:T(128)}, f32[7,8,8]{2,1,0:T(8,128)}, f32[8,8]{1,0:T(8,128)S(1)}) while(%t.1), condition=%until_6, body=%outer
  %r = f32[8,8]{1,0:T(8,128)S(1)} get-tuple-element(%w), index=2
  ROOT %out = f32[8,8]{1,0:T(8,128)} copy(%r)
}
"""


def test_executions_are_products_of_trip_counts():
    program = parse(NESTED)
    assert program.executions["main"] == 1
    assert program.executions["outer"] == 3
    assert program.executions["inner"] == program.executions["fused"] == 15


def test_products_are_counted_per_execution_and_pass():
    found = products(parse(NESTED))
    assert found.flops == 15 * 2 * 8**3
    assert found.passes == 6 * found.flops  # float32, at `highest`


def test_only_slices_and_only_main_memory_are_counted():
    """256 bytes each: 15 slices of the stack are read, with a 4-byte index each; b and the result
    move once; each of 15 + 3 trips reads the counter and its step."""
    assert traffic_bytes(parse(NESTED)) == 15 * (256 + 4) + 2 * 256 + (15 + 3) * 8


# XLA for GPUs: a product of a slice, and the library's space for intermediate results.
LIBRARY_CALL = """
%product (a: f32[6,2,4], b: s32[], c: f32[4,8]) -> (f32[2,8], s8[33554432]) {
  %a = f32[6,2,4]{2,1,0} parameter(0)
  %b = s32[] parameter(1)
  %c = f32[4,8]{1,0} parameter(2)
  %slice = f32[1,2,4]{2,1,0} dynamic-slice(%a, %b), dynamic_slice_sizes={1,2,4}
  %rows = f32[2,4]{1,0} bitcast(%slice)
  ROOT %call = (f32[2,8]{1,0}, s8[33554432]{0}) custom-call(%rows, %c), custom_call_target="__cublas$lt$matmul", backend_config={"lhs_contracting_dimensions":["1"]}
}

ENTRY %main (x: f32[6,2,4], i: s32[], c: f32[4,8]) -> f32[2,8] {
  %x = f32[6,2,4]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %c.1 = f32[4,8]{1,0} parameter(2)
  %fusion = (f32[2,8]{1,0}, s8[33554432]{0}) fusion(%x, %i, %c.1), kind=kCustom, calls=%product
  %result = f32[2,8]{1,0} get-tuple-element(%fusion), index=0
  ROOT %out = f32[2,8]{1,0} copy(%result)
}
"""
BEGUN = """  %begun = ((f32[6,2,4]{2,1,0}, s32[], f32[4,8]{1,0}), (f32[2,8]{1,0}, s8[33554432]{0}), u32[]) fusion-start(%x, %i, %c.1), kind=kCustom, calls=%product
  %fusion = (f32[2,8]{1,0}, s8[33554432]{0}) fusion-done(%begun)
"""


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_librarys_space_for_intermediate_results_is_no_traffic(asynchronous):
    """Read are the slice, its index and the matrix; the product is written, and copied."""
    (line,) = re.findall(r"  %fusion = .*\n", LIBRARY_CALL)
    program = parse(LIBRARY_CALL.replace(line, BEGUN) if asynchronous else LIBRARY_CALL)
    assert traffic_bytes(program) == 4 * (8 + 1 + 32 + 16) + 2 * 4 * 16
    assert products(program).flops == 2 * 2 * 8 * 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("constant(5)", "parameter(1)", r"until_5 has bounds \[\]"),
        ("add(%i, %step)", "multiply(%i, %step)", "starts at 0 with step None"),
        ("constant(0)", "partition-id()", "starts at None"),
    ],
)
def test_a_loop_that_does_not_count_to_a_constant_is_refused(old, new, message):
    with pytest.raises(ValueError, match=message):
        products(parse(NESTED.replace(old, new)))


@pytest.mark.parametrize(
    "named",
    [
        "branch_computations={%body, %other}",
        "true_computation=%body, false_computation=%other",
    ],
)
def test_branches_are_executed_however_they_are_named(named):
    text = f"""HloModule step

%body (x: f32[2]) -> f32[2] {{
  ROOT %x = f32[2]{{0}} parameter(0)
}}

%other (x: f32[2]) -> f32[2] {{
  ROOT %x = f32[2]{{0}} parameter(0)
}}

ENTRY %main (chosen: pred[], x: f32[2]) -> f32[2] {{
  %chosen = pred[] parameter(0)
  %x = f32[2]{{0}} parameter(1)
  ROOT %out = f32[2]{{0}} conditional(%chosen, %x, %x), {named}
}}
"""
    assert parse(text).executions == {"body": 1, "other": 1, "main": 1}


def test_a_text_without_an_entry_is_refused():
    with pytest.raises(ValueError, match="no ENTRY"):
        parse("nothing")


@pytest.mark.parametrize(
    ("line", "flops"),
    [  # as printed for a TPU v5p, each beside the product it was made of
        (  # x @ w of 16 experts: (16, 1024, 2080) by (16, 2080, 3072)
            "bf16[16,1024,3072]{2,1,0} convolution(%l, %r), window={size=16 stride=15 "
            "lhs_dilate=16}, dim_labels=0bf_0io->0bf",
            2 * 16 * 1024 * 2080 * 3072,
        ),
        (  # its transpose, padded instead
            "bf16[16,1024,3072]{2,1,0} convolution(%l, %r), window={size=16 stride=16 pad=15_15 "
            "lhs_dilate=15 rhs_reversal=1}, dim_labels=0bf_0io->0bf",
            2 * 16 * 1024 * 2080 * 3072,
        ),
    ],
)
def test_padding_of_batched_products_is_not_counted(line, flops):
    text = f"""ENTRY %main (l: bf16[1], r: bf16[1]) -> bf16[1] {{
  %l = bf16[16,1024,2080]{{2,1,0}} parameter(0)
  %r = bf16[16,2080,3072]{{2,1,0}} parameter(1)
  ROOT %c = {line}
}}
"""
    assert products(parse(text)).flops == flops


def compiled(layers):
    def function(x, weights):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)[0]

    x = jax.ShapeDtypeStruct((32, 48), jnp.float32)
    weights = jax.ShapeDtypeStruct((layers, 48, 48), jnp.float32)
    return jax.jit(function).lower(x, weights).compile()


def test_a_scan_is_counted_as_often_as_it_runs_where_xla_counts_it_once():
    programs = {layers: compiled(layers) for layers in (3, 12)}
    for layers, program in programs.items():
        assert products(parse(program.as_text())).flops == layers * 2 * 32 * 48 * 48
    once, twice = (program.cost_analysis()["flops"] for program in programs.values())
    assert twice == pytest.approx(once, rel=0.01)
