"""Killed, terminated, on other devices, on two hosts: the run ends as if nothing had happened.

Every run is a process of its own on eight simulated devices; they share compiled programs.
"""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline import cli, evaluate, fill, pretrain
from pipeline.arguments import Evaluate, Fill, Pretrain
from pipeline.errors import PREEMPTED_STATUS, Preempted
from pipeline.runs.open import load_run, restore
from pipeline.training.held_out import HeldOut
from pipeline.training.preemption import GRACE_SECONDS

ROOT = Path(__file__).parents[2]
STEPS, EVERY = 12, 3
SETTINGS = (
    f"steps={STEPS} checkpoint_every={EVERY} log_every=1 evaluate_every=6 rows=8 inputs=64 "
    "model.vocabulary_rows=384 model.embed=16 model.heads=2 model.head=8 model.mlp=16 "
    "model.switch.experts=4 model.switch.encoder_group_tokens=64 "
    "model.switch.decoder_group_tokens=14 mesh.data=2 mesh.expert=4"
).split()
UNTIMED = ("seconds", "tokens_per_second")


class Runs:
    """Starts `mswitch pretrain` on the same tokens with the same settings."""

    def __init__(self, tokens: Path):
        self.tokens = tokens
        self.environment = dict(os.environ)

    def command(self, out: Path, *options: str, main=("-m", "pipeline.cli")) -> list[str]:
        asked = ["pretrain", "--recipe=switch-demo", f"--tokens={self.tokens}", f"--out={out}"]
        return [sys.executable, *main, *asked, "--set", *SETTINGS, *options]

    def start(self, command: list[str], **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environment | environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, command: list[str]) -> tuple[int, str]:
        process = self.start(command)
        _, said = process.communicate()
        return process.returncode, said


@pytest.fixture(scope="module")
def runs(tokens) -> Runs:
    return Runs(tokens)


@pytest.fixture(scope="module")
def whole(runs, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    status, said = runs.end(runs.command(out))
    assert status == 0, said
    return out


def lines(run: Path) -> list[dict]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in UNTIMED} for line in found]


def parameters(run: Path) -> list[np.ndarray]:
    _, trainer = load_run(run)
    arrays, step = restore(run, trainer, None)
    assert step == STEPS
    return [np.asarray(leaf) for leaf in jax.tree.leaves(arrays)]


def assert_same_run(one: Path, other: Path) -> None:
    assert lines(one) == lines(other)
    for left, right in zip(parameters(one), parameters(other), strict=True):
        np.testing.assert_array_equal(left, right)
    for path in (one / "evaluation").iterdir():
        assert pq.read_table(path).equals(pq.read_table(other / "evaluation" / path.name))


def wait_for(condition, process: subprocess.Popen[str]) -> None:
    while process.poll() is None and not condition():
        time.sleep(0.02)


def test_whatever_happens_to_a_run_it_ends_as_if_nothing_had(runs, whole, tmp_path):
    """Killed in a save and before its commit, killed at random, terminated, then damaged."""
    out = tmp_path / "run"
    kill_in_save(runs, out, "during", EVERY)
    kill_in_save(runs, out, "before_commit", 2 * EVERY)
    process = runs.start(runs.command(out))
    wait_for(lambda: len(lines(out)) > EVERY, process)
    time.sleep(random.uniform(0.0, 0.3))  # any moment: before, in or after the next save
    process.kill()
    process.communicate()
    terminate(runs, out)
    damaged = damage_last_checkpoint(out)
    status, said = runs.end(runs.command(out))
    assert status == 0, said
    assert f"Checkpoint {damaged} in" in said
    assert "Traceback" not in said
    assert (out / f"damaged-{damaged}-0").is_dir()
    assert_same_run(out, whole)
    account = json.loads((out / "time.json").read_text())
    assert account["shares"]["stepping"] == account["goodput"] > 0
    assert sum(account["shares"].values()) == pytest.approx(1)


def kill_in_save(runs: Runs, out: Path, moment: str, step: int) -> None:
    killer = str(Path(__file__).with_name("mswitch_killed.py"))
    status, said = runs.end(runs.command(out, main=(killer, moment, str(step), "--")))
    assert status == -signal.SIGKILL, said
    assert not (out / f"checkpoints/{step}").exists()


