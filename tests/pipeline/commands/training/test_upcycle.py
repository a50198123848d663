"""`pretrain --upcycle`: a Switch goes on where a dense run was; on eight simulated devices."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from training_runs import EXPERTS, MESH, SIZES, assert_same_run, lines

from model.conversions.upcycling import Beginning, first_state
from model.trainer import Trainer
from pipeline import cli
from pipeline.artifacts import read_head, renew
from pipeline.errors import PREEMPTED_STATUS
from pipeline.planning import compiled_step
from pipeline.planning.compiled_step import Memory, compile_step
from pipeline.planning.topology import topology
from pipeline.runs.directory import saved_steps
from pipeline.runs.opened_run import load_run, restore_state
from pipeline.training import run as training_run
from pipeline.training import start
from pipeline.training.loop import Preemption, Training, device_batches

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("traced_once")]

AT, STEPS = 4, 8
FIXED = (
    *(*SIZES, "checkpoint_every=2", "evaluate_every=4"),
    *("optimizer.hold_steps=30", "optimizer.decay_from=1"),
)
# Nothing is dropped, and the router's input has no noise. First states do not depend on it, and
# runs that share it share compiled programs.
EXACT = ("model.switch.dispatch=dropless", "model.switch.jitter=0")


def command(tokens: Path, recipe: str, out: Path, *settings: str, **options: object) -> list[str]:
    """The words of `pretrain`; several settings are words after one --set."""
    named = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    words = ["pretrain", f"--recipe={recipe}", f"--tokens={tokens}", f"--out={out}", *named]
    return [*words, "--set", *FIXED, *settings]


@pytest.fixture(scope="module")
def dense(tokens, tmp_path_factory) -> Path:
    """A dense run of all steps, which keeps its checkpoint at `AT`."""
    out = tmp_path_factory.mktemp("dense") / "run"
    assert cli.run(command(tokens, "mt5-demo", out, *MESH, f"steps={STEPS}", "keep_every=4")) == 0
    return out


@pytest.fixture(scope="module")
def switch(tokens, dense):
    """A function from a directory and settings to the words of a run upcycled at `AT`."""

    def words(out: Path, *settings: str, **options: object) -> list[str]:
        options = {"upcycle": dense, "upcycle_at": AT, **options}
        fixed = (*EXPERTS, f"steps={STEPS}", *settings)
        return command(tokens, "switch-demo", out, *fixed, **options)

    return words


@pytest.fixture(scope="module")
def whole(switch, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    assert cli.run(switch(out, *MESH, *EXACT)) == 0
    return out


@pytest.fixture
def begun(monkeypatch):
    """A function that makes a run's first checkpoint and nothing more; returns how it was begun."""

    def begin(words: list[str]) -> tuple[Training, dict]:
        found = []
        monkeypatch.setattr(training_run, "carry_out", lambda *given: found.append(given))
        assert cli.run(words) == 0
        ((_, training, more, _),) = found
        return training, more["upcycled"]

    return begin


def printed(capsys) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_a_switch_goes_on_where_the_dense_run_was(dense, whole):
    """The next batch's loss before its update, and held-out losses, are the dense run's."""
    assert saved_steps(whole) == [6, STEPS]
    there, here = lines(dense)[AT], lines(whole)[0]
    assert there["step"] == here["step"] == AT + 1
    assert here["loss_nats"] == pytest.approx(there["loss_nats"], rel=1e-5)
    assert here["learning_rate"] == there["learning_rate"]
    assert here["dropped_share"] == 0
    about = json.loads((whole / "recipe.json").read_text())["upcycled"]
    rows, flops = 8, json.loads((dense / "recipe.json").read_text())["flops_per_sequence"]
    assert about["run"] == str(dense)
    assert (about["recipe"], about["seed"], about["step"]) == ("mt5-demo", 0, AT)
    assert (about["begins_at"], about["flops"]) == (AT, 3 * flops * rows * AT)
    manifest = json.loads((whole / "manifest.json").read_text())
    assert manifest["upcycled"] == about
    assert read_head(whole).inputs["upcycled"].startswith(f"mt5-demo, seed 0, step {AT}, ")


