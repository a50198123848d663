"""A run as its log and its evaluations show it, also while another process writes it."""

import json

import pytest

from pipeline.artifacts import claim
from pipeline.commands.inspect import Inspect
from pipeline.errors import ArtifactError
from pipeline.recipe import named
from pipeline.recipe.recipe import recipe_to_json
from pipeline.runs.finished import Evaluation, write_evaluation
from pipeline.terminal import Terminal
from pipeline.training.log import summary
from pipeline.training.log.summary import inspect_run, result_in_words, summaries

LINES = [
    {"step": step, "steps": 5, "loss_nats": 9.0 - step / 10, "seconds": 2.0, "tokens_per_second": s}
    for step, s in ((5, 100.0), (10, 300.0), (15, 200.0))
]


def write_recipe(directory):
    recipe = recipe_to_json(named.get("mt5-demo"))
    (directory / "recipe.json").write_text(json.dumps({"recipe": recipe}))


def run(directory, evaluated):
    text = "".join(json.dumps(line) + "\n" for line in LINES)
    (directory / "metrics.jsonl").write_text(text)
    for step, nats in evaluated.items():
        pages = {
            "language": ["sw", "sw", "fr"],
            "url": ["a", "b", "c"],
            "loss_nats": [nats, 3 * nats, 4 * nats],
            "target_tokens": [1, 1, 1],
            "text_bytes": [3, 3, 3],
            "windows": [1, 1, 1],
        }
        write_evaluation(directory, step, Evaluation(pages, None))
    return directory


def test_a_run_is_shown_at_each_evaluation_and_at_its_end(tmp_path):
    first, last, end = summaries(run(tmp_path, {0: 2.0, 10: 1.0}))
    assert (first.step, first.held_out_nats) == (0, 6.0)  # languages count alike
    assert first.loss_nats is first.tokens_per_second is first.seconds is None
    assert (last.step, last.held_out_nats, last.loss_nats) == (10, 3.0, 8.0)
    assert (last.tokens_per_second, last.seconds) == (200.0, 20.0)
    assert (end.step, end.held_out_nats, end.loss_nats) == (15, None, 7.5)
    said = result_in_words(tmp_path)
    assert said.startswith(
        "15 steps, held-out loss 3.0000 nats, mean of languages (at step 0: 6.0000), 200 tokens"
    )


def test_the_result_reads_two_evaluations(tmp_path, monkeypatch):
    run(tmp_path, {0: 2.0, 5: 1.5, 10: 1.0})
    read, real = [], summary.read_table
    monkeypatch.setattr(summary, "read_table", lambda *of: read.append(of[0].name) or real(*of))
    assert "3.0000 nats, mean of languages (at step 0: 6.0000)" in result_in_words(tmp_path)
    assert read == ["step=0.parquet", "step=10.parquet"]


def test_a_run_without_evaluations_is_shown_by_its_log(tmp_path):
    found = list(summaries(run(tmp_path, {})))
    assert [one.step for one in found] == [5, 10, 15]
    assert found[-1].seconds == pytest.approx(30.0)
    assert "held-out" not in result_in_words(tmp_path)


@pytest.fixture
def training(tmp_path):
    """A run as another process is writing it."""
    claim(tmp_path / "run", "pretrain", {"steps": 100}, {})
    write_recipe(tmp_path / "run")
    lines = ({"step": step, "loss_nats": 9 - step / 16, "steps": 16} for step in (16, 32, 48))
    written = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "run/metrics.jsonl").write_text(written + '{"step": 64, "loss_')
    return str(tmp_path / "run")


def test_a_run_that_trains_shows_how_far_it_has_come(training, capsys):
    Inspect(directory=training).execute()
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == "pretrain"
    assert "   48              -         6.0000" in printed
    answers, _, settings = printed.partition("\nsettings\n")
    assert answers.splitlines()[-1] == "unfinished, no checkpoint; nothing was verified"
    assert settings.splitlines()[-1] == "  steps: 100"
    Inspect(directory=training, json=True).execute()
    shown = json.loads(capsys.readouterr().out)
    assert [one["step"] for one in shown["progress"]] == [16, 32, 48]


def test_what_is_unfinished_and_no_run_cannot_be_inspected(tmp_path):
    claim(tmp_path / "corpus", "clean", {}, {})
    with pytest.raises(ArtifactError, match="holds unfinished clean output; name a directory"):
        Inspect(directory=str(tmp_path / "corpus")).execute()


def test_a_finished_run_without_its_last_checkpoint_is_refused(tmp_path):
    write_recipe(tmp_path)
    (tmp_path / "manifest.json").write_text('{"stage": "pretrain", "steps": 10}')
    with pytest.raises(
        ArtifactError, match=r"to step 10 by its manifest, and its check.* are \[\]"
    ):
        inspect_run(tmp_path, Terminal())
