"""A checkpoint is the state, bit for bit, from the moment its record is there."""

import errno
import itertools
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from faulty_store import Misbehaviour, Store
from jax.sharding import NamedSharding, PartitionSpec
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
from model.sharding.mesh import make_mesh
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


IN_STORE = Address("store://bucket/run/checkpoints")


@pytest.fixture(params=["disk", "store"])
def where(request, folder):
    return folder if request.param == "disk" else IN_STORE


def state() -> dict[str, jax.Array]:
    """Two arrays, one of them in parts on eight devices."""
    mesh, rows = make_mesh(MeshShape(data=8)), np.arange(64, dtype=np.float32).reshape(8, 8)
    parts, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (["data"], []))
    return {"rows": jax.device_put(rows, parts), "step": jax.device_put(np.int32(0), whole)}


def shapes(of: object) -> Any:
    def shape(array):
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)

    return jax.tree.map(shape, of)


def saved(where, *steps: int, **kept: Any) -> Checkpoints:
    checkpoints = Checkpoints(where, **kept)
    for step in steps:
        checkpoints.save(step, state())
    checkpoints.close()
    return checkpoints


def assert_read_back(checkpoints: Checkpoints, step: int) -> None:
    assert_close(checkpoints.restore(step, shapes(state())), state(), rtol=0)


def refused(*_):
    raise Misbehaviour("503")


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.slow
def test_a_network_is_read_back_on_another_mesh(where):
    dense, other = trainer("dense"), trainer("dense", MeshShape(data=2, model=2))
    checkpoints = Checkpoints(where)
    checkpoints.save(3, start(dense))
    checkpoints.close()
    for of in (dense, other):
        planned = with_shardings(jax.eval_shape(of.init), of.shardings)
        assert_close(Checkpoints(where).restore(3, planned), start(dense), rtol=0)


def test_the_last_two_and_every_so_many_and_the_chosen_are_kept(where, folder):
    checkpoints = saved(where, 2, 3, 4, 5, 6, 7, keep_every=4, chosen=lambda: [3])
    assert checkpoints.steps() == [3, 4, 6, 7]
    folders = [path.name.split("-")[0] for path in folder.iterdir() if path.is_dir()]
    assert sorted(folders) == ["3", "4", "6", "7"]


def test_what_an_earlier_start_preserved_stays(where):
    """Also if the user forgets `keep_every` on a resume: branches begin there."""
    saved(where, 2, 4, 5, 6, keep_every=2)
    again = Checkpoints(where, chosen=lambda: [5])
    again.forget_unfinished()
    for step in (7, 8, 9):
        again.save(step, state())
    again.close()
    assert again.steps() == [2, 4, 5, 8, 9]


def test_what_a_user_set_aside_is_not_removed(where, folder):
    checkpoints = saved(where, 1, 2, 3)
    (folder / "3.json").rename(folder / "3.json.bak")
    for name in ("mine/2-00000000", "4-00000000"):  # the second of a killed save
        (folder / name).mkdir(parents=True)
    (folder / "4-00000000/array").touch()
    checkpoints.forget_unfinished()
    assert checkpoints.steps() == [2]
    assert list(folder.glob("3-*"))
    assert (folder / "mine/2-00000000").is_dir()
    assert not (folder / "4-00000000").exists()


def test_a_record_that_cannot_be_read_does_not_keep_the_others(where, folder):
    saved(where, 1, 2)
    (folder / "1.json").write_bytes(b"")
    assert saved(where, 3, 4, 5).steps() == [1, 4, 5]


def test_a_step_whose_arrays_are_on_their_way_is_not_saved_again(where, monkeypatch):
    """A signal may end the evaluation of a step whose record is not written yet."""
    written, begun = threading.Event(), []
    commit, spec = runs_checkpoints.write_json, runs_checkpoints.array_spec

    def late(*arguments):
        written.wait()
        commit(*arguments)

    monkeypatch.setattr(runs_checkpoints, "write_json", late)
    monkeypatch.setattr(runs_checkpoints, "array_spec", lambda *at: begun.append(at) or spec(*at))
    checkpoints = Checkpoints(where)
    checkpoints.save(5, state())
    assert checkpoints.steps() == []
    arrays = len(begun)
    checkpoints.save(5, state())
    written.set()
    checkpoints.close()
    assert checkpoints.steps() == [5]
    assert len(begun) == arrays


@pytest.mark.parametrize(("failure", "why"), [(refused, "503"), (full, "the disk is full")])
def test_without_its_record_a_save_is_nothing(folder, monkeypatch, failure, why):
    where = folder if failure is full else IN_STORE
    saved(where, 1)
    with monkeypatch.context() as patch:
        patch.setattr(runs_checkpoints, "write_json", failure)
        with pytest.raises(CheckpointError, match=rf"could not be written .*{why}.*; 1 is whole"):
            saved(where, 2)
    assert len(list(folder.glob("2-*/*/zarr.json"))) == len(state()) + 1  # and fingerprints
    (folder / f"2.json.{temporary_name()}").touch()  # of a process killed before it was renamed
    again = Checkpoints(where)
    assert again.steps() == [1]
    again.forget_unfinished()
    assert not list(folder.glob("2-*"))
    assert where is not folder or not list(folder.glob("*.tmp"))
    assert_read_back(again, 1)
    assert saved(where, 2).steps() == [1, 2]


