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


@pytest.mark.parametrize(
    ("changes", "asked", "saved", "evaluated", "left", "recorded"),
    [
        # After the last checkpoint: of steps that no run of these settings makes.
        ({}, of_mixtures((7, "uniform")), 6, (4, 6, 8, 12), {"4", "6"}, "mixture_from"),
        # Every 4 steps: step 10 was evaluated only because it was the last.
        ({"steps": 10}, {}, 10, (4, 8, 10), {"4", "8"}, "steps"),
        ({"steps": 8}, {}, 8, (4, 8), {"4", "8"}, "steps"),
    ],
)
def test_evaluations_stay_that_a_run_of_these_settings_makes(
    tmp_path, changes, asked, saved, evaluated, left, recorded
):
    claim(tmp_path, "pretrain", SETTINGS | changes, {})
    write_text(tmp_path / f"checkpoints/{saved}.json", "")
    folder, names = tmp_path / "evaluation", ("step", "gaps-step", "routing-step")
    for step in evaluated:
        for name in names:
            write_text(folder / f"{name}={step}.parquet", "")
    identity = Identity(SETTINGS | asked, {})
    agreement = agreement_of(tmp_path, "pretrain", identity)
    assert agreement is not None
    agreement.record(tmp_path, "pretrain", identity)
    assert {path.stem.partition("=")[2] for path in folder.iterdir()} == left
    assert len(list(folder.iterdir())) == len(names) * len(left)
    assert [one.setting for one in recorded_changes(tmp_path)] == [recorded]
    assert read_head(tmp_path, CLAIM).settings == identity.settings


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
