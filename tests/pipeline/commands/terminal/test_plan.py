"""`mswitch plan` from the command line, on simulated devices and on TPUs where libtpu is."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import cli
from pipeline.commands.plan import Plan
from pipeline.errors import ArtifactError
from pipeline.planning import plan as planning
from pipeline.planning.compiled_step import in_own_process
from pipeline.planning.figures import Figure
from pipeline.recipe import named, tables
from pipeline.recipe.overrides import override
from pipeline.terminal import Terminal

needs_compiler = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu, the compiler for TPUs, is not installed: make install EXTRAS=demo,dev,plan",
)
needs_gpu_compiler = pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda12_plugin") is None,
    reason="JAX's CUDA plugin, the compiler for GPUs, is not installed: "
    "make install EXTRAS=demo,dev,plan-gpu",
)
SMALL = ("model.vocabulary_rows=1024", "model.layers=12", "rows=16", "inputs=64")
GROUPS = ("model.switch.encoder_group_tokens=64", "model.switch.decoder_group_tokens=14")
POOLS = ("model.switch.encoder_pooled_groups=8", "model.switch.decoder_pooled_groups=8")


def words(recipe: str, topology: str, *settings: str) -> list[str]:
    """Returns a command line."""
    setting = ["--set", *settings] if settings else []
    return ["plan", f"--recipe={recipe}", f"--topology={topology}", *setting]


def plan(tmp_path, *given: str, more: tuple[str, ...] = ()) -> dict:
    """Runs the command in this process and returns its file."""
    out = tmp_path / "plan.json"
    assert cli.run([*words(*given), *more, f"--out={out}"]) == 0
    return with_figures(json.loads(out.read_text()))


def with_figures(written: dict) -> dict:
    assert {figure["mark"] for figure in written["figures"]} <= {"compiled", "derived", "assumed"}
    return written | {figure["name"]: figure["value"] for figure in written["figures"]}


def refusal(capsys, command: list[str]) -> str:
    """Returns the sentence with which a command line is refused."""
    assert cli.run(command) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("mswitch: ")
    return " ".join(printed.split())


@pytest.mark.plans
@pytest.mark.parametrize(("remat", "exchanges"), [("none", 4), ("full", 6)])
def test_on_simulated_devices_collectives_are_the_designs(tmp_path, remat, exchanges):
    """Six scanned blocks per stack: a loop's body counts six times, once per execution."""
    mesh = ("mesh.data=2", "mesh.expert=4", f"remat={remat}")
    found = plan(tmp_path, "switch-demo", "cpu:8", *SMALL, *GROUPS, *mesh)
    assert found["all-to-alls per switch layer"] == exchanges
    assert found["gathers of activations per step"] == 0
    assert found["gathers of parameters per step"] >= 12  # FSDP: every block's
    assert found["as designed"] == "yes"
    least = 3 if remat == "none" else 4  # forward, twice that backward, forward again
    assert (
        found["matrix FLOPs of the program, all devices"] > least / 3 * 0.8 * found["model FLOPs"]
    )


@pytest.mark.plans
def test_memory_is_that_of_the_recipe(tmp_path, capsys):
    """A parameter takes four bytes; eight devices hold an eighth each of a matrix."""
    found = plan(tmp_path, "mt5-demo", "cpu:8")
    memory = found["memory_bytes"]
    parameters = tables.count(named.get("mt5-demo").model)
    assert memory["parameters"] == pytest.approx(4 * parameters / 8, rel=0.2)
    assert found["total"] * 2**30 == sum(memory.values())
    assert "memory per device" in capsys.readouterr().out
    sections = {figure["section"] for figure in found["figures"]}
    assert sections >= {"memory per device", "work per step"}


