"""A checkpoint is the state, bit for bit; a damaged or unfinished one is noticed."""

import errno

import jax
import pytest
from orbax.checkpoint.path import atomicity
from small_networks import start, trainer

from model import checkpoint
from model.checkpoint import CheckpointError, Checkpoints, with_shardings


def test_an_altered_checkpoint_is_noticed_and_older_ones_are_left(tmp_path, monkeypatch):
    """Other numbers than were saved, which Orbax restores without an error; and a missing file."""
    one = trainer("dense")
    state, other = start(one), start(one)
    other = other._replace(step=jax.device_put(other.step + 1, one.shardings.step))
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(1, state)
    with monkeypatch.context() as patch:
        of_other = checkpoint._fingerprints(jax.tree.leaves(other), other.step.sharding)
        patch.setattr(checkpoint, "_fingerprints", lambda *_: of_other)
        checkpoints.save(2, state)
    checkpoints.close()
    shapes = with_shardings(jax.eval_shape(one.init), one.shardings)
    again = Checkpoints(tmp_path / "checkpoints")
    with pytest.raises(CheckpointError, match=r"Checkpoint 2 in .*\.step is not what was saved"):
        again.restore(2, shapes)
    (tmp_path / "checkpoints/2/default/manifest.ocdbt").unlink()
    with pytest.raises(CheckpointError, match=r"Checkpoint 2 in .* is damaged"):
        again.restore(2, shapes)
    assert again.set_aside(2) == tmp_path / "damaged-2-0"
    assert again.steps() == [1]
    again.restore(1, shapes)
    again.save(2, state)
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
