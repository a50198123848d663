"""The pure parts of `make accelerator`: the summary of a profile, the choice of sizes, the page."""

import random

import pytest
from hlo_programs import program_text

from benchmarks.accelerator.profile_summary import (
    KINDS,
    Event,
    covered,
    kind_of_name,
    kinds_of,
    summary,
    without_nested,
)
from benchmarks.accelerator.sizes import SMALL, WHOLE, candidates
from pipeline.planning.hlo.program import parse

PROGRAM = program_text("one_of_each_kind")


def test_a_program_gives_the_kind_of_each_instruction():
    kinds = kinds_of(parse(PROGRAM))
    assert [kinds[name] for name in ("fusion.1", "call.1", "call.2", "copy.1")] == [
        "matrix products",
        "attention kernels",
        "matrix products",
        "copies",
    ]
    assert kinds["all-gather-start.1"] == "collectives"


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("ncclDevKernel_AllGather_RING_LL", "collectives"),
        ("nvjet_hsh_128x256_64x4", "matrix products"),
        ("MemcpyD2D", "copies"),
        ("loop_add_fusion_3", "other"),
    ],
)
def test_an_event_without_instruction_is_known_by_its_kernel(kernel, kind):
    assert kind_of_name(kernel.lower()) == kind


def test_a_profile_becomes_shares():
    """Two streams of a second: a loop with products, a gap, a gather half beside a product."""
    kinds = {"while.1": "while", "dot": "matrix products", "gather": "collectives"}
    events = [
        Event("compute", 0, 600, "while.1", ""),
        Event("compute", 0, 300, "dot", ""),
        Event("compute", 300, 500, "dot", ""),
        Event("collectives", 400, 700, "gather", ""),
        Event("compute", 900, 1000, "", "memcpy"),
    ]
    found = summary(events, kinds)
    assert found.seconds == pytest.approx(1000e-9)
    expected = dict.fromkeys(KINDS, 0.0)
    expected |= {"matrix products": 0.5, "collectives": 0.3, "copies": 0.1}
    assert found.shares == pytest.approx(expected)
    assert found.idle == pytest.approx(0.2)
    assert found.collectives_alone == pytest.approx(0.2)  # 500 to 700


def test_an_empty_profile_is_an_error():
    with pytest.raises(ValueError, match="inside the trace"):
        summary([], {})


@pytest.mark.parametrize("seed", range(5))
def test_nested_events_share_the_time_of_the_outermost(seed):
    """Times of properly nested events add up to the union of them all."""
    draw = random.Random(seed)

    def nested(start: int, stop: int, depth: int) -> list[Event]:
        events = [Event("line", start, stop, f"{start}-{stop}", "")]
        cuts = sorted(draw.sample(range(start, stop + 1), min(4, stop - start)))
        if depth and len(cuts) == 4:
            events += nested(cuts[0], cuts[1], depth - 1) + nested(cuts[2], cuts[3], depth - 1)
        return events

    events = nested(0, 500, 3) + nested(600, 900, 3)
    draw.shuffle(events)
    pieces = [piece for _, own in without_nested(events) for piece in own]
    assert sum(stop - start for start, stop in pieces) == 800 == covered(pieces)
    seconds = [any(start <= at < stop for start, stop in pieces) for at in range(1000)]
    assert sum(seconds) == 800


@pytest.mark.parametrize(("sizes", "devices"), [(WHOLE, 1), (WHOLE, 8), (SMALL, 1), (SMALL, 4)])
def test_every_size_divides_and_larger_ones_come_first(sizes, devices):
    for recipe in (sizes.dense, sizes.sparse):
        found = list(candidates(recipe, sizes, devices))
        rows = [one.rows for one in found]
        assert rows[: len(sizes.rows)] == sorted(rows[: len(sizes.rows)], reverse=True)
        assert all(one.rows % devices == 0 for one in found)
