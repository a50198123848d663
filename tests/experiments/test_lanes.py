from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def lanes(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "experiments")
    import lanes

    monkeypatch.setattr(lanes, "cores", lambda: [0])
    return lanes


@pytest.mark.parametrize("failure", [SystemExit, OSError])
def test_after_a_failure_no_task_begins(lanes, tmp_path, monkeypatch, capsys, failure):
    begun = []

    def run(task, core):
        begun.append((task.command[0], core))
        if task.command[0] == "fails":
            raise failure("`mswitch fails` failed (2).")

    monkeypatch.setattr(lanes, "run", run)
    words = [["first", "fails", "after it"], ["another chain"]]
    with pytest.raises(failure, match="failed"):
        lanes.run_chains([[lanes.Task(tmp_path, [one]) for one in chain] for chain in words])
    assert begun == [("first", 0), ("fails", 0)]
    assert "What else runs is waited for" in capsys.readouterr().err