def test_the_report_has_the_gain_with_its_bill(dense, whole, tmp_path, capsys):
    """At equal numbers of steps, the dense ones counted, both sides cost the same."""
    out = tmp_path / "report"
    sides = f"--baseline={dense}", f"--candidate={whole}"
    assert cli.run(["report", *sides, f"--out={out}"]) == 0
    report = json.loads((out / "report.json").read_text())
    bill = report["bill"]
    assert (bill["recipe"], bill["dense_steps"], bill["own_steps"]) == ("mt5-demo", AT, STEPS - AT)
    assert bill["dense_flops"] + bill["own_flops"] == bill["baseline_flops"]
    said = report["bill_sentence"]
    assert f"began as mt5-demo at step {AT} and took 4 steps more. With the dense steps" in said
    assert f"1.00 times those of mT5's {STEPS} steps: {report['summary']['mean_gain']:+.3f}" in said
    assert said in " ".join(capsys.readouterr().out.split())
    assert said in (out / "report.md").read_text()
    assert said in (out / "index.html").read_text().replace("&#39;", "'")


def test_a_stopped_run_ends_as_if_nothing_had_happened(switch, whole, tmp_path, monkeypatch):
    """The dense run's checkpoint is needed for the first step only."""
    out, parent = tmp_path / "run", tmp_path / "parent"
    with monkeypatch.context() as patch:
        log = out / "metrics.jsonl"
        patch.setattr(Preemption, "should_stop", lambda _: log.exists() and len(lines(out)) >= 2)
        assert cli.run(switch(out, *MESH, *EXACT)) == PREEMPTED_STATUS
    assert saved_steps(out)[-1] < STEPS
    original = json.loads((out / "recipe.json").read_text())["upcycled"]["run"]
    shutil.copytree(original, parent, ignore=shutil.ignore_patterns(f"{AT}.json"))
    assert saved_steps(parent) == [6, STEPS]
    assert cli.run(switch(out, *MESH, *EXACT, upcycle=parent)) == 0
    assert_same_run(out, whole, STEPS)
    assert cli.run(switch(out, *MESH, *EXACT)) == 0  # finished: nothing is done again


def test_one_device_begins_as_eight_do(switch, begun, tmp_path, monkeypatch):
    asked = {"upcycle_noise": 0.1}
    on_eight, _ = begun(switch(tmp_path / "eight", *MESH, *EXACT, **asked))
    one = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda: one)
    on_one, _ = begun(switch(tmp_path / "one", *EXACT, **asked))
    states = [restore_state(one.out, one.trainer, AT)[0] for one in (on_eight, on_one)]
    for left, right in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-7)


def test_what_is_planned_is_what_runs(switch, dense, begun, tmp_path, monkeypatch):
    """`plan --upcycle` lowers from shapes what a run of `pretrain --upcycle` does from arrays."""
    planned, ran = [], []

    def recorded(lowered, *_):
        planned.append(lowered.as_text())
        return Memory(**dict.fromkeys(Memory.__dataclass_fields__, 0)), None

    def followed(dense: Trainer, switch: Trainer, beginning: Beginning):
        program = first_state(dense, switch, beginning._replace(step=0))
        return lambda state: ran.append(program.lower(state).as_text()) or program(state)

    monkeypatch.setattr(start, "first_state", followed)
    training, _ = begun(switch(tmp_path / "run", *MESH, "steps=8"))
    state, _ = restore_state(training.out, training.trainer, AT)
    batch = next(device_batches(training, AT))
    step, score = training.trainer.step, training.trainer.score
    scored = score.lower(state.arrays, batch, compiled_step.LANGUAGES)
    ran = [step.lower(state, batch).as_text(), scored.as_text(), *ran]
    monkeypatch.setattr(compiled_step, "_compile", recorded)
    parent, _ = load_run(dense)
    compile_step(training.recipe, topology("cpu:8", 1), parent)
    assert planned == ran


def test_a_branch_of_an_upcycled_run_keeps_its_record(tokens, whole, begun, tmp_path):
    fixed = (*MESH, *EXPERTS, *EXACT, f"steps={STEPS}")
    leaves = {"trunk": whole, "branch_at": 6}
    training, about = begun(command(tokens, "switch-demo", tmp_path / "run", *fixed, **leaves))
    assert saved_steps(training.out) == [6]
    assert about == json.loads((whole / "recipe.json").read_text())["upcycled"]


def test_moments_are_carried_to_every_expert(dense, whole):
    """After the first steps their counts go on; a router's began anew."""
    state, _ = restore_state(whole, load_run(whole)[1], STEPS)
    feed_forward = state.optimizer.states.encoder.blocks[-1].feed_forward
    assert np.unique(feed_forward.down[0].count) == STEPS
    assert np.unique(feed_forward.router[0].count) == STEPS - AT


