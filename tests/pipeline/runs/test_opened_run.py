""""""

import threading
from pathlib import Path

import jax
import pytest

from data.files.atomic import write_text
from pipeline.errors import ArtifactError
from pipeline.recipe import named
from pipeline.runs import opened_run
from pipeline.runs.opened_run import trainer_here, wait_until_seen


@pytest.fixture
def others(monkeypatch):
    """Another host, which sees checkpoints 3 and 6."""
    monkeypatch.setattr(opened_run, "agree_on", lambda here, decide: decide([here, [3, 6]]))
    monkeypatch.setattr(opened_run, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(opened_run, "VIEW_SECONDS", 1.0)


def saved(run: Path, step: int) -> Path:
    path = run / f"checkpoints/{step}.json"
    write_text(path, "")
    return path


def test_a_host_waits_for_what_others_see_and_refuses_what_it_never_sees(tmp_path, others):
    saved(tmp_path, 3)
    with pytest.raises(
        ArtifactError, match=r"Checkpoint 6 of .* is there for some hosts, and others did not"
    ):
        wait_until_seen(tmp_path)
    late = threading.Timer(0.1, saved, [tmp_path, 6])
    late.start()
    wait_until_seen(tmp_path)
    assert (tmp_path / "checkpoints/6.json").exists()
    late.join()


def test_a_run_that_goes_on_and_deletes_old_checkpoints_is_seen_alike(tmp_path, monkeypatch):
    """The other host lists them a little later each time; in the end both list the same."""
    views = iter([[6, 9], [9, 12], [9, 12]])
    monkeypatch.setattr(opened_run, "agree_on", lambda here, decide: decide([here, next(views)]))
    monkeypatch.setattr(opened_run, "saved_steps", lambda _: next(here))
    monkeypatch.setattr(opened_run, "LOOK_SECONDS", 0.01)
    here = iter([[3, 6], [6, 9], [9, 12]])
    wait_until_seen(tmp_path)
    assert (*here, *views) == ()


def test_several_hosts_open_a_run_on_all_devices_or_not_at_all(monkeypatch):
    recipe, devices = named.get("switch-demo"), jax.devices()[:7]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    alone = trainer_here(recipe)
    assert alone.mesh.size < 7
    monkeypatch.setattr(jax, "process_count", lambda: 7)
    with pytest.raises(
        ArtifactError, match=f"7 devices of 7 hosts, and its sizes divide over {alone.mesh.size}"
    ):
        trainer_here(recipe)
