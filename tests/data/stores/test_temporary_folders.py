"""Folders of processes that were killed are removed, and those of living ones are not."""

import os
import signal
import tempfile
from pathlib import Path

import pytest
from forked import CONTEXT

from data.stores.temporary_folders import PREFIX, temporary_folder


def spill_and_die(root: Path) -> None:
    """Leaves a folder with a file, as a worker does that its engine ends."""
    tempfile.tempdir = str(root)
    with temporary_folder() as folder:
        (folder / "0.npy").write_bytes(b"keys")
        os.kill(os.getpid(), signal.SIGKILL)


def left(root: Path) -> set[Path]:
    return set(root.glob(f"{PREFIX}*"))


def killed(root: Path) -> int:
    """Kills a process that has a folder; returns its number."""
    worker = CONTEXT.Process(target=spill_and_die, args=(root,))
    worker.start()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    return worker.pid


@pytest.mark.slow
def test_the_next_process_removes_what_a_killed_one_left(tmp_path, monkeypatch):
    first = killed(tmp_path)
    assert [folder.name.split("-")[2] for folder in left(tmp_path)] == [str(first)]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with temporary_folder() as mine:
        (mine / "1.npy").write_bytes(b"keys")
        assert left(tmp_path) == {mine}
        killed(tmp_path)  # it looks for folders too, and takes none that is in use
        assert mine in left(tmp_path)
        third = killed(tmp_path)
        assert {folder.name.split("-")[2] for folder in left(tmp_path) - {mine}} == {str(third)}
    assert mine not in left(tmp_path)