def test_other_examples_begin_at_step_0(switch, begun, tmp_path, capsys):
    for settings, work in ((), f"{STEPS - AT} steps after step {AT},"), (("seed=1",), "8 steps,"):
        assert cli.run([*switch(tmp_path / "run", *MESH, *settings), "--dry-run"]) == 0
        assert f"work: {work}" in capsys.readouterr().out
    asked = {"upcycle_noise": 0.01}
    training, about = begun(switch(tmp_path / "run", *MESH, *EXACT, "seed=1", "steps=2", **asked))
    assert "begin at step 0 (seed: there 0, asked 1)" in printed(capsys)
    assert saved_steps(training.out) == [0]
    assert (about["step"], about["begins_at"], about["noise"]) == (AT, 0, 0.01)


def test_a_stopped_run_knows_the_step_it_began_at(switch, whole, dense, tmp_path, capsys):
    stopped, longer = tmp_path / "stopped", tmp_path / "longer"
    for run, copy in ((whole, stopped), (dense, longer)):
        shutil.copytree(run, copy, ignore=shutil.ignore_patterns("manifest.json"))
    head = read_head(whole)
    renew(stopped, head.stage, head.settings, head.inputs)
    words = [word for word in switch(stopped, *MESH, *EXACT) if "-at=" not in word]
    assert cli.run([*words, "--dry-run"]) == 0
    still_training = [word.replace(f"={dense}", f"={longer}") for word in words]
    assert cli.run([*still_training, "--dry-run"]) == 0, printed(capsys)


def test_a_run_killed_before_its_record_was_written_is_begun_again(dense, whole, tmp_path):
    """Its first checkpoint is there and recipe.json is not."""
    stopped = tmp_path / "stopped"
    shutil.copytree(whole, stopped, ignore=shutil.ignore_patterns("manifest.json", "recipe.json"))
    found = start.upcycled_run(dense, None, 3e-7, 0.0, stopped)
    assert found.step == STEPS


def test_what_no_switch_can_begin_as_is_refused(tokens, switch, dense, whole, tmp_path, capsys):
    def refused(*settings: str, recipe: str = "switch-demo", **options: object) -> str:
        asked = {"upcycle": dense, "upcycle_at": AT, **options}
        fixed = (*MESH, *(EXPERTS if recipe == "switch-demo" else ()), "steps=8", *settings)
        assert cli.run(command(tokens, recipe, tmp_path / "run", *fixed, **asked)) == 2
        return printed(capsys)

    wider = refused("model.mlp=32")
    assert "another shape than recipe switch-demo (model.mlp: there 16, asked 32)" in wider
    assert "(model.distance_slope: there 0.0, asked 0.5)" in refused("model.distance_slope=0.5")
    assert "recipe mt5-demo, which is dense" in refused(recipe="mt5-demo")
    assert "has 4 experts; begin with its weights: --start" in refused(upcycle=whole, upcycle_at=8)
    assert "which has [4, 6, 8]" in refused(upcycle_at=5)
    assert "4 steps were asked for, which include the 4 steps of" in refused("steps=4")
    assert "--upcycle-noise was -1; give 0 or more and less than 1." in refused(upcycle_noise=-1.0)
    assert "a run has one beginning" in refused(start=dense)
    for setting in ("bias_rate=0.01", "quantile_rate=1", "shared_mlp=16"):
        assert "not a copy of the dense run" in refused(f"model.switch.{setting}")
    unfinished = tmp_path / "unfinished"
    shutil.copytree(dense, unfinished, ignore=shutil.ignore_patterns("manifest.json"))
    unnamed = [word for word in switch(tmp_path / "run", upcycle=unfinished) if "-at=" not in word]
    assert cli.run(unnamed) == 2
    assert "name one of its checkpoints with --upcycle-at (4, 6, 8)" in printed(capsys)


def test_from_dense_to_transformers_by_way_of_a_switch(
    tokens, switch, whole, begun, tmp_path, capsys
):
    """The commands of docs/upcycling.md; what is exported can be imported and upcycled anew."""
    student, exported, imported = (tmp_path / name for name in ("student", "hf", "imported"))
    taught = ("--set", *FIXED, *MESH, "steps=2", "evaluate_every=0")
    by = f"--teacher={whole}", "--recipe=mt5-demo", f"--tokens={tokens}", f"--out={student}"
    assert cli.run(["distill", *by, *taught]) == 0
    assert cli.run(["export-hf", f"--run={student}", f"--out={exported}"]) == 0
    assert json.loads((exported / "config.json").read_text())["model_type"] == "mt5"
    assert cli.run(["import-hf", str(exported), f"--out={imported}", "--inputs=64"]) == 0
    capsys.readouterr()
    _, about = begun(switch(tmp_path / "again", *MESH, upcycle=imported, upcycle_at=0))
    assert "with new moments; examples and schedule begin at step 0 (an imported" in printed(capsys)
    assert (about["step"], about["flops"]) == (0, None)
