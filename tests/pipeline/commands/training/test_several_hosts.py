"""Two hosts of four devices each: one is killed, one has an old view, both read a run."""

import shutil
import signal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from started_hosts import options, run_hosts
from training_runs import SETTINGS, STEPS, lines, one_trainer_per_recipe, parameters

from pipeline import cli
from pipeline.artifacts import CLAIM, MANIFEST
from pipeline.commands.export_hf import ExportHf
from pipeline.errors import LOST_STATUS

pytestmark = pytest.mark.slow

LAUNCHER = str(Path(__file__).parent / "mswitch_hosts.py")


@pytest.fixture
def command(tokens):
    def words(out: Path, *more: str) -> list[str]:
        asked = ["pretrain", "--recipe=switch-demo", f"--tokens={tokens}", f"--out={out}"]
        return [*asked, "--set", *SETTINGS, *more]

    return words


def test_a_killed_host_ends_the_other_and_one_host_finishes_the_run(command, pretrained, tmp_path):
    out = tmp_path / "run"
    found = run_hosts(2, lambda *host: command(out, *options(2, *host)), (LAUNCHER, "killed"))
    assert [one.status for one in found] == [LOST_STATUS, -signal.SIGKILL], found
    assert "pretrain: host 1 of 2 (" in found[0].err
    assert "has not answered for" in found[0].err.splitlines()[-1]
    assert "Traceback" not in found[0].err
    with one_trainer_per_recipe():
        assert cli.run(command(out)) == 0
    for left, right in zip(lines(out), lines(pretrained), strict=True):
        assert left == pytest.approx(right, rel=1e-5)
    for left, right in zip(parameters(out, STEPS), parameters(pretrained, STEPS), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


def test_a_host_that_lacks_the_last_checkpoint_ends_both(command, pretrained, tmp_path):
    views = [tmp_path / "first", tmp_path / "second"]
    for view in views:
        shutil.copytree(pretrained, view)
        (view / MANIFEST).rename(view / CLAIM)
    (views[1] / f"checkpoints/{STEPS}.json").unlink()
    first, second = run_hosts(
        2,
        lambda index, address: command(views[index], *options(2, index, address)),
        (LAUNCHER, "impatient"),
    )
    assert (first.status, second.status) == (2, 2), (first, second)
    told = "is there for some hosts, and others did not see it"
    for host in (first, second):
        assert f"Checkpoint {STEPS} of {tmp_path}" in host.err
        assert told in host.err
    assert (views[0] / f"checkpoints/{STEPS}.json").exists()  # not taken for damaged


def test_two_hosts_read_a_run_as_one_does(pretrained, tokens, tmp_path):
    run, out = tmp_path / "run", tmp_path / "exported"
    shutil.copytree(pretrained, run)
    (run / f"evaluation/step={STEPS}.parquet").unlink()
    found = run_hosts(
        2,
        lambda index, address: [str(run), str(tokens), str(out), "2", str(index), address],
        (LAUNCHER, "read"),
    )
    assert [one.status for one in found] == [0, 0], found
    path = f"evaluation/step={STEPS}.parquet"
    read, trained = (pq.read_table(one / path) for one in (run, pretrained))
    for name in ("url", "target_tokens", "text_bytes", "windows"):
        assert read[name].equals(trained[name]), name
    np.testing.assert_allclose(read["loss_nats"], trained["loss_nats"], rtol=1e-5)
    ExportHf(run=run, out=tmp_path / "alone").execute()
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (out / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert "export-hf" in found[0].err
    assert "export-hf" not in found[1].err
