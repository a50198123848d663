"""Which runs make a side, and what their curves are taken for.

Which synthetic runs may be compared, and which differences are refused or listed.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs
from synthetic_runs import recipe_in_json, write_run

from eval.sides import Difference, Points
from pipeline.errors import ArtifactError
from pipeline.reporting.sides import check_students, differences, side
from pipeline.runs.directory import RecordedDense
from pipeline.runs.finished import FinishedRun, read_run

WIDER = recipe_in_json(8)["model"] | {"embed": 128}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> FinishedRun:
    return read_run(write_run(tmp_path_factory.mktemp("runs") / "dense", experts=None))


def test_one_seed_of_one_length_counts_once(run):
    """Two runs of one seed are not independent, and a copied run would show no chance at all."""
    with pytest.raises(ArtifactError, match=r"have one seed and one length; name one of them"):
        side("mT5", [run, replace(run, directory=run.directory / "copy")])
    seeds = [replace(run, recipe=run.recipe | {"seed": seed}) for seed in (0, 1)]
    assert len(side("mT5", seeds).pages) == 2


@pytest.mark.parametrize(
    ("decay_from", "later", "points"),
    [
        (1.0, (), Points.STEADY),
        (0.75, (), Points.DECAYING),
        (1.0, ({"step": 50, "decay_from": 0.5},), Points.DECAYING),
        (0.75, ({"step": 50, "decay_from": 1.0},), Points.STEADY),
    ],
)
def test_the_last_rate_decides_whether_a_run_decays(run, decay_from, later, points):
    optimizer = {"decay_from": decay_from, "rate_from": later}
    assert (
        side("mT5", [replace(run, recipe=run.recipe | {"optimizer": optimizer})]).points is points
    )


@pytest.fixture(scope="module")
def dense(tmp_path_factory) -> FinishedRun:
    return read_run(write_run(tmp_path_factory.mktemp("runs") / "dense", experts=None))


@pytest.fixture(scope="module")
def sparse(tmp_path_factory) -> FinishedRun:
    directory = tmp_path_factory.mktemp("runs") / "sparse"
    return read_run(write_run(directory, experts=8, parameters=6_172_835))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"batch": 64}, "batch: there 32, here 64"),
        ({"model": WIDER}, "model.embed: there 64, here 128"),
    ],
)
def test_unfair_comparisons_are_refused(dense, tmp_path, changes, message):
    other = read_run(write_run(tmp_path / "other", experts=8, **changes))
    with pytest.raises(ArtifactError, match=message):
        differences([dense], [other], allowed=False)


@pytest.mark.parametrize("name", ["start", "weights", "vocabulary", "teacher"])
def test_runs_of_other_inputs_need_permission(dense, tmp_path, name):
    """First weights, mixture file, vocabulary, teacher: none of them is the feed-forward."""
    other = read_run(write_run(tmp_path / "other", experts=8, made_from={name: "sha"}))
    with pytest.raises(ArtifactError, match=f"digest of the {name}: there not set, here sha"):
        differences([dense], [other], allowed=False)
    assert differences([dense], [other], allowed=True) == (
        Difference(f"digest of the {name}", ("not recorded",), ("sha",)),
    )


def test_a_mixture_or_a_rate_that_changed_needs_permission(tmp_path):
    """Wherever the tokens lay."""

    def run(name: str, experts: int | None, tokens: str = "", rates: tuple = ()) -> FinishedRun:
        entries = [{"step": 80, "mixture": "uniform", "tokens": tokens}] if tokens else []
        changes = {"mixture_from": entries, "optimizer": {"scale": 1.0, "rate_from": rates}}
        return read_run(write_run(tmp_path / name, experts=experts, **changes))

    plain, there = run("plain", None), run("there", 8, "there", ({"step": 90, "scale": 0.5},))
    message = "mixture_from.80: there not set, here mixture: uniform; optimizer.rate_from.90: "
    with pytest.raises(ArtifactError, match=message):
        differences([plain], [there], allowed=False)
    moved = run("moved", None, "here", ({"step": 90, "scale": 0.5},))
    assert differences([moved], [there], allowed=False) == ()


@pytest.mark.parametrize("allowed", [False, True])
def test_a_side_has_one_architecture(dense, sparse, tmp_path, allowed):
    other = read_run(write_run(tmp_path / "other", experts=64, seed=1))
    for candidate in ([sparse, other], [sparse, dense]):
        with pytest.raises(ArtifactError, match=r"have other experts \(model\.switch.*--also NAME"):
            differences([dense], candidate, allowed=allowed)


def test_a_decay_that_differs_within_one_length_is_listed(dense, sparse):
    """Of runs of several lengths the decay differs from length to length, and is not listed."""

    def of(run: FinishedRun, length: int, decay_from: float) -> FinishedRun:
        optimizer = {"optimizer": {"decay_from": decay_from}, "steps": length}
        pages = run.evaluations[run.last_step]
        return replace(run, recipe=run.recipe | optimizer, evaluations={length: pages})

    baseline, candidate = ([of(run, n, n / 1_000) for n in (500, 750)] for run in (dense, sparse))
    assert differences(baseline, candidate, allowed=True) == ()
    shorter = [candidate[0], of(sparse, 750, 0.5)]
    with pytest.raises(ArtifactError, match=r"optimizer\.decay_from: there 0\.75, here 0\.5"):
        differences(baseline, shorter, allowed=False)
    (listed,) = differences(baseline, shorter, allowed=True)
    assert listed == Difference("optimizer.decay_from", ("0.5", "0.75"), ("0.5", "0.5"))


def test_the_decay_of_a_later_rate_is_the_decay_of_a_length(dense, sparse):
    def of(run: FinishedRun, length: int, scale: float = 0.5) -> FinishedRun:
        rate = {"step": 300, "scale": scale, "decay_from": length / 1_000}
        settings = {"optimizer": {"decay_from": 1.0, "rate_from": [rate]}, "steps": length}
        pages = run.evaluations[run.last_step]
        return replace(run, recipe=run.recipe | settings, evaluations={length: pages})

    baseline, candidate = ([of(run, n) for n in (500, 750)] for run in (dense, sparse))
    assert differences(baseline, candidate, allowed=False) == ()
    slower = [of(sparse, n, 0.25) for n in (500, 750)]
    with pytest.raises(ArtifactError, match=r"rate_from\.300\.scale: there 0\.5, here 0\.25"):
        differences(baseline, slower, allowed=False)


def test_runs_of_other_numerics_need_permission(dense):
    other = replace(dense, about=structs.replace(dense.about, numerics_version=2))
    with pytest.raises(ArtifactError, match="version of the numerics: there 1, here 2"):
        differences([dense], [other], allowed=False)
    (listed,) = differences([dense], [other], allowed=True)
    assert listed == Difference("version of the numerics", ("1",), ("2",))


def test_an_upcycled_baseline_needs_permission_and_an_upcycled_candidate_has_a_bill(dense, sparse):
    began = RecordedDense(run="d", recipe="mt5-demo", seed=0, step=900, begins_at=0)
    upcycled = replace(sparse, about=structs.replace(sparse.about, upcycled=began))
    assert differences([dense], [upcycled], allowed=False) == ()
    with pytest.raises(ArtifactError, match=r"began as: there mt5-demo at step 900, "):
        differences([upcycled], [sparse], allowed=False)
    (listed,) = differences([upcycled], [sparse], allowed=True)
    assert (listed.field, listed.candidate) == ("began as", ("not upcycled",))
    assert differences([upcycled], [upcycled], allowed=False) == ()


def test_a_student_is_a_distilled_run(dense, sparse, tmp_path):
    """Of its inputs only the teacher may differ from the baseline's."""

    def check(student: FinishedRun) -> None:
        check_students([student], dense, [sparse], differences_allowed=False)

    with pytest.raises(ArtifactError, match=r"has no teacher; name a run that `mswitch dist"):
        check(dense)
    taught = {
        name: write_run(tmp_path / name, experts=None, distillation={}, made_from={name: "sha"})
        for name in ("teacher", "start")
    }
    check(read_run(taught["teacher"]))
    with pytest.raises(ArtifactError, match="digest of the start: there not set, here sha"):
        check(read_run(taught["start"]))


