"""`pretrain --upcycle`: a Switch goes on where a dense run was; on eight simulated devices."""

import json
import shutil

import jax
import numpy as np
import pytest
from training_runs import EXPERTS, MESH, SIZES, assert_same_run, lines, ran, refused

from model.conversions.upcycling import first_state
from pipeline.artifacts import read_head, renew
from pipeline.errors import PREEMPTED_STATUS
from pipeline.planning import compiled_step
from pipeline.planning.compiled_step import Memory, compile_step
from pipeline.planning.topology import topology
from pipeline.runs.directory import saved_steps
from pipeline.runs.opened_run import load_run, restore_state
from pipeline.training import run as training_run
from pipeline.training import start
from pipeline.training.loop import Preemption, device_batches

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("traced_once")]

AT, STEPS = 4, 8
FIXED = (
    *(*SIZES, "checkpoint_every=2", "evaluate_every=4"),
    *("optimizer.hold_steps=30", "optimizer.decay_from=1"),
)
# Nothing is dropped, and the router's input has no noise. First states do not depend on it, and
# runs that share it share compiled programs.
EXACT = ("model.switch.dispatch=dropless", "model.switch.jitter=0")


def command(tokens, recipe, out, *settings, **options):
    """The words of `pretrain`; several settings are words after one --set."""
    named = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    words = ["pretrain", f"--recipe={recipe}", f"--tokens={tokens}", f"--out={out}", *named]
    return [*words, "--set", *FIXED, *settings]


@pytest.fixture(scope="module")
def dense(tokens, tmp_path_factory):
    """A dense run of all steps, which keeps its checkpoint at `AT`."""
    out = tmp_path_factory.mktemp("dense") / "run"
    words = command(tokens, "mt5-demo", out, *MESH, f"steps={STEPS}", "keep_every=4")
    assert ran(*words) == 0
    return out


@pytest.fixture(scope="module")
def switch(tokens, dense):
    """A function from a directory and settings to the words of a run upcycled at `AT`."""

    def words(out, *settings, **options):
        options = {"upcycle": dense, "upcycle_at": AT, **options}
        fixed = (*EXPERTS, f"steps={STEPS}", *settings)
        return command(tokens, "switch-demo", out, *fixed, **options)

    return words


@pytest.fixture(scope="module")
def whole(switch, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    assert ran(*switch(out, *MESH, *EXACT)) == 0
    return out


@pytest.fixture
def begun(monkeypatch):
    """A function that makes a run's first checkpoint and nothing more; returns how it was begun."""

    def begin(words):
        found = []
        monkeypatch.setattr(training_run, "carry_out", lambda *given: found.append(given))
        assert ran(*words) == 0
        ((_, training, more, _),) = found
        return training, more["upcycled"]

    return begin


def without_at(words):
    return [word for word in words if "-at=" not in word]


def of_recipe(run, name):
    return json.loads((run / "recipe.json").read_text())[name]


def test_a_switch_goes_on_where_the_dense_run_was(dense, whole):
    """The next batch's loss before its update, and held-out losses, are the dense run's."""
    assert saved_steps(whole) == [6, STEPS]
    there, here = lines(dense)[AT], lines(whole)[0]
    assert there["step"] == here["step"] == AT + 1
    assert here["loss_nats"] == pytest.approx(there["loss_nats"], rel=1e-5)
    assert here["learning_rate"] == there["learning_rate"]
    assert here["dropped_share"] == 0
    about, flops = of_recipe(whole, "upcycled"), of_recipe(dense, "flops_per_sequence")
    told = {"run": str(dense), "recipe": "mt5-demo", "seed": 0, "step": AT, "begins_at": AT}
    assert about | told | {"flops": 3 * flops * 8 * AT} == about
    assert json.loads((whole / "manifest.json").read_text())["upcycled"] == about
    assert read_head(whole).inputs["upcycled"].startswith(f"mt5-demo, seed 0, step {AT}, ")
    # Moments are carried to every expert, and a router's begin anew.
    state, _ = restore_state(whole, load_run(whole)[1], STEPS)
    feed_forward = state.optimizer.states.encoder.blocks[-1].feed_forward
    assert np.unique(feed_forward.down[0].count) == STEPS
    assert np.unique(feed_forward.router[0].count) == STEPS - AT


def test_the_report_has_the_gain_with_its_bill(dense, whole, tmp_path, capsys):
    """At equal numbers of steps, the dense ones counted, both sides cost the same."""
    out = tmp_path / "report"
    assert ran("report", f"--baseline={dense}", f"--candidate={whole}", f"--out={out}") == 0
    report = json.loads((out / "report.json").read_text())
    bill, said = report["bill"], report["bill_sentence"]
    assert (bill["recipe"], bill["dense_steps"], bill["own_steps"]) == ("mt5-demo", AT, STEPS - AT)
    assert bill["dense_flops"] + bill["own_flops"] == bill["baseline_flops"]
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
        assert ran(*switch(out, *MESH, *EXACT)) == PREEMPTED_STATUS
    assert saved_steps(out)[-1] < STEPS
    original = of_recipe(out, "upcycled")["run"]
    shutil.copytree(original, parent, ignore=shutil.ignore_patterns(f"{AT}.json"))
    assert saved_steps(parent) == [6, STEPS]
    assert ran(*switch(out, *MESH, *EXACT, upcycle=parent)) == 0
    assert_same_run(out, whole, STEPS)
    assert ran(*switch(out, *MESH, *EXACT)) == 0  # finished: nothing is done again


def test_one_device_begins_as_eight_do(switch, begun, tmp_path, monkeypatch):
    on_eight, _ = begun(switch(tmp_path / "eight", *MESH, *EXACT, upcycle_noise=0.1))
    one = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda: one)
    on_one, _ = begun(switch(tmp_path / "one", *EXACT, upcycle_noise=0.1))
    states = [restore_state(one.out, one.trainer, AT)[0] for one in (on_eight, on_one)]
    for left, right in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-7)