@pytest.mark.plans
def test_the_first_state_of_an_upcycled_run_is_planned(tmp_path):
    """A dense state goes in and a Switch's comes out; nothing as large is made beside them."""
    more = ("--upcycle=mt5-demo",)
    found = plan(tmp_path, "switch-demo", "cpu:8", *SMALL, *GROUPS, more=more)
    memory, trained = found["upcycling_memory_bytes"], found["memory_bytes"]
    state = trained["parameters"] + trained["optimizer"]
    assert 0 < memory["parameters"] < trained["parameters"]
    assert state < memory["temporaries"] < 1.5 * state
    assert found["while upcycling: total"] * 2**30 == sum(memory.values())


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (words("switch-demo", "cpu:8", "mesh.data=3"), "rows of a batch (32) must be a multiple"),
        ([*words("mt5-demo", "cpu:8"), "--upcycle=mt5-demo"], "name a dense recipe and a Switch"),
        ([*words("switch-demo", "cpu:8"), "--upcycle=switch-demo"], "name a dense recipe and a Sw"),
        (
            [*words("switch-demo", "cpu:8"), "--upcycle=mt5-base"],
            "has another shape than recipe switch-demo",
        ),
        (
            ["plan", "--upcycle=mt5-demo", *words("switch-demo", "cpu:8")[1:], "--set",
             "model.switch.shared_mlp=16"],
            "not a copy of the dense run",
        ),
        ([*words("mt5-demo", "cpu:1"), "--out=notes.json"], "exists and is not a plan"),
        ([*words("mt5-demo", "cpu:1"), "--out=."], "exists and is not a plan"),
        (words("switch-demo", "v9:2x2"), "v5p:4x8x8"),
        ([*words("switch-demo", "cpu:8"), "--price=nan"], "--price was nan; give 0 or more"),
        ([*words("switch-demo", "cpu:8"), "--price=inf"], "--price was inf; give 0 or more"),
    ],
)  # fmt: skip
def test_what_cannot_be_planned_is_refused_before_compiling(
    command, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(planning, "compile_step", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.json").write_text('{"mine": 1}')
    assert said in refusal(capsys, command)


class AbortsItsProcess(tuple):
    """Settings that abort the process which unpickles them, as a failed check in libtpu does."""

    def __reduce__(self):
        return exec, ("import os; os.write(2, b'check failed'); os.abort()",)


def test_a_compiler_that_aborts_is_an_error_of_one_sentence_below_its_own(capfd):
    with pytest.raises(ArtifactError, match="compiler aborted on switch-c for v5p:4x8x8"):
        Plan(recipe="switch-c", topology="v5p:4x8x8", overrides=AbortsItsProcess()).execute()
    assert "check failed" in capfd.readouterr().err


def test_what_libraries_write_of_a_compiler_that_ends_well_is_not_shown(capfd):
    """Python's own lines are shown at once, such as the name of the program that is compiled."""
    in_own_process(exec, "import os, sys; os.write(2, b'no GPU'); print('said', file=sys.stderr)")
    printed = capfd.readouterr().err
    assert "said" in printed
    assert "no GPU" not in printed


def outside(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a new process, where JAX may look for any device."""
    environment = {key: value for key, value in os.environ.items() if "JAX" not in key}
    for key in ("XLA_FLAGS", "TPU_LOAD_LIBRARY"):
        environment.pop(key, None)
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *command],
        capture_output=True,
        text=True,
        env=environment,
    )


@pytest.fixture
def compiled(tmp_path) -> Callable[..., dict]:
    """A function that plans for devices that are not here; "printed" is what it printed."""

    def make(*given: str, more: tuple[str, ...] = ()) -> dict:
        out = tmp_path / "plan.json"
        done = outside(*words(*given), *more, f"--out={out}")
        assert done.returncode == 0, done.stderr
        assert all(line.startswith("plan: ") for line in done.stderr.splitlines())  # no drivers'
        return with_figures(json.loads(out.read_text())) | {"printed": done.stdout}

    return make


@pytest.mark.plans
@needs_compiler
def test_golden_bounds_on_tpus(compiled):
    """Six scanned blocks over data and experts; bounds are compiled numbers plus a fifth."""
    settings = ("model.vocabulary_rows=1024", "model.layers=12", "remat=full")
    settings += ("model.activation_dtype=bfloat16", "mesh.data=2", "mesh.expert=2")
    found = compiled("switch-demo", "v5e:2x2", *settings, more=("--price=1.2",))
    assert found["available"] == 15.75
    assert found["fits"] == "yes"
    assert found["all-to-alls per switch layer"] == 6
    assert found["gathers of activations per step"] == 0
    memory = found["memory_bytes"]
    assert memory["parameters"] == 7_529_728
    assert memory["kept"] < 1.2 * 1_446_912
    assert memory["temporaries"] < 1.2 * 64_628_736
    flops = found["matrix FLOPs of the program, all devices"]
    assert flops == pytest.approx(9.001e10, rel=0.1)  # attention in whole blocks of 128
    assert found["to and from main memory, per device"] < 1.2 * 1.28
    assert found["money at 1.2 per chip-hour"] > 0


@pytest.mark.plans
@needs_compiler
@pytest.mark.parametrize(
    ("recipe", "most", "least"), [("t5-base", 230, 0.75), ("mt5-base", 420, 0.7)]
)
def test_a_published_recipe_keeps_its_traffic_and_its_use_of_the_peak(
    compiled, recipe, most, least
):
    """The compilers of JAX 0.10 and 0.12 keep to the same bounds."""
    found = compiled(recipe, "v5p:2x2x4", "remat=full")
    assert found["as designed"] == "yes"
    assert found["to and from main memory, per device"] < most
    assert found["model FLOPs utilization"] > least
    assert found["reduce-scatters of gradients per step"] >= 12 * 16  # per layer of each stack


@pytest.mark.plans
@needs_compiler
def test_two_slices_exchange_gradients_but_no_parameters_and_no_tokens(compiled):
    found = compiled("switch-demo", "v5e:2x2", *SMALL, *GROUPS, "remat=full", "mesh.slices=2")
    assert "2 slices v5e:2x2: 8 chips" in found["printed"]
    sizes = {"data": 2, "expert": 4, "model": 1, "slices": 2, "expert_slices": 1}
    assert found["recipe"]["mesh"] == sizes
    assert found["all-to-alls per switch layer"] == 6
    assert found["gathers of activations per step"] == 0
    assert found["all-to-alls between slices"] == 0
    assert "all-gather between slices" not in found  # each slice has all parameters
    gradients = found["parameters"] * 2**30 / 1e9  # float32, as the activations
    assert gradients <= found["all-reduce between slices"] < 1.5 * gradients  # 96 padded to 128
    assert found["network"] > 0
    assert found["as designed"] == "yes"


@pytest.mark.plans
@needs_compiler
def test_groups_on_several_devices_share_capacity(compiled):
    """A pool of eight groups is on four devices; tokens are sent where there are any."""
    settings = (*SMALL, *GROUPS, *POOLS, "mesh.data=1", "mesh.expert=8")
    found = compiled("switch-demo", "v5e:2x4", *settings)
    assert found["all-to-alls per switch layer"] == 4
    assert found["ragged-all-to-all of activations over expert"] > 0
    assert found["exchanges of counts per step"] == 2 * 2 * 6
    assert found["as designed"] == "yes"
    assert found["slots wasted at least"] == pytest.approx(0.2, abs=0.02)


@pytest.mark.plans
@needs_compiler
def test_experts_across_slices_exchange_tokens_between_them(compiled):
    mesh = ("mesh.slices=2", "mesh.expert_slices=2", "mesh.data=1", "mesh.expert=8")
    found = compiled("switch-demo", "v5e:2x2", *SMALL, *GROUPS, *mesh)
    assert found["all-to-alls per switch layer"] == 4
    assert found["all-to-alls between slices"] == 4 * 2 * 6
    assert found["as designed"] == "yes"


@pytest.mark.plans
@needs_gpu_compiler
def test_gpus_of_two_hosts_exchange_tokens_within_a_host(compiled):
    settings = (*SMALL, *GROUPS, "remat=full", "mesh.data=2", "mesh.expert=4")
    found = compiled("switch-demo", "h100:2x4", *settings)
    assert found["all-to-alls per switch layer"] == 6
    assert found["gathers of activations per step"] == 0
    assert found["all-to-all of activations over expert"] > 0
    assert found["network"] > 0  # gradients and stored parameters
    flops = found["matrix FLOPs of the program, all devices"]
    assert flops == pytest.approx(1.986e10, rel=0.1)  # attention in whole blocks
    assert found["memory_bytes"]["temporaries"] < 1.2 * 49_130_825


@needs_compiler
def test_other_commands_print_nothing_about_an_installed_compiler():
    done = outside("recipes", "switch-demo")
    assert done.returncode == 0
    assert done.stderr == (
        "recipes: next: mswitch pretrain --recipe switch-demo --tokens tokens --out "
        "runs/switch-demo\n"
    )


@pytest.mark.parametrize(
    ("memory", "seconds", "said"),
    [
        (None, None, "mt5-demo fits this machine: as v5e:2x2 it needs 6.0 GiB of "),
        (2**32, None, "mt5-demo fits: it needs 3.0 GiB of 4.0 per device."),
        (
            2**32,
            {"matrix": 43.2, "links": 1.0},
            "A step takes at least 43.2 s, and all 400 steps 4:48:00.",
        ),
        (
            2**31,
            {"matrix": 43.2},
            "mt5-demo does not fit: it needs 3.0 GiB of 2.0 per device; take a",
        ),
    ],
)
def test_a_plan_begins_with_its_verdict(memory, seconds, said):
    step: Any = SimpleNamespace(
        recipe=override(named.get("mt5-demo"), ["steps=400", "model.vocabulary_rows=384"]),
        topology=SimpleNamespace(name="v5e:2x2", memory=memory, devices=range(2)),
        needs=3 * 2**30, fits=memory == 2**32, program=object(),
    )  # fmt: skip
    found: Any = SimpleNamespace(seconds=seconds)
    assert said in planning.verdict_of(step, found)


def test_the_plan_of_the_first_remedy_that_fits_is_printed_in_full(monkeypatch, capsys):
    def changed(needs: int) -> SimpleNamespace:
        has = SimpleNamespace(memory=2**31)
        return SimpleNamespace(needs=needs, topology=has, fits=needs <= 2**31, program=object())

    tried = [("remat=full", changed(2**32)), ("rows=8", changed(2**30))]
    monkeypatch.setattr(planning, "remedies", lambda _: iter(tried))
    monkeypatch.setattr(planning, "roofline", lambda *_: None)
    monkeypatch.setattr(planning, "wrong_in", lambda step, _: ["a fault"] if step.fits else [])
    monkeypatch.setattr(
        planning,
        "figures_of",
        lambda step, _, price: [
            Figure("cost", "whole run", step.needs * price, "money", "derived")
        ],
    )
    chosen, found = planning.try_remedies(None, Terminal(), 2.0)  # pyright: ignore
    assert chosen is tried[1][1]
    assert found == [
        {"change": "remat=full", "gibibytes": 4.0, "fits": False, "faults": []},
        {"change": "rows=8", "gibibytes": 1.0, "fits": True, "faults": ["a fault"]},
    ]
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in printed[-2:]] == [["cost"], ["whole", "run"]]
    assert f"{2**31:,}" in printed[-1]
