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


def metrics(decoder=1e-4, encoder=1e-4):
    return step_metrics()._replace(router_moves=np.float32([decoder, encoder]))


@pytest.fixture
def printed():
    return []


@pytest.fixture
def watch(tmp_path, printed):
    return RouterWatch("pretrain", tmp_path, [*SITES, *ROUTERS], printed.append)


def feed(watch, first, count, **moves):
    for _ in range(count):
        watch.add(metrics(**moves))
    return watch.look(first + count)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_fault_is_recorded_once_until_it_is_mended(watch, printed, tmp_path):
    feed(watch, 0, WINDOW, decoder=0)
    feed(watch, WINDOW, 25, decoder=0)
    assert len(printed) == 1
    assert "pretrain: alarm at step 50: decoder layer 1: the router has not moved" in printed[0]
    assert feed(watch, 75, 1) == []
    assert [fault.kind for fault in feed(watch, 76, WINDOW, decoder=0)] == ["frozen router"]
    found = [(line["step"], line["layer"]) for line in lines(tmp_path / "alarms.jsonl")]
    assert found == [(50, "decoder layer 1"), (126, "decoder layer 1")]


def test_an_expert_is_dead_when_two_looks_find_it(watch, printed, monkeypatch):
    """And only those that both found; one that lives again is forgotten."""
    looks = iter([(13,), (4, 13), (4,), (), (4,), ()])

    def found(*_):
        dead = next(looks)
        return [RouterFault("decoder layer 0", "dead experts", dead)] if dead else []

    monkeypatch.setattr(alarms, "router_faults", found)
    named = [feed(watch, SETTLING + 25 * at, 25) for at in range(6)]
    experts = [[fault.experts for fault in look] for look in named]
    assert experts == [[], [(13,)], [(4,)], [], [], []]
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


def test_steps_in_flight_are_not_waited_for(watch, monkeypatch):
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


@pytest.fixture
def log(tmp_path, printed):
    recipe = named.get("switch-demo")
    return SkippedSteps(recipe, tmp_path, SITES, LANGUAGES, printed.append)


def test_a_broken_run_stops_with_its_reason(log, tmp_path):
    """The message names the language of the nonfinite row and the layer of the backward pass."""
    broken = step_metrics(skipped=True, squares=(np.nan, np.nan, 1.0), rows=(5.0, np.nan))
    with pytest.raises(ArtifactError) as error:
        log.record(0, [broken] * 20)
    for part in (
        f"skipped its last {MOST_SKIPPED} updates",
        "stopped being finite in encoder layer 1 (feed_forward.up)",
        "its 1 rows were in yo.",
        "start again with another --out",  # this directory refuses other settings
    ):
        assert part in str(error.value)
    skipped = lines(tmp_path / "skipped.jsonl")
    assert [one["step"] for one in skipped] == list(range(1, MOST_SKIPPED + 1))
    assert skipped[0]["languages"] == ["yo"]


def test_exploded_gradients_name_their_layer_and_all_languages(log, printed, tmp_path):
    log.record(0, [step_metrics(skipped=True, squares=(1.0, 1e12, 1.0))] * 2)
    (first, _) = lines(tmp_path / "skipped.jsonl")
    assert "the gradient norm was 1e+06" in first["where"]
    assert "encoder layer 1" in first["where"]
    assert first["languages"] == ["sw", "yo"]
    assert printed[0].startswith("pretrain: Update 1 was skipped: ")


def test_only_skips_in_a_row_stop_a_run(log, tmp_path):
    most = [step_metrics(skipped=True)] * (MOST_SKIPPED - 1)
    log.record(0, [*most, step_metrics(), *most])
    with pytest.raises(ArtifactError, match="skipped its last 10 updates"):
        log.record(2 * MOST_SKIPPED - 1, most[:1])
    steps = [line["step"] for line in lines(tmp_path / "skipped.jsonl")]
    assert steps == [*range(1, 10), *range(11, 21)]
