"""Programs are parsed from XLA's text: loops, memory spaces, products, bytes."""
# ruff: noqa: E501

import re

import jax
import jax.numpy as jnp
import pytest
from hlo_programs import program_text

from pipeline.planning.hlo.program import parse
from pipeline.planning.hlo.work import products, traffic_bytes

# As XLA for TPUs prints it, shortened: a loop of 5 in a loop that counts by two to 6.
NESTED = program_text("nested_loops")


def test_of_nested_loops_each_trip_is_counted_and_only_what_moves_in_main_memory():
    """256 bytes each: 15 slices of the stack are read, with a 4-byte index each; b and the result
    move once; each of 15 + 3 trips reads the counter and its step."""
    program = parse(NESTED)
    times = {name: program.executions[name] for name in ("main", "outer", "inner", "fused")}
    assert times == {"main": 1, "outer": 3, "inner": 15, "fused": 15}
    flops = 15 * 2 * 8**3
    assert products(program) == (flops, 6 * flops)  # passes of float32, at `highest`
    assert traffic_bytes(program) == 15 * (256 + 4) + 2 * 256 + (15 + 3) * 8


# XLA for GPUs: a product of a slice, and the library's space for intermediate results.
LIBRARY_CALL = program_text("library_call")
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


BRANCH = "(x: f32[2]) -> f32[2] {\n  ROOT %x = f32[2]{0} parameter(0)\n}\n"


@pytest.mark.parametrize(
    "named",
    ["branch_computations={%a, %b}", "true_computation=%a, false_computation=%b"],
)
def test_branches_are_executed_however_they_are_named(named):
    text = f"""%a {BRANCH}
%b {BRANCH}
ENTRY %main (chosen: pred[], x: f32[2]) -> f32[2] {{
  %chosen = pred[] parameter(0)
  %x = f32[2]{{0}} parameter(1)
  ROOT %out = f32[2]{{0}} conditional(%chosen, %x, %x), {named}
}}
"""
    assert parse(text).executions == {"a": 1, "b": 1, "main": 1}


def test_a_text_without_an_entry_is_refused():
    with pytest.raises(ValueError, match="no ENTRY"):
        parse("nothing")


@pytest.mark.parametrize(
    "window",
    [  # as printed for a TPU v5p: a product of 16 experts, and its transpose, padded instead
        "size=16 stride=15 lhs_dilate=16",
        "size=16 stride=16 pad=15_15 lhs_dilate=15 rhs_reversal=1",
    ],
)
def test_padding_of_batched_products_is_not_counted(window):
    text = f"""ENTRY %main (l: bf16[1], r: bf16[1]) -> bf16[1] {{
  %l = bf16[16,1024,2080]{{2,1,0}} parameter(0)
  %r = bf16[16,2080,3072]{{2,1,0}} parameter(1)
  ROOT %c = bf16[16,1024,3072]{{2,1,0}} convolution(%l, %r), window={{{window}}}, dim_labels=0bf_0io->0bf
}}
"""
    assert products(parse(text)).flops == 2 * 16 * 1024 * 2080 * 3072


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
