"""Trackers get a run's numbers, continue a resumed run, and stop nothing when they fail."""

import importlib
import shutil
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from data.files.json_files import read_json
from pipeline.errors import ArtifactError
from pipeline.training.log import tracking
from pipeline.training.log.tracking import FILE, Tracking, check_installed

RECIPE = {"name": "tiny", "steps": 4, "model": {"embed": 8, "switch": None}}


class Recorder:
    """A tracker in this process."""

    def __init__(self, identity, fails_at=None):
        self.identity, self.fails_at, self.taken = identity, fails_at, []

    def add(self, numbers, step):
        if step == self.fails_at:
            raise ConnectionError("no route to host\nmore of it")
        self.taken.append((step, numbers))

    def end(self, state):
        self.taken.append(state)


def tracked(directory, names, states=("finished",)):
    """Tracks a run of two steps, started once per state; returns what was announced."""
    said = []
    for at, state in enumerate(states):
        with Tracking(names, directory, RECIPE, said.append) as one:
            one.add({"training/loss_nats": 2.5, "held-out-by-language/sw": 3.0}, 2 * at + 1)
            one.add({"training/loss_nats": 2.0}, 2 * at + 2)
            one.state = state
    return said


@pytest.fixture
def unhurried(monkeypatch):
    """Waits for a library's last numbers for as long as a busy machine may need."""
    monkeypatch.setattr(tracking, "LAST_SECONDS", dict.fromkeys(tracking.LAST_SECONDS, 300.0))


@pytest.fixture
def started(monkeypatch):
    """Puts recorders in the place of Weights & Biases; returns them, one per start."""
    found, settings = [], {}

    def start(run):
        if "refuses" in settings:
            raise ValueError(settings["refuses"])
        found.append(Recorder(run.identity or "first", settings.get("fails_at")))
        return found[-1]

    monkeypatch.setitem(
        sys.modules, "pipeline.training.log.wandb_run", SimpleNamespace(start=start)
    )
    return found, settings


def test_a_resumed_run_is_the_same_tracked_run(started, tmp_path):
    assert tracked(tmp_path, ("wandb",), ("stopped", "finished")) == []
    assert [one.identity for one in started[0]] == ["first", "first"]
    assert [one.taken[-1] for one in started[0]] == ["stopped", "finished"]
    assert [step for step, _ in started[0][1].taken[:-1]] == [3, 4]
    assert read_json(tmp_path / FILE, dict[str, str]) == {"wandb": "first"}


@pytest.mark.parametrize("settings", [{"refuses": "bad key"}, {"fails_at": 1}])
def test_a_tracker_that_fails_is_one_sentence(started, tmp_path, settings):
    started[1].update(settings)
    (said,) = tracked(tmp_path, ("wandb",))
    reason = settings.get("refuses", "no route to host")
    assert said.startswith(f"caution: Weights & Biases failed ({reason}); the run goes on")


def test_a_tracker_that_hangs_holds_nothing_up(started, tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "LAST_SECONDS", dict.fromkeys(tracking.LAST_SECONDS, 0.1))
    hang = threading.Event()
    monkeypatch.setattr(Recorder, "add", lambda *_: hang.wait())
    (said,) = tracked(tmp_path, ("wandb",))
    hang.set()
    assert "did not take the last numbers" in said


def test_a_missing_library_is_refused_with_the_way_to_install_it(monkeypatch):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda _: None)
    check_installed(())
    with pytest.raises(ArtifactError, match="make install EXTRAS=demo,dev,mlflow"):
        check_installed(("mlflow",))


def test_no_library_is_imported_unless_asked():
    loaded = "import sys, pipeline.training.run; print({'wandb', 'mlflow'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


@pytest.mark.usefixtures("unhurried")
def test_mlflow_keeps_the_run_in_its_directory(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracked(tmp_path / "run", ("mlflow",), ("stopped", "finished")) == []
    client = importlib.import_module("mlflow").MlflowClient((tmp_path / "run/mlflow").as_uri())
    experiment = client.get_experiment_by_name("mswitch")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params["model.embed"] == "8"
    history = client.get_metric_history(run.info.run_id, "training/loss_nats")
    assert [(one.step, one.value) for one in history] == [(1, 2.5), (2, 2.0), (3, 2.5), (4, 2.0)]
    assert run.data.metrics["held-out-by-language/sw"] == 3.0


@pytest.mark.usefixtures("unhurried")
def test_an_mlflow_server_that_is_not_there_stops_nothing(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    address = f"http://user:{'pLaNtEd' * 40}@127.0.0.1:9"  # the port of nothing
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    (said,) = tracked(tmp_path, ("mlflow",))
    assert said.startswith("caution: MLflow failed (API request to http://***@127.0.0.1:9")
    assert "pLaNtEd" not in said


def settings_of_wandb():
    """Returns the settings that its runs are begun with."""
    return importlib.import_module("pipeline.training.log.wandb_run").SETTINGS


def written(record, last, seconds=300):
    """Returns a record once its last value is in it: the library's process writes after `finish`.

    In the meantime the file has its header of seven bytes alone.
    """
    deadline = time.monotonic() + seconds
    while last not in (content := record.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return content


@pytest.mark.slow
@pytest.mark.usefixtures("unhurried")
def test_weights_and_biases_records_without_network(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setitem(settings_of_wandb(), "finish_timeout", 300)
    found = []
    for name, state in (("one", "stopped"), ("two", "finished")):  # a second start, as if later
        (tmp_path / name).mkdir()
        if found:
            shutil.copyfile(tmp_path / "one" / FILE, tmp_path / "two" / FILE)
        assert tracked(tmp_path / name, ("wandb",), (state,)) == []
        (identity,) = read_json(tmp_path / name / FILE, dict[str, str]).values()
        (record,) = (tmp_path / name / "wandb").glob(f"offline-run-*-{identity}/*.wandb")
        content = written(record, state.encode())
        for expected in ("held-out-by-language/sw", "training/loss_nats", "embed", state):
            assert expected.encode() in content
        found.append(identity)
    assert found[0] == found[1]
    # Every command refuses a directory with links.
    assert not [path for path in tmp_path.rglob("*") if path.is_symlink()]
