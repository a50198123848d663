import json

import pytest

from pipeline import inspect
from pipeline.arguments import Inspect
from pipeline.artifacts.claims import claim
from pipeline.errors import ArtifactError


@pytest.fixture
def training(tmp_path):
    """A run as another process is writing it."""
    claim(tmp_path / "run", "pretrain", {"steps": 100}, {})
    (tmp_path / "run/recipe.json").write_text("{}")
    lines = ({"step": step, "loss_nats": 9 - step / 16, "steps": 16} for step in (16, 32, 48))
    written = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "run/metrics.jsonl").write_text(written + '{"step": 64, "loss_')
    return str(tmp_path / "run")


def test_a_run_that_trains_shows_how_far_it_has_come(training, capsys):
    inspect.run(Inspect(directory=training))
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == "pretrain"
    assert "   48              -         6.0000" in printed
    assert printed.splitlines()[-1] == "unfinished, no checkpoint; nothing was verified"
    inspect.run(Inspect(directory=training, json=True))
    shown = json.loads(capsys.readouterr().out)
    assert [one["step"] for one in shown["progress"]] == [16, 32, 48]


def test_what_is_unfinished_and_no_run_cannot_be_inspected(tmp_path):
    claim(tmp_path / "corpus", "clean", {}, {})
    with pytest.raises(ArtifactError, match="holds unfinished clean output; name a directory"):
        inspect.run(Inspect(directory=str(tmp_path / "corpus")))
