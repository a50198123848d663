"""A run in a store ends with the numbers of a run on a disk, whatever the store does meanwhile."""

import json
import shutil

import pytest
from faulty_store import Misbehaviour, Store
from stored_runs import use_store
from training_runs import SETTINGS, STEPS, assert_same_run, one_trainer_per_recipe

from data.files.paths import Address, names_in, read_bytes
from pipeline import cli
from pipeline.runs import checkpoints
from pipeline.runs.finished import evaluated_steps, read_run

pytestmark = pytest.mark.slow

RUN = Address("store://bucket/runs/switch")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    use_store(tmp_path, monkeypatch, put=("fail", 5), get=("fail", 7))
    return tmp_path / "bucket/runs/switch"


def test_a_run_whose_saves_are_cut_short_ends_as_if_on_a_disk(
    folder, tokens, pretrained, monkeypatch, capsys
):
    """The record of step 6 cannot be written at the first start; 503 come now and then."""
    command = ["pretrain", "--recipe=switch-demo", f"--tokens={tokens}", f"--out={RUN}"]
    command += ["--set", *SETTINGS]
    write = checkpoints.write_json

    def cut_short(path, value):
        if path.name == "6.json":
            raise Misbehaviour("503 for an hour")
        write(path, value)

    with one_trainer_per_recipe():
        with monkeypatch.context() as patch:
            patch.setattr(checkpoints, "write_json", cut_short)
            assert cli.run(command) == 2
        said = capsys.readouterr().err
        assert f"could not be written to {RUN}/checkpoints (503 for an hour); 3 is whole" in said
        assert list(folder.glob("checkpoints/6-*"))
        assert cli.run(command) == 0
        assert_same_run(RUN, pretrained, STEPS)
    assert json.loads(read_bytes(RUN / "time.json"))["steps_made_again"] > 0
    assert len(list((folder / "tensorboard").iterdir())) == 2
    assert not names_in(RUN / "lock")
    saved = {name.split(".")[0].split("-")[0] for name in names_in(RUN / "checkpoints")}
    assert saved == {"9", "12"}
    assert Store.calls["put"] > 20


def test_a_run_in_a_store_is_read(folder, tokens, pretrained, capsys):
    """What needs no other program than that of the test above; more is in tests/engines."""
    shutil.copytree(pretrained, folder, ignore=shutil.ignore_patterns("checkpoints"))
    here = read_run(pretrained)
    assert list(evaluated_steps(RUN)) == list(evaluated_steps(pretrained)) == [0, 6, STEPS]
    there = read_run(RUN)
    assert (there.about, there.metrics) == (here.about, here.metrics)
    assert there.tokens_seen == here.tokens_seen
    assert there.pages.loss_nats.tolist() == here.pages.loss_nats.tolist()
