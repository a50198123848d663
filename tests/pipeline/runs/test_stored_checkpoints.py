"""A checkpoint in a store is the state, bit for bit, from the moment its record is there."""

import threading

import jax
import pytest
from faulty_store import Misbehaviour, Store
from small_networks import assert_close, start, trainer
from stored_runs import use_store

from data.errors import DataError
from data.files.paths import Address
from data.files.stores import kvstore
from model.checkpoints import CheckpointError, with_shardings
from model.config import MeshShape
from pipeline.runs import checkpoints as stored_checkpoints
from pipeline.runs.checkpoints import Checkpoints, StoredCheckpoints, open_checkpoints
from pipeline.runs.directory import steps_in

HERE = Address("store://bucket/run/checkpoints")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    use_store(tmp_path, monkeypatch)
    return tmp_path / "bucket/run/checkpoints"


def shapes(of):
    return with_shardings(jax.eval_shape(of.init), of.shardings)


def saved(*steps, keep_every=0):
    checkpoints, state = StoredCheckpoints(HERE, keep_every), start(trainer("dense"))
    for step in steps:
        checkpoints.save(step, state)
    checkpoints.close()
    return checkpoints, state


def test_the_place_decides_where_checkpoints_lie(tmp_path):
    assert isinstance(open_checkpoints(HERE), StoredCheckpoints)
    local = open_checkpoints(tmp_path / "checkpoints")
    assert isinstance(local, Checkpoints)
    local.close()


@pytest.mark.slow
def test_a_state_is_read_back_on_another_mesh(folder):
    checkpoints, state = saved(3)
    other = trainer("dense", MeshShape(data=2, model=2))
    assert_close(StoredCheckpoints(HERE).restore(3, shapes(other)), state, rtol=0)
    assert_close(checkpoints.restore(3, shapes(trainer("dense"))), state, rtol=0)


def test_the_last_two_and_every_so_many_are_kept(folder):
    checkpoints, _ = saved(2, 3, 4, 5, 6, keep_every=4)
    assert checkpoints.steps() == [4, 5, 6]
    assert sorted(path.name.split("-")[0] for path in folder.iterdir() if path.is_dir()) == [
        "4",
        "5",
        "6",
    ]


def test_a_record_that_cannot_be_read_does_not_keep_the_others(folder):
    saved(1, 2)
    (folder / "1.json").write_bytes(b"")
    checkpoints, _ = saved(3, 4, 5)
    assert checkpoints.steps() == [1, 4, 5]


def test_a_step_whose_arrays_are_on_their_way_is_not_saved_again(folder, monkeypatch):
    """A signal may end the evaluation of a step whose record is not written yet."""
    written, begun = threading.Event(), []
    commit, place = stored_checkpoints.write_json, stored_checkpoints.kvstore

    def late(*arguments):
        written.wait()
        commit(*arguments)

    monkeypatch.setattr(stored_checkpoints, "write_json", late)
    monkeypatch.setattr(stored_checkpoints, "kvstore", lambda at: begun.append(at) or place(at))
    checkpoints, state = StoredCheckpoints(HERE), start(trainer("dense"))
    checkpoints.save(5, state)
    assert checkpoints.steps() == []
    checkpoints.save(5, state)
    written.set()
    checkpoints.close()
    assert checkpoints.steps() == [5]
    assert len(begun) == 1


def test_without_its_record_a_save_is_nothing(folder, monkeypatch):
    saved(1)
    with monkeypatch.context() as patch:
        patch.setattr(stored_checkpoints, "write_json", refused)
        with pytest.raises(CheckpointError, match=r"could not be written .*; 1 is whole"):
            saved(2)
    assert len(list(folder.glob("2-*/*/zarr.json"))) > 10  # all arrays are there
    again = StoredCheckpoints(HERE)
    assert again.steps() == [1]
    again.forget_unfinished()
    assert not list(folder.glob("2-*"))
    assert_close(again.restore(1, shapes(trainer("dense"))), start(trainer("dense")), rtol=0)
    assert saved(2)[0].steps() == [1, 2]


def refused(*_):
    raise Misbehaviour("503")


def test_a_kill_while_old_arrays_are_removed_leaves_no_record_of_them(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Store, "rm", killed_at_a_folder(Store.rm))
        checkpoints, _ = saved(1, 2, 3)
    assert checkpoints.steps() == [2, 3]
    assert list(folder.glob("1-*"))
    checkpoints.forget_unfinished()
    assert not list(folder.glob("1-*"))
    assert checkpoints.steps() == [2, 3]


def killed_at_a_folder(remove):
    def rm(self, path, **options):
        if "/1-" in path:
            raise DataError("killed")
        remove(self, path, **options)

    return rm


@pytest.mark.parametrize("how", ["missing", "altered", "no metadata"])
def test_damage_is_noticed_and_the_record_is_set_aside(folder, how):
    checkpoints, state = saved(1, 2)
    damage(folder, how)
    with pytest.raises(CheckpointError, match=r"Checkpoint 2 in store://.* is damaged"):
        checkpoints.restore(2, shapes(trainer("dense")))
    assert checkpoints.set_aside(2) == HERE / "damaged-2-0.json"
    assert checkpoints.steps() == [1]
    checkpoints.forget_unfinished()
    assert list(folder.glob("2-*"))  # a damaged checkpoint is never deleted
    assert saved(2)[0].set_aside(2) == HERE / "damaged-2-1.json"
    assert_close(checkpoints.restore(1, shapes(trainer("dense"))), state, rtol=0)


@pytest.mark.parametrize("name", ["2.json", "damaged-2-0.json"])
def test_a_record_that_cannot_be_read_is_damage_of_its_step_alone(folder, name):
    checkpoints, state = saved(1, 2)
    if name != "2.json":
        checkpoints.set_aside(2)
    (folder / name).write_bytes(b"")
    checkpoints.forget_unfinished()
    assert list(folder.glob("2-*"))
    if name == "2.json":
        with pytest.raises(CheckpointError, match=r"Checkpoint 2 in store://.* is damaged"):
            checkpoints.restore(2, shapes(trainer("dense")))
        checkpoints.set_aside(2)
    assert checkpoints.steps() == [1]
    assert_close(checkpoints.restore(1, shapes(trainer("dense"))), state, rtol=0)


def damage(folder, how):
    chunks = sorted(path for path in folder.glob("2-*/*/c/**/*") if path.is_file())
    largest = max(chunks, key=lambda path: path.stat().st_size)
    if how == "missing":
        largest.unlink()
    elif how == "altered":
        content = bytearray(largest.read_bytes())
        content[len(content) // 2] ^= 1
        largest.write_bytes(content)
    else:
        next(folder.glob("2-*/*/zarr.json")).unlink()


def test_a_store_that_gives_no_answer_is_no_damage(folder, monkeypatch):
    checkpoints, _ = saved(1)

    def away(*_):
        raise ValueError("ABORTED: All 8 retry attempts failed")

    monkeypatch.setattr(stored_checkpoints, "read", away)
    with pytest.raises(DataError, match=r"Checkpoint 1 in .* cannot be read \(ABORTED"):
        checkpoints.restore(1, shapes(trainer("dense")))


def test_what_is_no_checkpoint_is_none(folder):
    folder.mkdir(parents=True)
    for name in ("01.json", "damaged-2-0.json", "3", "-4.json"):
        (folder / name).write_text("{}")
    assert steps_in(HERE) == []
    assert steps_in(folder) == [3]


def test_other_stores_hold_no_checkpoints():
    with pytest.raises(DataError, match="written to s3:// and gs:// alone"):
        kvstore("store://bucket/run")