def test_what_is_planned_is_what_runs(switch, dense, begun, tmp_path, monkeypatch):
    """`plan --upcycle` lowers from shapes what a run of `pretrain --upcycle` does from arrays."""
    planned, traced = [], []

    def recorded(lowered, *_):
        planned.append(lowered.as_text())
        return Memory(**dict.fromkeys(Memory.__dataclass_fields__, 0)), None

    def followed(dense, switch, beginning):
        program = first_state(dense, switch, beginning._replace(step=0))
        return lambda state: traced.append(program.lower(state).as_text()) or program(state)

    monkeypatch.setattr(start, "first_state", followed)
    training, _ = begun(switch(tmp_path / "run", *MESH, "steps=8"))
    state, _ = restore_state(training.out, training.trainer, AT)
    batch = next(device_batches(training, AT))
    step, score = training.trainer.step, training.trainer.score
    scored = score.lower(state.arrays, batch, compiled_step.LANGUAGES)
    monkeypatch.setattr(compiled_step, "_compile", recorded)
    compile_step(training.recipe, topology("cpu:8", 1), load_run(dense)[0])
    assert planned == [step.lower(state, batch).as_text(), scored.as_text(), *traced]


def test_a_branch_of_an_upcycled_run_keeps_its_record(tokens, whole, begun, tmp_path):
    fixed = (*MESH, *EXPERTS, *EXACT, f"steps={STEPS}")
    leaves = {"trunk": whole, "branch_at": 6}
    training, about = begun(command(tokens, "switch-demo", tmp_path / "run", *fixed, **leaves))
    assert saved_steps(training.out) == [6]
    assert about == of_recipe(whole, "upcycled")


def test_other_examples_begin_at_step_0(switch, begun, tmp_path, capsys):
    for settings, work in ((), f"{STEPS - AT} steps after step {AT},"), (("seed=1",), "8 steps,"):
        assert ran(*switch(tmp_path / "run", *MESH, *settings), "--dry-run") == 0
        assert f"work: {work}" in capsys.readouterr().out
    words = switch(tmp_path / "run", *MESH, *EXACT, "seed=1", "steps=2", upcycle_noise=0.01)
    training, about = begun(words)
    said = " ".join(capsys.readouterr().err.split())
    assert "begin at step 0 (seed: there 0, asked 1)" in said
    assert saved_steps(training.out) == [0]
    assert (about["step"], about["begins_at"], about["noise"]) == (AT, 0, 0.01)