def test_a_kill_while_old_arrays_are_removed_leaves_no_record_of_them(folder, monkeypatch):
    remove = Store.rm

    def killed(self, path, **options):
        if "/1-" in path:
            raise DataError("killed")
        remove(self, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "rm", killed)
        checkpoints = saved(IN_STORE, 1, 2, 3)
    assert checkpoints.steps() == [2, 3]
    assert list(folder.glob("1-*"))
    checkpoints.forget_unfinished()
    assert not list(folder.glob("1-*"))
    assert checkpoints.steps() == [2, 3]


def altered(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "file"),
    [(Path.unlink, "0/c/0/0"), (altered, "0/c/7/0"), (Path.unlink, "1/zarr.json")],
)
def test_damage_is_noticed_and_the_record_is_set_aside(where, folder, damage, file):
    checkpoints = saved(where, 1, 2)
    damage(next(folder.glob(f"2-*/{file}")))
    with pytest.raises(CheckpointError, match=r"Checkpoint 2 in .* is damaged"):
        assert_read_back(checkpoints, 2)
    assert checkpoints.set_aside(2) == where / "damaged-2-0.json"
    assert checkpoints.steps() == [1]
    checkpoints.forget_unfinished()
    assert list(folder.glob("2-*"))  # a damaged checkpoint is never deleted
    assert saved(where, 2).set_aside(2) == where / "damaged-2-1.json"
    assert_read_back(checkpoints, 1)


@pytest.mark.parametrize("name", ["2.json", "damaged-2-0.json"])
def test_a_record_that_cannot_be_read_is_damage_of_its_step_alone(where, folder, name):
    checkpoints = saved(where, 1, 2)
    if name != "2.json":
        checkpoints.set_aside(2)
    (folder / name).write_bytes(b"")
    checkpoints.forget_unfinished()
    assert list(folder.glob("2-*"))
    if name == "2.json":
        with pytest.raises(CheckpointError, match=r"Checkpoint 2 in .* is damaged"):
            assert_read_back(checkpoints, 2)
        checkpoints.set_aside(2)
    assert checkpoints.steps() == [1]
    assert_read_back(checkpoints, 1)


def test_other_numbers_than_were_saved_are_noticed(folder, monkeypatch):
    whole = state()
    sums = fingerprints(jax.tree.leaves(whole), whole["step"].sharding)
    monkeypatch.setattr(model.fingerprints, "fingerprints", lambda *_: sums)
    rows = jax.device_put(whole["rows"][::-1], whole["rows"].sharding)
    checkpoints = Checkpoints(folder)
    checkpoints.save(2, whole | {"rows": rows})
    checkpoints.close()
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"Checkpoint 2 in .*rows.* is not what was"):
        assert_read_back(Checkpoints(folder), 2)


@pytest.mark.parametrize(
    ("failure", "error", "message"),
    [
        (
            ValueError("RESOURCE_EXHAUSTED: Out of memory"),
            NoRoomError,
            "lacks memory or open files",
        ),
        (OSError(errno.EMFILE, "Too many open"), NoRoomError, "lacks memory or open files"),
        (ValueError("ABORTED: All 8 retries failed"), DataError, r"cannot be read \(ABORTED"),
    ],
)
def test_lack_of_memory_and_a_store_without_an_answer_are_no_damage(
    folder, monkeypatch, failure, error, message
):
    """A run then neither goes on from an older checkpoint nor sets this one aside."""

    def fail(*_, **__):
        raise failure

    checkpoints, read = saved(IN_STORE, 1, 2), runs_checkpoints.read_arrays
    sharding = jax.tree.map(lambda array: array.sharding, state())
    of: Any = SimpleNamespace(init=state, shardings=sharding)
    monkeypatch.setattr(runs_checkpoints, "read_arrays", fail)
    with pytest.raises(error, match=rf"Checkpoint 2 in .*{message}"):
        resume(checkpoints, of)
    monkeypatch.setattr(runs_checkpoints, "read_arrays", read)
    assert resume(checkpoints, of)[1:] == (2, [])


@pytest.mark.slow
def test_a_wall_clock_that_jumps_does_not_end_a_save(folder, monkeypatch):
    years = itertools.cycle([time.time() + 365 * 86_400, time.time() - 365 * 86_400])
    monkeypatch.setattr(time, "time", lambda: next(years))
    checkpoints = saved(folder, 1, 2)
    assert checkpoints.steps() == [1, 2]
    assert_read_back(checkpoints, 2)


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


def test_a_run_may_be_copied_between_a_disk_and_a_store(folder, tmp_path):
    saved(IN_STORE, 1)
    shutil.copytree(folder, tmp_path / "copy")
    assert_read_back(Checkpoints(tmp_path / "copy"), 1)


def test_what_is_no_checkpoint_is_none(folder):
    folder.mkdir(parents=True)
    for name in ("01.json", "damaged-2-0.json", "damaged-2-1", "3", "-4.json"):
        (folder / name).write_text("{}")
    assert steps_in(IN_STORE) == []
    with pytest.raises(DataError, match=r"written to s3:// and gs:// alone"):
        kvstore("store://bucket/run")