def test_students_share_distillation_settings_and_have_the_right_teacher(dense, sparse, tmp_path):
    """Otherwise two settings under one name would count as two seeds of one student."""

    def check(*students: Path) -> None:
        runs = [read_run(student) for student in students]
        check_students(runs, dense, [sparse], differences_allowed=False)

    ways = [
        write_run(tmp_path / f"student{share}", experts=None, distillation={"hard_share": share})
        for share in (0.25, 0.75)
    ]
    with pytest.raises(ArtifactError, match=r"hard_share: there 0\.25, asked 0\.75.*--set name="):
        check(*ways)
    path = ways[0] / "recipe.json"
    about = json.loads(path.read_text())
    teacher = {"recipe": "synthetic", "seed": 7, "parameters": 6_172_835}
    path.write_text(json.dumps(about | {"teacher": teacher}))
    with pytest.raises(ArtifactError, match=r"is step 0 of synthetic, seed 7, of 6,172"):
        check(ways[0])
    path.write_text(json.dumps(about | {"teacher": teacher | {"seed": 0}}))
    check(ways[0])  # an old record, without the teacher's step
    shorter = shutil.copytree(ways[0], tmp_path / "shorter")
    last = max(shorter.glob("evaluation/step=*.parquet"), key=lambda one: int(one.stem[5:]))
    last.unlink()
    recipe = about["recipe"] | {"steps": 1000}
    trained = about | {"recipe": recipe, "teacher": teacher | {"seed": 0}}
    (shorter / "recipe.json").write_text(json.dumps(trained))
    with pytest.raises(ArtifactError, match=r"one name.*different settings or lengths.*steps: "):
        check(ways[0], shorter)
    path.write_text(json.dumps(about | {"teacher": teacher | {"seed": 0, "step": 7}}))
    with pytest.raises(ArtifactError, match=r"is step 7 of synthetic, seed 0.* longest runs"):
        check(ways[0])
    path.write_text(
        json.dumps(about | {"teacher": teacher | {"seed": 0, "step": sparse.last_step}})
    )
    check(ways[0])
