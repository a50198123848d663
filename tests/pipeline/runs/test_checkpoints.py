"""A checkpoint is the state, bit for bit; a damaged or unfinished one is noticed."""

import errno
import itertools
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import equinox as eqx
import jax
import orbax.checkpoint as ocp
import pytest
from orbax.checkpoint.path import atomicity
from small_networks import assert_close, start, trainer
from started_hosts import run_hosts

from model import checkpoints as table
from model.checkpoints import CheckpointError, NoRoomError, fingerprints, with_shardings
from pipeline.runs.checkpoints import Checkpoints, silence_late_errors
from pipeline.training.loop import resume


@pytest.fixture(scope="module")
def one():
    return trainer("dense")


def with_reversed_rows(state):
    rows = jax.device_put(state.arrays.embedding[::-1], state.arrays.embedding.sharding)
    return state._replace(arrays=eqx.tree_at(lambda arrays: arrays.embedding, state.arrays, rows))


@pytest.mark.slow
def test_an_altered_checkpoint_is_noticed_and_older_ones_are_left(one, tmp_path, monkeypatch):
    """Other numbers than were saved, which Orbax restores without an error; and a missing file."""
    state = start(one)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(1, state)
    with monkeypatch.context() as patch:
        saved = fingerprints(jax.tree.leaves(state), state.step.sharding)
        patch.setattr(table, "fingerprints", lambda *_: saved)
        checkpoints.save(2, with_reversed_rows(state))
    checkpoints.close()
    shapes = with_shardings(jax.eval_shape(one.init), one.shardings)
    again = Checkpoints(tmp_path / "checkpoints")
    with pytest.raises(CheckpointError, match=r"Checkpoint 2 in .*\.embedding is not what was"):
        again.restore(2, shapes)
    (tmp_path / "checkpoints/2/default/manifest.ocdbt").unlink()
    with pytest.raises(CheckpointError, match=r"Checkpoint 2 in .* is damaged"):
        again.restore(2, shapes)
    assert again.set_aside(2) == tmp_path / "damaged-2-0"
    assert again.steps() == [1]
    again.restore(1, shapes)
    again.save(2, state)
    again.close()


@pytest.mark.parametrize(
    "failure",
    [RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), OSError(errno.EMFILE, "Too many open")],
)
def test_lack_of_memory_is_no_damage(one, tmp_path, monkeypatch, failure):
    """A run then neither goes on from an older checkpoint nor sets this one aside."""

    def fail(*_, **__):
        raise failure

    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (1, 2):
        checkpoints.save(step, start(one))
    checkpoints.close()
    again = Checkpoints(tmp_path / "checkpoints")
    with monkeypatch.context() as patch:
        patch.setattr(ocp.StandardCheckpointHandler, "restore", fail)
        with pytest.raises(
            NoRoomError, match=r"Checkpoint 2 in .* because a host lacks memory or open files"
        ):
            resume(again, one)
    assert resume(again, one)[1:] == (2, [])
    again.close()


@pytest.mark.slow
def test_a_wall_clock_that_is_set_forward_does_not_end_a_save(one, tmp_path, monkeypatch):
    years = itertools.count(time.time(), 365 * 86_400)
    monkeypatch.setattr(time, "time", lambda: next(years))
    state, checkpoints = start(one), Checkpoints(tmp_path)
    checkpoints.save(1, state)
    checkpoints.save(2, state)
    checkpoints.close()
    shapes = with_shardings(jax.eval_shape(one.init), one.shardings)
    again = Checkpoints(tmp_path)
    assert again.steps() == [1, 2]
    assert_close(again.restore(2, shapes), state)
    again.close()


def test_a_full_disk_is_reported_and_older_checkpoints_are_left(tmp_path, monkeypatch):
    async def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    state = start(trainer("dense"))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state)
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(atomicity.AtomicRenameTemporaryPath, "finalize", full)
        checkpoints.save(2, state)
        with pytest.raises(CheckpointError, match=r"the disk is full.*1 is whole"):
            checkpoints.close()
    again = Checkpoints(tmp_path)
    again.forget_unfinished()
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    assert again.steps() == [1]
    again.save(2, state)
    again.close()


def test_errors_that_follow_the_first_of_a_save_are_not_printed(tmp_path, monkeypatch):
    """A full disk ended in 132 of them before its sentence."""
    printed = []
    monkeypatch.setattr(sys, "unraisablehook", printed.append)
    silence_late_errors.cache_clear()
    Checkpoints(tmp_path).close()
    another = SimpleNamespace(exc_value=RuntimeError("another"))
    for unraisable in (another, SimpleNamespace(exc_value=RuntimeError("Event loop is closed"))):
        sys.unraisablehook(unraisable)
    assert printed == [another]
    silence_late_errors.cache_clear()  # for the hook that is there again


@pytest.mark.slow
def test_a_file_that_one_host_alone_reads_is_missed_by_both(tmp_path):
    """The host that fails must not leave the other one in a barrier of Orbax."""
    launcher = (str(Path(__file__).parent / "damaged_hosts.py"),)
    where = str(tmp_path / "checkpoints")
    hosts = run_hosts(2, lambda index, at: [where, str(index), at], launcher)
    assert "another host could not read it" in hosts[0].err
    for host in hosts:
        assert host.status == 0, host.err
        assert "refused: Checkpoint 2 in" in host.err
        assert "restored 1" in host.err


def test_a_save_that_orbax_leaves_out_is_an_error(one, tmp_path):
    """As where a file system still shows a newer checkpoint that was set aside."""
    state, checkpoints = start(one), Checkpoints(tmp_path)
    checkpoints.save(20, state)
    with pytest.raises(CheckpointError, match="still sees checkpoint 20; wait a minute"):
        checkpoints.save(15, state)
    checkpoints.close()
