"""`mswitch time`: what it writes, that runs are only read, and what it refuses."""

import json
import re

import pytest
from training_runs import STEPS, ran, refused

from data.files.digests import digest_of_contents
from data.files.json_files import read_json, write_json
from model import NUMERICS_VERSION
from pipeline.runs.finished import Round, read_step_times
from pipeline.training import step_times

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("traced_once")]

ROUNDS = tuple(
    Round(first=first, baseline_seconds=0.4, candidate_seconds=0.5 + 0.01 * number)
    for number, first in enumerate(("baseline", "candidate") * 2)
)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def words(pretrained, tokens, out):
    """A function from changed options to a command that measures a run against itself."""
    options = {"baseline": pretrained, "candidate": pretrained, "tokens": tokens}
    options |= {"out": out, "steps": 1}

    def command(**changes):
        return ["time", *(f"--{name}={value}" for name, value in (options | changes).items())]

    return command


def times(run):
    """When each file and directory of a run was last written."""
    return {path: path.stat().st_mtime_ns for path in (run, *run.rglob("*"))}


def test_a_run_against_itself_takes_as_long_and_is_only_read(
    words, pretrained, out, capsys, monkeypatch
):
    before = times(pretrained)
    assert ran(*words()) == 0
    assert times(pretrained) == before
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(r"time: a step takes 0\..* on 8 × cpu, \d+ threads? \(medians", said)
    assert "next:" not in said  # a report refuses to compare a run with itself
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "step_times.json"]
    found = read_step_times(out)
    assert found.baseline == found.candidate
    assert found.baseline.recipe_sha256 == digest_of_contents(pretrained / "recipe.json")
    assert (found.baseline.recipe, found.baseline.step) == ("switch-demo", STEPS)
    assert (len(found.rounds), found.steps_per_round) == (step_times.ROUNDS, 1)
    assert found.devices == ("cpu",) * 8
    assert found.versions["numerics"] == NUMERICS_VERSION
    monkeypatch.setattr(step_times, "measure", None)  # what is finished is not measured again
    assert ran(*words()) == 0
    assert capsys.readouterr().err.endswith("out is finished.\n")
    assert "was made with other settings" in refused(capsys, *words(steps=2))


def test_inspect_shows_the_ratio_and_notices_another_number(words, out, capsys, monkeypatch):
    monkeypatch.setattr(step_times, "measure", lambda *_: ROUNDS)
    assert ran(*words()) == 0
    capsys.readouterr()
    assert ran("inspect", out) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"switch-demo (seed 0) from step {STEPS} on a step takes 0.4 s with" in shown
    assert "rounds); within a round the ratio is 0.777 in the mean (95 % interval 0.746" in shown
    path = out / "step_times.json"
    path.write_text(path.read_text().replace("0.4,", "0.3,", 1))
    assert "differs from its checksum in the manifest" in refused(capsys, "inspect", out)


@pytest.fixture
def changed(pretrained, tmp_path):
    """A function that copies what is read of a run, with other fields of its recipe."""
    to = tmp_path / "other"

    def copy(recipe=(), **fields):
        to.mkdir()
        (to / "checkpoints").symlink_to(pretrained / "checkpoints")
        about, manifest = (
            read_json(pretrained / f"{name}.json", dict) for name in ("recipe", "manifest")
        )
        recipe = about["recipe"] | dict(recipe)
        settings = {name: recipe[name] for name in manifest["settings"]}
        write_json(to / "manifest.json", manifest | {"settings": settings})
        write_json(to / "recipe.json", about | fields | {"recipe": recipe})
        return to

    return copy


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"recipe": {"rows": 16}}, "A step of .* has 8 rows of 64 tokens and one of .* has 16 of"),
        ({"recipe": {"inputs": 128}}, "has 8 rows of 64 tokens and one of .* has 8 of 128; name"),
        ({"numerics_version": 99}, "with numerics version 99, and this mswitch computes"),
        ({"inputs": {"tokens": "0" * 64}}, "was trained on other tokens than .*name the directory"),
        ({"recipe": {"mesh": {"data": 2}}}, "on a mesh of 2 devices, and this machine has 8; time"),
    ],
    ids=lambda one: str(one)[:24],
)
def test_runs_that_do_not_compare_are_refused(words, changed, out, capsys, fields, said):
    assert re.search(said, refused(capsys, *words(candidate=changed(**fields))))
    assert not out.exists()


def test_what_is_no_finished_run_of_pretrain_is_refused(words, changed, out, capsys):
    run = changed()
    manifest = json.loads((run / "manifest.json").read_text())
    for stage in ("distill", "prune", "import-hf", "finetune"):
        write_json(run / "manifest.json", manifest | {"stage": stage})
        said = f"was written by {stage}, and only steps of `mswitch pretrain` are timed"
        assert said in refused(capsys, *words(baseline=run))
    (run / "manifest.json").unlink()
    assert "other, which holds an unfinished one" in refused(capsys, *words(baseline=run))
    assert "--steps was 0; give 1 or more" in refused(capsys, *words(steps=0))
    assert not out.exists()
