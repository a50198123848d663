"""Killed, terminated, on other devices, on two hosts: a run ends with the same numbers.

Kills and hosts need processes of their own, on eight simulated devices; they share compiled
programs with the runs in this process.
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
)

from pipeline import cli
from pipeline.commands.evaluate import Evaluate
from pipeline.commands.fill import Fill
from pipeline.commands.pretrain import Pretrain
from pipeline.errors import PREEMPTED_STATUS, Preempted
from pipeline.runs.directory import saved_steps
from pipeline.training.evaluation import HeldOut

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("traced_once")]


@pytest.fixture
def command(tokens):
    """A function from a run's directory and more options to the words of its command."""

    def words(out: Path, *options: str) -> list[str]:
        asked = ["pretrain", "--recipe=switch-demo", f"--tokens={tokens}", f"--out={out}"]
        return [*asked, "--set", *SETTINGS, *options]

    return words


def test_whatever_happens_to_a_run_it_ends_as_if_nothing_had(command, pretrained, tmp_path, capsys):
    """Killed in a save and before its commit, killed at random, terminated, then damaged."""
    out = tmp_path / "run"
    for moment, step in (("during", EVERY), ("before_commit", 2 * EVERY)):
        status, printed = killed(command(out), moment, step)
        assert status == -signal.SIGKILL, printed
        assert not (out / f"checkpoints/{step}.json").exists()
    status, printed = killed(command(out), "after", EVERY + 1)
    assert status == -signal.SIGKILL, printed
    terminate(command(out), out)
    damaged = damage_last_checkpoint(out)
    assert cli.run(command(out)) == 0
    printed = capsys.readouterr().err
    assert f"Checkpoint {damaged} in" in printed
    assert "Traceback" not in printed
    assert (out / f"checkpoints/damaged-{damaged}-0.json").exists()
    assert_same_run(out, pretrained, STEPS)
    account = json.loads((out / "time.json").read_text())
    assert account["shares"]["stepping"] == account["goodput"] > 0
    assert sum(account["shares"].values()) == pytest.approx(1)


def terminate(words: list[str], out: Path) -> None:
    """SIGTERM after a step between two checkpoints: that step is saved, and the exit status 143."""
    step = 2 * EVERY + 2
    status, printed = killed(words, "terminate", step)
    assert status == PREEMPTED_STATUS == 143, printed
    assert f"stopped after step {step}, which is saved; the same command" in printed
    assert (out / f"checkpoints/{step}.json").exists()


def damage_last_checkpoint(out: Path) -> int:
    """Alters a byte of every file of arrays; returns the step."""
    (*_, step) = saved_steps(out)
    shards = out.glob(f"checkpoints/{step}-*/*/c/**/*")
    for path in [path for path in shards if path.is_file()]:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    return step


def test_an_evaluation_that_is_interrupted_is_made_by_the_next_start(tokens, tmp_path, monkeypatch):
    """SIGTERM while held-out pages are scored, in the middle and at the end of a run.

    The run is not finished, and resumes at that evaluation.
    """
    asked = Pretrain(
        recipe="switch-demo", tokens=str(tokens), out=tmp_path / "run", overrides=SETTINGS
    )
    scored, score = [], HeldOut.score

    def interrupted(self, *arguments):
        scored.append(None)
        return None if len(scored) in (2, 4) else score(self, *arguments)

    monkeypatch.setattr(HeldOut, "score", interrupted)
    for step in (6, STEPS):
        with pytest.raises(Preempted, match=f"stopped after step {step}, which is saved"):
            asked.execute()
        assert not (tmp_path / f"run/evaluation/step={step}.parquet").exists()
        assert (tmp_path / f"run/checkpoints/{step}.json").exists()
    assert (tmp_path / "run/evaluation/step=6.parquet").exists()
    asked.execute()
    assert (tmp_path / f"run/evaluation/step={STEPS}.parquet").exists()
    assert len(scored) == 5  # at 0, 6 and 12, and twice again
    asked.execute()
    assert len(scored) == 5  # finished


def test_two_hosts_are_one(command, pretrained, tmp_path):
    """Two processes of four devices each: the losses of one process of eight."""
    out = tmp_path / "run"
    rarely = ("checkpoint_every=12", "evaluate_every=12")
    found = run_hosts(2, lambda *host: command(out, *rarely, *options(2, *host)))
    assert [one.status for one in found] == [0, 0], found
    for left, right in zip(lines(out), lines(pretrained), strict=True):
        assert left == pytest.approx(right, rel=1e-5)
    for left, right in zip(parameters(out, STEPS), parameters(pretrained, STEPS), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


def test_another_recipe_is_refused_with_the_difference(command, pretrained, capsys):
    assert cli.run(command(pretrained, "optimizer.scale=0.5", "model.embed=32")) == 2
    printed = capsys.readouterr().err
    assert "optimizer.scale: there 1.0, asked 0.5" in printed
    assert "model.embed: there 16, asked 32" in printed


@pytest.mark.parametrize("devices", [1, 3, 8])
def test_a_run_of_eight_devices_is_read_on_others(
    pretrained, tokens, tmp_path, monkeypatch, capsys, devices
):
    """Its groups are the recipe's: the losses are the same on one device as on data=2 expert=4."""
    run, here = tmp_path / "run", jax.devices()[:devices]
    shutil.copytree(pretrained, run)
    monkeypatch.setattr(jax, "devices", lambda: here)
    Evaluate(run=run, tokens=str(tokens)).execute()
    path = f"evaluation/step={STEPS}.parquet"
    read, trained = (pq.read_table(one / path) for one in (run, pretrained))
    assert read["url"].equals(trained["url"])
    np.testing.assert_allclose(read["loss_nats"], trained["loss_nats"], rtol=1e-5)
    if devices == 8:
        assert read.equals(trained)
    Fill(text="Watu <extra_id_0> huru", run=run, tokens=4).execute()
    assert capsys.readouterr().out.strip()
