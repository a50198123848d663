"""`mswitch plan` from the command line, on simulated devices and on TPUs where libtpu is."""

import importlib.util
import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import cli
from pipeline.commands.plan import Plan
from pipeline.errors import ArtifactError
from pipeline.planning import plan as planning
from pipeline.planning.compiled_step import Aborted, in_own_process
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


def plan(tmp_path, *words: str) -> dict:
    """Runs the command in this process and returns its file."""
    out = tmp_path / "plan.json"
    assert cli.run(["plan", *words, "--out", str(out)]) == 0
    return with_figures(json.loads(out.read_text()))


def with_figures(written: dict) -> dict:
    assert {figure["mark"] for figure in written["figures"]} <= {"compiled", "derived", "assumed"}
    return written | {figure["name"]: figure["value"] for figure in written["figures"]}


@pytest.mark.plans
@pytest.mark.parametrize(("remat", "exchanges"), [("none", 4), ("full", 6)])
def test_on_simulated_devices_collectives_are_the_designs(tmp_path, remat, exchanges):
    """Six scanned blocks per stack: a loop's body counts six times, once per execution."""
    settings = (*SMALL, "model.switch.encoder_group_tokens=64", f"remat={remat}")
    settings += ("model.switch.decoder_group_tokens=14", "mesh.data=2", "mesh.expert=4")
    words = ("--recipe", "switch-demo", "--topology", "cpu:8", "--set", *settings)
    found = plan(tmp_path, *words)
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
    found = plan(tmp_path, "--recipe", "mt5-demo", "--topology", "cpu:8")
    memory = found["memory_bytes"]
    parameters = tables.count(named.get("mt5-demo").model)
    assert memory["parameters"] == pytest.approx(4 * parameters / 8, rel=0.2)
    assert found["total"] * 2**30 == sum(memory.values())
    assert "memory per device" in capsys.readouterr().out
    sections = {figure["section"] for figure in found["figures"]}
    assert sections >= {"memory per device", "work per step"}


def test_a_mesh_that_does_not_divide_is_an_error_of_one_sentence(capsys):
    words = ["plan", "--recipe", "switch-demo", "--topology", "cpu:8", "--set", "mesh.data=3"]
    assert cli.run(words) == 2
    message = capsys.readouterr().err
    assert message.startswith("mswitch: ")
    assert "rows of a batch (32) must be a multiple of 3" in message