def test_a_stopped_run_knows_the_step_it_began_at(switch, whole, dense, tmp_path):
    stopped, longer = tmp_path / "stopped", tmp_path / "longer"
    for run, copy in ((whole, stopped), (dense, longer)):
        shutil.copytree(run, copy, ignore=shutil.ignore_patterns("manifest.json"))
    head = read_head(whole)
    renew(stopped, head.stage, head.settings, head.inputs)
    words = without_at(switch(stopped, *MESH, *EXACT))
    assert ran(*words, "--dry-run") == 0
    still_training = [word.replace(f"={dense}", f"={longer}") for word in words]
    assert ran(*still_training, "--dry-run") == 0
    # Killed before its record was written, it is begun again.
    (stopped / "recipe.json").unlink()
    assert start.upcycled_run(dense, None, 3e-7, 0.0, stopped).step == STEPS


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        (["model.mlp=32"], {}, "recipe switch-demo (model.mlp: there 16, asked 32)"),
        (["model.distance_slope=0.5"], {}, "(model.distance_slope: there 0.0, asked 0.5)"),
        (["steps=4"], {}, "4 steps were asked for, which include the 4 steps of"),
        (["model.switch.bias_rate=0.01"], {}, "not a copy of the dense run"),
        (["model.switch.quantile_rate=1"], {}, "not a copy of the dense run"),
        (["model.switch.shared_mlp=16"], {}, "not a copy of the dense run"),
        ([], {"upcycle_at": 5}, "which has [4, 6, 8]"),
        ([], {"upcycle_noise": -1.0}, "--upcycle-noise was -1; give 0 or more and less than 1."),
        ([], {"start": "{dense}"}, "a run has one beginning"),
        ([], {"upcycle": "{whole}", "upcycle_at": 8}, "begin with its weights: --start"),
    ],
)
def test_what_no_switch_can_begin_as_is_refused(
    switch, dense, whole, tmp_path, capsys, settings, options, message
):
    given = {name: str(value).format(dense=dense, whole=whole) for name, value in options.items()}
    assert message in refused(capsys, *switch(tmp_path / "run", *MESH, *settings, **given))


def test_neither_a_dense_recipe_nor_a_step_of_a_run_in_training_is_guessed(
    tokens, switch, dense, tmp_path, capsys
):
    words = command(tokens, "mt5-demo", tmp_path / "run", *MESH, upcycle=dense, upcycle_at=AT)
    assert "recipe mt5-demo, which is dense" in refused(capsys, *words)
    unfinished = tmp_path / "unfinished"
    shutil.copytree(dense, unfinished, ignore=shutil.ignore_patterns("manifest.json"))
    said = refused(capsys, *without_at(switch(tmp_path / "run", upcycle=unfinished)))
    assert "name one of its checkpoints with --upcycle-at (4, 6, 8)" in said


def test_from_dense_to_transformers_by_way_of_a_switch(
    tokens, switch, whole, begun, tmp_path, capsys
):
    """The commands of docs/upcycling.md; what is exported can be imported and upcycled anew."""
    student, exported, imported = (tmp_path / name for name in ("student", "hf", "imported"))
    taught = ("--set", *FIXED, *MESH, "steps=2", "evaluate_every=0")
    by = f"--teacher={whole}", "--recipe=mt5-demo", f"--tokens={tokens}", f"--out={student}"
    assert ran("distill", *by, *taught) == 0
    assert ran("export-hf", f"--run={student}", f"--out={exported}") == 0
    assert json.loads((exported / "config.json").read_text())["model_type"] == "mt5"
    assert ran("import-hf", exported, f"--out={imported}", "--inputs=64") == 0
    capsys.readouterr()
    _, about = begun(switch(tmp_path / "again", *MESH, upcycle=imported, upcycle_at=0))
    said = " ".join(capsys.readouterr().err.split())
    assert "with new moments; examples and schedule begin at step 0 (an imported" in said
    assert (about["step"], about["flops"]) == (0, None)
