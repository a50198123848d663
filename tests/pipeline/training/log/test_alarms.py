"""The watch: each fault is said once, and again after it was mended."""

import json

import jax
import numpy as np
import pytest
from step_metrics import LANGUAGES, SITES, step_metrics

from model.step import GradientSite
from pipeline.errors import ArtifactError
from pipeline.recipe import named
from pipeline.training.log import alarms
from pipeline.training.log.alarms import MOST_SKIPPED, RouterWatch, SkippedSteps
from pipeline.training.log.live_view import SETTLING, WINDOW, RouterFault

ROUTERS = [
    GradientSite((2, 1), "decoder layer 1", "feed_forward.router"),  # not in the forward order
    GradientSite((1, 1), "encoder layer 1", "feed_forward.router"),
]


def metrics(decoder=1e-4, encoder=1e-4, **settings):
    return step_metrics(**settings)._replace(router_moves=np.float32([decoder, encoder]))


def feed(watch, first, count, **moves):
    for _ in range(count):
        watch.add(metrics(**moves))
    return watch.look(first + count)


def watched(tmp_path):
    printed = []
    return RouterWatch("pretrain", tmp_path, [*SITES, *ROUTERS], printed.append), printed


def test_a_fault_is_recorded_once_until_it_is_mended(tmp_path):
    watch, printed = watched(tmp_path)
    feed(watch, 0, WINDOW, decoder=0)
    feed(watch, WINDOW, 25, decoder=0)
    assert len(printed) == 1
    assert "pretrain: alarm at step 50: decoder layer 1: the router has not moved" in printed[0]
    assert feed(watch, 75, 1) == []
    assert [fault.kind for fault in feed(watch, 76, WINDOW, decoder=0)] == ["frozen router"]
    lines = [json.loads(line) for line in (tmp_path / "alarms.jsonl").read_text().splitlines()]
    assert [(line["step"], line["layer"]) for line in lines] == [
        (50, "decoder layer 1"),
        (126, "decoder layer 1"),
    ]


def test_an_expert_is_dead_when_two_looks_find_it(tmp_path, monkeypatch):
    """And only those that both found; one that lives again is forgotten."""
    looks = iter([(13,), (4, 13), (4,), (), (4,), ()])

    def found(*_):
        dead = next(looks)
        return [RouterFault("decoder layer 0", "dead experts", dead)] if dead else []

    monkeypatch.setattr(alarms, "router_faults", found)
    watch, printed = watched(tmp_path)
    named = [feed(watch, SETTLING + 25 * at, 25) for at in range(6)]
    assert [[fault.experts for fault in look] for look in named] == [
        [],
        [(13,)],
        [(4,)],
        [],
        [],
        [],
    ]
    assert [line.rpartition("expert ")[2] for line in printed] == ["13.", "4."]


@pytest.mark.parametrize(
    ("warm_up", "begun", "from_step"),
    [(50, 0, SETTLING), (10_000, 0, 10_000), (10_000, 100_000, 100_000 + SETTLING)],
)
def test_experts_without_tokens_are_no_fault_while_routers_settle(
    tmp_path, warm_up, begun, from_step
):
    """Other faults are named at once. Those of an upcycled run begin at the dense run's step."""
    watch = RouterWatch("pretrain", tmp_path, [*SITES, *ROUTERS], print, warm_up, begun)
    idle = metrics()
    layers = idle.losses.layers._replace(load=np.int32([[1_000, 2_000, 1_000, 0], [1_000] * 4]))
    idle = idle._replace(losses=idle.losses._replace(layers=layers))
    for step, alarmed in ((from_step - 50, False), (from_step, False), (from_step + 50, False)):
        for _ in range(WINDOW):
            watch.add(idle)
        assert bool(watch.look(step)) is alarmed, step
    watch.add(idle)
    assert [fault.experts for fault in watch.look(from_step + 75)] == [(3,)]


def test_steps_in_flight_are_not_waited_for(tmp_path, monkeypatch):
    watch, _ = watched(tmp_path)
    fetched = []
    monkeypatch.setattr(jax, "device_get", lambda parts: fetched.append(len(parts)) or parts)
    for _ in range(3):
        watch.add(metrics())
    watch.look(2, in_flight=1)
    watch.look(3)
    assert fetched == [2, 1]


def test_a_dense_network_is_not_watched(tmp_path):
    watch = RouterWatch("pretrain", tmp_path, SITES, print)
    watch.add(step_metrics())
    assert watch.look(1) == []


def skip(out, count, **settings):
    """Records `count` skipped steps; returns what was printed."""
    printed = []
    recipe = named.get("switch-demo")
    log = SkippedSteps(recipe, out, SITES, LANGUAGES, printed.append)
    log.record(0, [step_metrics(skipped=True, **settings)] * count)
    return printed


def lines(out):
    return [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]


def test_a_broken_run_stops_with_its_reason(tmp_path):
    """The message names the language of the nonfinite row and the layer of the backward pass."""
    with pytest.raises(ArtifactError) as error:
        skip(tmp_path, 20, squares=(np.nan, np.nan, 1.0), rows=(5.0, np.nan))
    assert f"skipped its last {MOST_SKIPPED} updates" in str(error.value)
    assert "stopped being finite in encoder layer 1 (feed_forward.up)" in str(error.value)
    assert "its 1 rows were in yo." in str(error.value)
    assert "start again with another --out" in str(
        error.value
    )  # this directory refuses other settings
    skipped = lines(tmp_path)
    assert [one["step"] for one in skipped] == list(range(1, MOST_SKIPPED + 1))
    assert skipped[0]["languages"] == ["yo"]


def test_exploded_gradients_name_their_layer_and_all_languages(tmp_path):
    printed = skip(tmp_path, 2, squares=(1.0, 1e12, 1.0))
    (first, _) = lines(tmp_path)
    assert "the gradient norm was 1e+06" in first["where"]
    assert "encoder layer 1" in first["where"]
    assert first["languages"] == ["sw", "yo"]
    assert printed[0].startswith("pretrain: Update 1 was skipped: ")


def test_only_skips_in_a_row_stop_a_run(tmp_path):
    log = SkippedSteps(named.get("switch-demo"), tmp_path, SITES, LANGUAGES, lambda _: None)
    most = [step_metrics(skipped=True)] * (MOST_SKIPPED - 1)
    log.record(0, [*most, step_metrics(), *most])
    with pytest.raises(ArtifactError, match="skipped its last 10 updates"):
        log.record(2 * MOST_SKIPPED - 1, [step_metrics(skipped=True)])
    assert [line["step"] for line in lines(tmp_path)] == [*range(1, 10), *range(11, 21)]