def terminate(runs: Runs, out: Path) -> None:
    """SIGTERM right after the start: it saves what there is and exits in time."""
    started = time.time()
    process = runs.start(runs.command(out))
    wait_for(lambda: (out / "metrics.jsonl").stat().st_mtime > started, process)
    asked = time.monotonic()
    process.terminate()
    _, said = process.communicate()
    assert time.monotonic() - asked < GRACE_SECONDS + 5
    assert process.returncode == PREEMPTED_STATUS == 143, said
    assert f"exits within {GRACE_SECONDS} s" in said
    assert "which is saved; the same command goes on" in said


def damage_last_checkpoint(out: Path) -> int:
    """Alters a byte of every file of arrays; returns the step."""
    (*_, step) = sorted(int(path.name) for path in (out / "checkpoints").iterdir())
    for path in (out / f"checkpoints/{step}").rglob("d/*"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    return step


def test_an_evaluation_that_is_interrupted_is_made_by_the_next_start(tokens, tmp_path, monkeypatch):
    """SIGTERM while held-out pages are scored, in the middle and at the end of a run.

    The run is not finished, and goes on just there.
    """
    asked = Pretrain(
        recipe="switch-demo", tokens=str(tokens), out=tmp_path / "run", overrides=tuple(SETTINGS)
    )
    scored, score = [], HeldOut.score

    def interrupted(self, *arguments):
        scored.append(None)
        return None if len(scored) in (2, 4) else score(self, *arguments)

    monkeypatch.setattr(HeldOut, "score", interrupted)
    for step in (6, STEPS):
        with pytest.raises(Preempted, match=f"stopped after step {step}, which is saved"):
            pretrain.run(asked)
        assert not (tmp_path / f"run/evaluation/step={step}.parquet").exists()
        assert (tmp_path / f"run/checkpoints/{step}").exists()
    assert (tmp_path / "run/evaluation/step=6.parquet").exists()
    pretrain.run(asked)
    assert (tmp_path / f"run/evaluation/step={STEPS}.parquet").exists()
    assert len(scored) == 5  # at 0, 6 and 12, and twice again
    pretrain.run(asked)
    assert len(scored) == 5  # finished


def test_two_hosts_are_one(runs, whole, tmp_path):
    """Two processes of four devices each: the losses of one process of eight."""
    out = tmp_path / "run"
    with socket.socket() as found:
        found.bind(("localhost", 0))
        address = f"localhost:{found.getsockname()[1]}"
    flags = runs.environment["XLA_FLAGS"].replace("device_count=8", "device_count=4")
    hosts = [
        runs.start(
            runs.command(
                out,
                "--hosts.count=2",
                f"--hosts.index={index}",
                f"--hosts.coordinator={address}",
            ),
            XLA_FLAGS=flags,
        )
        for index in range(2)
    ]
    said = [process.communicate()[1] for process in hosts]
    assert [process.returncode for process in hosts] == [0, 0], said
    for left, right in zip(lines(out), lines(whole), strict=True):
        assert left == pytest.approx(right, rel=1e-5)
    for left, right in zip(parameters(out), parameters(whole), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


def test_another_recipe_is_refused_with_the_difference(runs, whole, capsys):
    asked = [*runs.command(whole), "optimizer.scale=0.5", "model.embed=32"]
    assert cli.run(asked[asked.index("pretrain") :]) == 2
    said = capsys.readouterr().err
    assert "settings.optimizer.scale: there 1.0, asked 0.5" in said
    assert "settings.model.embed: there 16, asked 32" in said


@pytest.mark.parametrize("devices", [1, 3, 8])
def test_a_run_of_eight_devices_is_read_on_others(
    whole, tokens, tmp_path, monkeypatch, capsys, devices
):
    """Its groups are the recipe's: the losses are the same on one device as on data=2 expert=4."""
    run, here = tmp_path / "run", jax.devices()[:devices]
    shutil.copytree(whole, run)
    monkeypatch.setattr(jax, "devices", lambda: here)
    evaluate.run(Evaluate(run=run, tokens=str(tokens)))
    path = f"evaluation/step={STEPS}.parquet"
    read, trained = (pq.read_table(one / path) for one in (run, whole))
    assert read["url"].equals(trained["url"])
    np.testing.assert_allclose(read["loss_nats"], trained["loss_nats"], rtol=1e-5)
    if devices == 8:
        assert read.equals(trained)
    fill.run(Fill(text="Watu <extra_id_0> huru", run=run, tokens=4))
    assert capsys.readouterr().out.strip()
