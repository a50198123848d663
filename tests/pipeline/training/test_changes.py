"""What a resume with other settings leaves of a run, without training it."""

import pytest

from data.files.atomic import write_text
from pipeline.artifacts import CLAIM, claim, read_head
from pipeline.errors import ArtifactError
from pipeline.runs.directory import recorded_changes
from pipeline.stage import Identity
from pipeline.training.changes import agreement_of, changes_between, check_steps_made

SETTINGS = {
    **{"steps": 20, "evaluate_every": 4, "checkpoint_every": 6, "log_every": 1},
    **{"mixture_from": [], "optimizer": {"decay_from": 1.0}},
}


def of_mixtures(*found: tuple) -> dict:
    names = "step", "mixture", "tokens"
    return {"mixture_from": [dict(zip(names, (*one, "")[:3], strict=True)) for one in found]}


def test_evaluations_after_the_last_checkpoint_go_with_other_settings(tmp_path):
    """They would be of steps that no run of these settings makes."""
    claim(tmp_path, "pretrain", SETTINGS, {})
    write_text(tmp_path / "checkpoints/6.json", "")
    folder = tmp_path / "evaluation"
    folder.mkdir()
    for step in (4, 6, 8, 12):
        for name in ("step", "gaps-step", "routing-step"):
            (folder / f"{name}={step}.parquet").touch()
    asked = Identity(SETTINGS | of_mixtures((7, "uniform")), {})
    agreement = agreement_of(tmp_path, "pretrain", asked)
    assert agreement is not None
    agreement.record(tmp_path, "pretrain", asked)
    assert {path.stem.partition("=")[2] for path in folder.iterdir()} == {"4", "6"}
    assert len(list(folder.iterdir())) == 6
    assert [one.setting for one in recorded_changes(tmp_path)] == ["mixture_from"]
    assert read_head(tmp_path, CLAIM).settings == asked.settings


@pytest.mark.parametrize(("end", "left"), [(10, {"4", "8"}), (8, {"4", "8"})])
def test_a_run_made_longer_is_evaluated_where_one_planned_that_long_is(tmp_path, end, left):
    """Every 4 steps: step 10 was evaluated only because it was the last."""
    there = SETTINGS | {"steps": end}
    claim(tmp_path, "pretrain", there, {})
    write_text(tmp_path / f"checkpoints/{end}.json", "")
    folder = tmp_path / "evaluation"
    folder.mkdir()
    for step in {4, 8, end}:
        (folder / f"step={step}.parquet").touch()
    asked = Identity(SETTINGS, {})
    agreement = agreement_of(tmp_path, "pretrain", asked)
    assert agreement is not None
    agreement.record(tmp_path, "pretrain", asked)
    assert {path.stem.partition("=")[2] for path in folder.iterdir()} == left


@pytest.mark.parametrize(
    ("before", "after", "recorded"),
    [
        ((9, "uniform"), (9, "uniform"), False),
        ((9, "uniform", "tokens"), (9, "uniform", "elsewhere"), False),
        ((9, "uniform"), (9, "uniform", "tokens"), True),
        ((9, "uniform"), (9, "proportional"), True),
    ],
)
def test_a_later_mixture_that_becomes_another_is_recorded(before, after, recorded):
    there, asked = (SETTINGS | of_mixtures(one) for one in (before, after))
    changes = changes_between(there, asked, 6)
    assert [one.after for one in changes] == [asked["mixture_from"][0]] * recorded


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [(3, "uniform")]),
        ([(3, "uniform")], [(3, "proportional")]),
        ([(3, "uniform")], []),
        ([(3, "uniform", "")], [(3, "uniform", "tokens")]),
    ],
)
def test_another_mixture_of_steps_already_made_is_refused(tmp_path, before, after):
    """`distill --config` names mixtures that no recorded ones are joined with."""
    there, asked = (SETTINGS | of_mixtures(*one, (9, "uniform")) for one in (before, after))
    check_steps_made(tmp_path, there, there, 6)
    check_steps_made(tmp_path, there, asked, 3)
    check_steps_made(tmp_path, there | of_mixtures(*before), there, 6)
    with pytest.raises(ArtifactError, match=r"made 6 steps with other mixtures \(mixture_from 3"):
        check_steps_made(tmp_path, there, asked, 6)
