"""Killed, terminated, on other devices, on two hosts: a run ends with the same numbers.

Kills and hosts need processes of their own, on eight simulated devices; they share compiled
programs with the runs in this process. `tests/pipeline/training/test_loop.py` interrupts a loop
anywhere.
"""

import json
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
from started_hosts import options, run_hosts
from training_runs import (
    EVERY,
    SETTINGS,
    STEPS,
    assert_same_run,
    killed,
    lines,
    parameters,
    ran,
    refused,
)

from pipeline.artifacts import CLAIM, MANIFEST
from pipeline.errors import LOST_STATUS, PREEMPTED_STATUS
from pipeline.runs.directory import saved_steps

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("traced_once")]

EVALUATION = f"evaluation/step={STEPS}.parquet"
LAUNCHER = str(Path(__file__).parent / "mswitch_hosts.py")


@pytest.fixture
def command(tokens):
    """A function from a run's directory and more options to the words of its command."""

    def words(out, *more):
        asked = ["pretrain", "--recipe=switch-demo", f"--tokens={tokens}", f"--out={out}"]
        return [*asked, "--set", *SETTINGS, *more]

    return words


def test_whatever_happens_to_a_run_it_ends_as_if_nothing_had(command, pretrained, tmp_path, capsys):
    """Killed in a save and before its commit, killed at random, terminated, then damaged."""
    out = tmp_path / "run"
    for moment, step in (("during", EVERY), ("before_commit", 2 * EVERY), ("after", EVERY + 1)):
        status, printed = killed(command(out), moment, step)
        assert status == -signal.SIGKILL, printed
        assert moment == "after" or not (out / f"checkpoints/{step}.json").exists()
    step = 2 * EVERY + 2  # between two checkpoints
    status, printed = killed(command(out), "terminate", step)
    assert status == PREEMPTED_STATUS == 143, printed
    assert f"stopped after step {step}, which is saved; the same command" in printed
    assert saved_steps(out)[-1] == step
    damage_arrays(out, step)
    assert ran(*command(out)) == 0
    printed = capsys.readouterr().err
    assert f"Checkpoint {step} in" in printed
    assert "Traceback" not in printed
    assert (out / f"checkpoints/damaged-{step}-0.json").exists()
    assert_same_run(out, pretrained, STEPS)
    account = json.loads((out / "time.json").read_text())
    assert account["shares"]["stepping"] == account["goodput"] > 0
    assert sum(account["shares"].values()) == pytest.approx(1)


def damage_arrays(out, step):
    """Alters a byte of every file of a checkpoint's arrays."""
    for path in out.glob(f"checkpoints/{step}-*/*/c/**/*"):
        if path.is_file():
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)


def assert_nearly_same_run(one, other):
    for left, right in zip(lines(one), lines(other), strict=True):
        assert left == pytest.approx(right, rel=1e-5)
    for left, right in zip(parameters(one, STEPS), parameters(other, STEPS), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


def test_two_hosts_are_one(command, pretrained, tmp_path):
    """Two processes of four devices each: the losses of one process of eight."""
    out = tmp_path / "run"
    rarely = ("checkpoint_every=12", "evaluate_every=12")
    found = run_hosts(2, lambda *host: command(out, *rarely, *options(2, *host)))
    assert [one.status for one in found] == [0, 0], found
    assert_nearly_same_run(out, pretrained)


def test_a_killed_host_ends_the_other_and_one_host_finishes_the_run(command, pretrained, tmp_path):
    out = tmp_path / "run"
    found = run_hosts(2, lambda *host: command(out, *options(2, *host)), (LAUNCHER, "killed"))
    assert [one.status for one in found] == [LOST_STATUS, -signal.SIGKILL], found
    assert "pretrain: host 1 of 2 (" in found[0].err
    assert "has not answered for" in found[0].err.splitlines()[-1]
    assert "Traceback" not in found[0].err
    assert ran(*command(out)) == 0
    assert_nearly_same_run(out, pretrained)


def test_a_host_that_lacks_the_last_checkpoint_ends_both(command, pretrained, tmp_path):
    views = [Path(shutil.copytree(pretrained, tmp_path / name)) for name in ("first", "second")]
    for view in views:
        (view / MANIFEST).rename(view / CLAIM)
    (views[1] / f"checkpoints/{STEPS}.json").unlink()
    words = lambda index, address: command(views[index], *options(2, index, address))  # noqa: E731
    for host in run_hosts(2, words, (LAUNCHER, "impatient")):
        assert host.status == 2, host
        assert f"Checkpoint {STEPS} of {tmp_path}" in host.err
        assert "is there for some hosts, and others did not see it" in host.err
    assert (views[0] / f"checkpoints/{STEPS}.json").exists()  # not taken for damaged


def test_two_hosts_read_a_run_as_one_does(pretrained, tokens, tmp_path):
    run, out = tmp_path / "run", tmp_path / "exported"
    shutil.copytree(pretrained, run)
    (run / EVALUATION).unlink()
    words = lambda index, at: [str(run), str(tokens), str(out), "2", str(index), at]  # noqa: E731
    found = run_hosts(2, words, (LAUNCHER, "read"))
    assert [one.status for one in found] == [0, 0], found
    read, trained = (pq.read_table(one / EVALUATION) for one in (run, pretrained))
    for name in ("url", "target_tokens", "text_bytes", "windows"):
        assert read[name].equals(trained[name]), name
    np.testing.assert_allclose(read["loss_nats"], trained["loss_nats"], rtol=1e-5)
    assert ran("export-hf", "--run", run, "--out", tmp_path / "alone") == 0
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (out / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert ["export-hf" in host.err for host in found] == [True, False]


def test_another_recipe_is_refused_with_the_difference(command, pretrained, capsys):
    said = refused(capsys, *command(pretrained, "optimizer.scale=0.5", "model.embed=32"))
    assert "optimizer.scale: there 1.0, asked 0.5" in said
    assert "model.embed: there 16, asked 32" in said


@pytest.mark.parametrize("devices", [1, 3, 8])
def test_a_run_of_eight_devices_is_read_on_others(
    pretrained, tokens, tmp_path, monkeypatch, capsys, devices
):
    """Its groups are the recipe's: the losses are the same on one device as on data=2 expert=4."""
    run, here = tmp_path / "run", jax.devices()[:devices]
    shutil.copytree(pretrained, run)
    monkeypatch.setattr(jax, "devices", lambda: here)
    assert ran("evaluate", "--run", run, "--tokens", tokens) == 0
    read, trained = (pq.read_table(one / EVALUATION) for one in (run, pretrained))
    assert read["url"].equals(trained["url"])
    np.testing.assert_allclose(read["loss_nats"], trained["loss_nats"], rtol=1e-5)
    assert devices != 8 or read.equals(trained)
    capsys.readouterr()
    assert ran("fill", "Watu <extra_id_0> huru", "--run", run, "--tokens", 4) == 0
    assert capsys.readouterr().out.strip()
