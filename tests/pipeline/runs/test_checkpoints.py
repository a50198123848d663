"""A checkpoint is the state, bit for bit, from the moment its record is there."""

import errno
import itertools
import shutil
import threading
import time
from pathlib import Path

import equinox as eqx
import jax
import pytest
from faulty_store import Misbehaviour, Store
from small_networks import assert_close, start, trainer
from started_hosts import run_hosts
from stored_runs import use_store

import model.fingerprints
from data.errors import DataError
from data.files.atomic import temporary_name
from data.files.paths import Address
from data.files.stores import kvstore
from model.config import MeshShape
from model.fingerprints import fingerprints
from model.sharding.layouts import with_shardings
from pipeline.runs import checkpoints as runs_checkpoints
from pipeline.runs.checkpoint_errors import CheckpointError, NoRoomError
from pipeline.runs.checkpoints import Checkpoints
from pipeline.runs.directory import steps_in
from pipeline.training.loop import resume


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the checkpoints lie on this machine, also those in the store."""
    use_store(tmp_path, monkeypatch)
    return tmp_path / "bucket/run/checkpoints"


@pytest.fixture(params=["disk", "store"])
def where(request, folder):
    return folder if request.param == "disk" else Address("store://bucket/run/checkpoints")


@pytest.fixture
def in_store(folder):
    return Address("store://bucket/run/checkpoints")


def shapes(of=None):
    of = of or trainer("dense")
    return with_shardings(jax.eval_shape(of.init), of.shardings)


def saved(where, *steps, **kept):
    checkpoints, state = Checkpoints(where, **kept), start(trainer("dense"))
    for step in steps:
        checkpoints.save(step, state)
    checkpoints.close()
    return checkpoints, state


def refused(*_):
    raise Misbehaviour("503")


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.slow
def test_a_state_is_read_back_on_another_mesh(where):
    checkpoints, state = saved(where, 3)
    other = trainer("dense", MeshShape(data=2, model=2))
    assert_close(Checkpoints(where).restore(3, shapes(other)), state, rtol=0)
    assert_close(checkpoints.restore(3, shapes()), state, rtol=0)


def test_the_last_two_and_every_so_many_and_the_chosen_are_kept(where, folder):
    checkpoints, _ = saved(where, 2, 3, 4, 5, 6, 7, keep_every=4, chosen=lambda: [3])
    assert checkpoints.steps() == [3, 4, 6, 7]
    folders = [path.name.split("-")[0] for path in folder.iterdir() if path.is_dir()]
    assert sorted(folders) == ["3", "4", "6", "7"]


def test_what_an_earlier_start_preserved_stays(where):
    """Also if the user forgets `keep_every` on a resume: branches begin there."""
    saved(where, 2, 4, 5, 6, keep_every=2)
    again, state = Checkpoints(where, chosen=lambda: [5]), start(trainer("dense"))
    again.forget_unfinished()
    for step in (7, 8, 9):
        again.save(step, state)
    again.close()
    assert again.steps() == [2, 4, 5, 8, 9]


def test_what_a_user_set_aside_is_not_removed(where, folder, tmp_path):
    checkpoints, _ = saved(where, 1, 2, 3)
    (folder / "3.json").rename(folder / "3.json.bak")
    (folder / "mine/2-00000000").mkdir(parents=True)
    (folder / "4-00000000").mkdir()  # of a killed save
    (folder / "4-00000000/array").touch()
    checkpoints.forget_unfinished()
    assert checkpoints.steps() == [2]
    assert list(folder.glob("3-*"))
    assert (folder / "mine/2-00000000").is_dir()
    assert not (folder / "4-00000000").exists()


def test_a_record_that_cannot_be_read_does_not_keep_the_others(where, folder):
    saved(where, 1, 2)
    (folder / "1.json").write_bytes(b"")
    checkpoints, _ = saved(where, 3, 4, 5)
    assert checkpoints.steps() == [1, 4, 5]


def test_a_step_whose_arrays_are_on_their_way_is_not_saved_again(where, monkeypatch):
    """A signal may end the evaluation of a step whose record is not written yet."""
    written, begun = threading.Event(), []
    commit, spec = runs_checkpoints.write_json, runs_checkpoints.array_spec

    def late(*arguments):
        written.wait()
        commit(*arguments)

    monkeypatch.setattr(runs_checkpoints, "write_json", late)
    monkeypatch.setattr(runs_checkpoints, "array_spec", lambda *at: begun.append(at) or spec(*at))
    checkpoints, state = Checkpoints(where), start(trainer("dense"))
    checkpoints.save(5, state)
    assert checkpoints.steps() == []
    arrays = len(begun)
    checkpoints.save(5, state)
    written.set()
    checkpoints.close()
    assert checkpoints.steps() == [5]
    assert len(begun) == arrays


@pytest.mark.parametrize(("failure", "why"), [(refused, "503"), (full, "the disk is full")])
def test_without_its_record_a_save_is_nothing(folder, monkeypatch, failure, why):
    where = folder if failure is full else Address("store://bucket/run/checkpoints")
    saved(where, 1)
    with monkeypatch.context() as patch:
        patch.setattr(runs_checkpoints, "write_json", failure)
        with pytest.raises(CheckpointError, match=rf"could not be written .*{why}.*; 1 is whole"):
            saved(where, 2)
    assert len(list(folder.glob("2-*/*/zarr.json"))) > 10  # all arrays are there
    (
        folder / f"2.json.{temporary_name()}"
    ).touch()  # of a process that was killed before it was renamed
    again = Checkpoints(where)
    assert again.steps() == [1]
    again.forget_unfinished()
    assert not list(folder.glob("2-*"))
    assert where is not folder or not list(folder.glob("*.tmp"))
    assert_close(again.restore(1, shapes()), start(trainer("dense")), rtol=0)
    assert saved(where, 2)[0].steps() == [1, 2]


def test_a_kill_while_old_arrays_are_removed_leaves_no_record_of_them(
    in_store, folder, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(Store, "rm", killed_at_a_folder(Store.rm))
        checkpoints, _ = saved(in_store, 1, 2, 3)
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
def test_damage_is_noticed_and_the_record_is_set_aside(where, folder, how):
    checkpoints, state = saved(where, 1, 2)
    damage(folder, how)
    with pytest.raises(CheckpointError, match=r"Checkpoint 2 in .* is damaged"):
        checkpoints.restore(2, shapes())
    assert checkpoints.set_aside(2) == where / "damaged-2-0.json"
    assert checkpoints.steps() == [1]
    checkpoints.forget_unfinished()
    assert list(folder.glob("2-*"))  # a damaged checkpoint is never deleted
    assert saved(where, 2)[0].set_aside(2) == where / "damaged-2-1.json"
    assert_close(checkpoints.restore(1, shapes()), state, rtol=0)


@pytest.mark.parametrize("name", ["2.json", "damaged-2-0.json"])
def test_a_record_that_cannot_be_read_is_damage_of_its_step_alone(where, folder, name):
    checkpoints, state = saved(where, 1, 2)
    if name != "2.json":
        checkpoints.set_aside(2)
    (folder / name).write_bytes(b"")
    checkpoints.forget_unfinished()
    assert list(folder.glob("2-*"))
    if name == "2.json":
        with pytest.raises(CheckpointError, match=r"Checkpoint 2 in .* is damaged"):
            checkpoints.restore(2, shapes())
        checkpoints.set_aside(2)
    assert checkpoints.steps() == [1]
    assert_close(checkpoints.restore(1, shapes()), state, rtol=0)


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


def test_other_numbers_than_were_saved_are_noticed(folder, monkeypatch):
    state = start(trainer("dense"))
    rows = jax.device_put(state.arrays.embedding[::-1], state.arrays.embedding.sharding)
    reversed_rows = eqx.tree_at(lambda arrays: arrays.embedding, state.arrays, rows)
    checkpoints = Checkpoints(folder)
    sums = fingerprints(jax.tree.leaves(state), state.step.sharding)
    monkeypatch.setattr(model.fingerprints, "fingerprints", lambda *_: sums)
    checkpoints.save(2, state._replace(arrays=reversed_rows))
    checkpoints.close()
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"Checkpoint 2 in .*\.embedding is not what was"):
        Checkpoints(folder).restore(2, shapes())


@pytest.mark.parametrize(
    "failure",
    [ValueError("RESOURCE_EXHAUSTED: Out of memory"), OSError(errno.EMFILE, "Too many open")],
)
def test_lack_of_memory_is_no_damage(folder, monkeypatch, failure):
    """A run then neither goes on from an older checkpoint nor sets this one aside."""

    def fail(*_, **__):
        raise failure

    checkpoints, _ = saved(folder, 1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(runs_checkpoints, "read_arrays", fail)
        with pytest.raises(
            NoRoomError, match=r"Checkpoint 2 in .* because a host lacks memory or open files"
        ):
            resume(checkpoints, trainer("dense"))
    assert resume(checkpoints, trainer("dense"))[1:] == (2, [])


def test_a_store_that_gives_no_answer_is_no_damage(in_store, monkeypatch):
    checkpoints, _ = saved(in_store, 1)

    def away(*_):
        raise ValueError("ABORTED: All 8 retry attempts failed")

    monkeypatch.setattr(runs_checkpoints, "read_arrays", away)
    with pytest.raises(DataError, match=r"Checkpoint 1 in .* cannot be read \(ABORTED"):
        checkpoints.restore(1, shapes())


@pytest.mark.slow
def test_a_wall_clock_that_jumps_does_not_end_a_save(folder, monkeypatch):
    years = itertools.cycle([time.time() + 365 * 86_400, time.time() - 365 * 86_400])
    monkeypatch.setattr(time, "time", lambda: next(years))
    checkpoints, state = saved(folder, 1, 2)
    assert checkpoints.steps() == [1, 2]
    assert_close(checkpoints.restore(2, shapes()), state)


@pytest.mark.slow
def test_a_file_that_one_host_alone_reads_is_missed_by_both(tmp_path):
    """The host that fails must not leave the other one waiting."""
    launcher = (str(Path(__file__).parent / "damaged_hosts.py"),)
    directory = str(tmp_path / "checkpoints")
    hosts = run_hosts(2, lambda index, at: [directory, str(index), at], launcher)
    assert "another host could not read it" in hosts[0].err
    for host in hosts:
        assert host.status == 0, host.err
        assert "refused: Checkpoint 2 in" in host.err
        assert "restored 1" in host.err


def test_a_run_may_be_copied_between_a_disk_and_a_store(in_store, folder, tmp_path):
    _, state = saved(in_store, 1)
    shutil.copytree(folder, tmp_path / "copy")
    assert_close(Checkpoints(tmp_path / "copy").restore(1, shapes()), state, rtol=0)


def test_what_is_no_checkpoint_is_none(folder, in_store):
    folder.mkdir(parents=True)
    for name in ("01.json", "damaged-2-0.json", "damaged-2-1", "3", "-4.json"):
        (folder / name).write_text("{}")
    assert steps_in(in_store) == []


def test_other_stores_hold_no_checkpoints():
    with pytest.raises(DataError, match="written to s3:// and gs:// alone"):
        kvstore("store://bucket/run")