@pytest.mark.plans
def test_the_first_state_of_an_upcycled_run_is_planned(tmp_path):
    """A dense state goes in and a Switch's comes out; nothing as large is made beside them."""
    settings = (
        *SMALL,
        "model.switch.encoder_group_tokens=64",
        "model.switch.decoder_group_tokens=14",
    )
    words = ("--recipe", "switch-demo", "--topology", "cpu:8", "--set", *settings)
    found = plan(tmp_path, "--upcycle", "mt5-demo", *words)
    memory, trained = found["upcycling_memory_bytes"], found["memory_bytes"]
    state = trained["parameters"] + trained["optimizer"]
    assert 0 < memory["parameters"] < trained["parameters"]
    assert state < memory["temporaries"] < 1.5 * state
    assert found["while upcycling: total"] * 2**30 == sum(memory.values())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--recipe=mt5-demo", "--upcycle=mt5-demo"), "name a dense recipe and a Switch"),
        (("--recipe=switch-demo", "--upcycle=switch-demo"), "name a dense recipe and a Switch"),
        (
            ("--recipe=switch-demo", "--upcycle=mt5-base"),
            "has another shape than recipe switch-demo",
        ),
        (
            ("--recipe=switch-demo", "--upcycle=mt5-demo", "--set", "model.switch.shared_mlp=16"),
            "not a copy of the dense run",
        ),
    ],
)
def test_a_switch_that_cannot_begin_as_the_recipe_is_an_error(capsys, words, said):
    assert cli.run(["plan", "--topology=cpu:8", *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_plan_replaces_nothing_but_a_plan(tmp_path, capsys):
    (tmp_path / "notes.json").write_text('{"mine": 1}')
    for path in (tmp_path / "notes.json", tmp_path):
        words = "plan", "--recipe=mt5-demo", "--topology=cpu:1", f"--out={path}"
        assert cli.run(words) == 2
        assert "exists and is not a plan" in " ".join(capsys.readouterr().err.split())


def test_an_unknown_topology_is_an_error_of_one_sentence(capsys):
    assert cli.run(["plan", "--recipe", "switch-demo", "--topology", "v9:2x2"]) == 2
    assert "v5p:4x8x8" in capsys.readouterr().err


@pytest.mark.parametrize("price", ["-1", "nan", "inf"])
def test_a_price_that_is_none_is_refused_before_compiling(monkeypatch, capsys, price):
    monkeypatch.delattr(planning, "compile_step")
    words = ["plan", "--recipe", "switch-demo", "--topology", "cpu:8", f"--price={price}"]
    assert cli.run(words) == 2
    assert f"--price was {price}; give 0 or more" in capsys.readouterr().err


class AbortsItsProcess(tuple):
    """Settings that abort the process which unpickles them, as a failed check in libtpu does."""

    def __reduce__(self):
        return os.abort, ()


def test_a_compiler_that_aborts_is_an_error_of_one_sentence():
    with pytest.raises(ArtifactError, match="compiler aborted on switch-c for v5p:4x8x8"):
        Plan(recipe="switch-c", topology="v5p:4x8x8", overrides=AbortsItsProcess()).execute()


def test_what_libraries_write_is_shown_if_the_compiler_aborts_alone(capfd):
    """Python's own lines are shown at once, such as the name of the program that is compiled."""
    in_own_process(exec, "import os, sys; os.write(2, b'no GPU'); print('said', file=sys.stderr)")
    printed = capfd.readouterr().err
    assert "said" in printed
    assert "no GPU" not in printed
    with pytest.raises(Aborted):
        in_own_process(exec, "import os; os.write(2, b'check failed'); os.abort()")
    assert "check failed" in capfd.readouterr().err


def outside(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a new process, where JAX may look for any device."""
    environment = {key: value for key, value in os.environ.items() if "JAX" not in key}
    for key in ("XLA_FLAGS", "TPU_LOAD_LIBRARY"):
        environment.pop(key, None)
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *words],
        capture_output=True,
        text=True,
        env=environment,
    )


@pytest.mark.plans
@needs_compiler
def test_golden_bounds_on_tpus(tmp_path):
    """Six scanned blocks over data and experts; bounds are compiled numbers plus a fifth."""
    out = tmp_path / "plan.json"
    settings = ("model.vocabulary_rows=1024", "model.layers=12", "remat=full")
    settings += ("model.activation_dtype=bfloat16", "mesh.data=2", "mesh.expert=2")
    words = ("--recipe", "switch-demo", "--topology", "v5e:2x2", "--price", "1.2")
    done = outside("plan", *words, "--set", *settings, "--out", str(out))
    assert done.returncode == 0, done.stderr
    found = with_figures(json.loads(out.read_text()))
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
    tmp_path, recipe, most, least
):
    """The compilers of JAX 0.10 and 0.12 keep to the same bounds."""
    out = tmp_path / "plan.json"
    words = ("--recipe", recipe, "--topology", "v5p:2x2x4", "--set", "remat=full")
    done = outside("plan", *words, "--out", str(out))
    assert done.returncode == 0, done.stderr
    found = with_figures(json.loads(out.read_text()))
    assert found["as designed"] == "yes"
    assert found["to and from main memory, per device"] < most
    assert found["model FLOPs utilization"] > least
    assert found["reduce-scatters of gradients per step"] >= 12 * 16  # per layer of each stack


@pytest.mark.plans
@needs_compiler
def test_two_slices_exchange_gradients_but_no_parameters_and_no_tokens(tmp_path):
    out = tmp_path / "plan.json"
    settings = (*SMALL, "remat=full", "mesh.slices=2", "model.switch.encoder_group_tokens=64")
    settings += ("model.switch.decoder_group_tokens=14",)
    words = ("--recipe", "switch-demo", "--topology", "v5e:2x2", "--set", *settings)
    done = outside("plan", *words, "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "2 slices v5e:2x2: 8 chips" in done.stdout
    written = json.loads(out.read_text())
    found = with_figures(written)
    sizes = {"data": 2, "expert": 4, "model": 1, "slices": 2, "expert_slices": 1}
    assert written["recipe"]["mesh"] == sizes
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
def test_groups_on_several_devices_share_capacity(tmp_path):
    """A pool of eight groups is on four devices; tokens are sent where there are any."""
    groups = ("model.switch.encoder_group_tokens=64", "model.switch.decoder_group_tokens=14")
    pools = ("model.switch.encoder_pooled_groups=8", "model.switch.decoder_pooled_groups=8")
    settings = (*SMALL, *groups, *pools, "mesh.data=1", "mesh.expert=8")
    words = ("--recipe", "switch-demo", "--topology", "v5e:2x4", "--set", *settings)
    out = tmp_path / "plan.json"
    done = outside("plan", *words, "--out", str(out))
    assert done.returncode == 0, done.stderr
    found = with_figures(json.loads(out.read_text()))
    assert found["all-to-alls per switch layer"] == 4
    assert found["ragged-all-to-all of activations over expert"] > 0
    assert found["exchanges of counts per step"] == 2 * 2 * 6
    assert found["as designed"] == "yes"
    assert found["slots wasted at least"] == pytest.approx(0.2, abs=0.02)


@pytest.mark.plans
@needs_compiler
def test_experts_across_slices_exchange_tokens_between_them(tmp_path):
    settings = (*SMALL, "mesh.slices=2", "mesh.expert_slices=2", "mesh.data=1", "mesh.expert=8")
    settings += ("model.switch.encoder_group_tokens=64", "model.switch.decoder_group_tokens=14")
    words = ("--recipe", "switch-demo", "--topology", "v5e:2x2", "--set", *settings)
    out = tmp_path / "plan.json"
    done = outside("plan", *words, "--out", str(out))
    assert done.returncode == 0, done.stderr
    found = with_figures(json.loads(out.read_text()))
    assert found["all-to-alls per switch layer"] == 4
    assert found["all-to-alls between slices"] == 4 * 2 * 6
    assert found["as designed"] == "yes"


@pytest.mark.plans
@needs_gpu_compiler
def test_gpus_of_two_hosts_exchange_tokens_within_a_host(tmp_path):
    out = tmp_path / "plan.json"
    settings = (*SMALL, "remat=full", "mesh.data=2", "mesh.expert=4")
    settings += ("model.switch.encoder_group_tokens=64", "model.switch.decoder_group_tokens=14")
    words = ("--recipe", "switch-demo", "--topology", "h100:2x4", "--set", *settings)
    done = outside("plan", *words, "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("plan: ") for line in done.stderr.splitlines())  # none on drivers
    found = with_figures(json.loads(out.read_text()))
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
