"""A teacher, a student that is killed and resumes, and what is refused; on eight simulated devices.

The one kill needs a process of its own; it shares compiled programs with the runs in this process.
"""

import json
import shutil
import signal
from dataclasses import asdict, replace
from pathlib import Path

import jax
import numpy as np
import pytest
from other_blocks import with_another_vocabulary
from training_runs import (
    MESH,
    SETTINGS,
    SIZES,
    arrays_of,
    assert_same_run,
    killed,
    lines,
    ran,
    refused,
)
from training_runs import STEPS as TAUGHT

from data.files.json_files import read_json, write_json
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import TokenManifest
from model.config import DistillationConfig
from pipeline.errors import PREEMPTED_STATUS, ArtifactError
from pipeline.recipe import named as recipes
from pipeline.recipe.overrides import override
from pipeline.runs.directory import saved_steps
from pipeline.runs.opened_run import restore
from pipeline.training import run as training_run
from pipeline.training import teacher
from pipeline.training.loop import Preemption

pytestmark = pytest.mark.usefixtures("traced_once")
slow = pytest.mark.slow

STEPS, EVERY = 6, 2
STUDENT = [*SIZES, "checkpoint_every=2", "evaluate_every=3", "optimizer.hold_steps=30"]


@pytest.fixture(scope="module")
def command(tokens, pretrained):
    """A function from a student's directory and settings to the words of its command."""

    def words(out, *settings, by=pretrained):
        given = f"--teacher={by}", f"--tokens={tokens}", f"--out={out}"
        sizes = [*STUDENT, f"steps={STEPS}", *settings]
        return ["distill", "--recipe=mt5-demo", *given, "--set", *sizes]

    return words


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    assert ran(*command(out, *MESH)) == 0
    return out


@slow
def test_a_killed_student_ends_as_if_nothing_had_happened(command, whole, tmp_path, monkeypatch):
    """Killed in its first save, before it has begun; then stopped between two saves."""
    out = tmp_path / "run"
    status, printed = killed(command(out, *MESH), "during", 0)
    assert status == -signal.SIGKILL, printed
    assert saved_steps(out) == []
    with monkeypatch.context() as patch:
        log = out / "metrics.jsonl"
        patch.setattr(Preemption, "should_stop", lambda _: log.exists() and len(lines(out)) > EVERY)
        assert ran(*command(out, *MESH)) == PREEMPTED_STATUS
    assert len(lines(out)) == EVERY + 1
    assert ran(*command(out, *MESH)) == 0
    assert_same_run(out, whole, STEPS)


@slow
def test_one_device_teaches_as_eight_do(command, whole, tmp_path, monkeypatch):
    one = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda: one)
    out = tmp_path / "run"
    assert ran(*command(out, "checkpoint_every=6", "evaluate_every=6")) == 0
    assert len(json.loads((out / "recipe.json").read_text())["devices"]) == 1
    for left, right in zip(lines(out), lines(whole), strict=True):
        # Rounding grows by a factor of ten every two steps at this rate, in gradients most of all.
        near = left["step"] <= EVERY
        compared = left.keys() if near else ("step", "loss_nats", "soft_loss_nats")
        ours, theirs = ({name: line[name] for name in compared} for line in (left, right))
        assert ours == pytest.approx(theirs, rel=1e-5 if near else 2e-3)


@slow
def test_the_run_records_its_teacher_and_its_losses(pretrained, whole):
    about, at = (json.loads((run / "recipe.json").read_text()) for run in (whole, pretrained))
    assert about["recipe"]["distillation"] == asdict(DistillationConfig())
    assert "distillation" not in at["recipe"]
    told = {"recipe": "switch-demo", "seed": 0, "step": TAUGHT, "experts": 4}
    assert about["teacher"] | told | {"parameters": at["parameters"]} == about["teacher"]
    assert about["inputs"]["tokens"] == at["inputs"]["tokens"]
    assert about["parameters"] < at["parameters"]
    assert all(line["soft_loss_nats"] > 0 for line in lines(whole))


@slow
def test_the_first_weights_are_the_teachers(command, pretrained, tmp_path, monkeypatch):
    """Checkpoint 0 holds the teacher's embedding, bit for bit, unless weights begin at random."""
    begun = []
    monkeypatch.setattr(
        training_run, "carry_out", lambda _, training, *more: begun.append(training)
    )
    for initialization in ("non-experts", "random"):
        setting = f"distillation.initialization={initialization}"
        assert ran(*command(tmp_path / initialization, *MESH, setting)) == 0
    given, drawn = begun
    taught = arrays_of(pretrained)[0][".embedding"]
    first = restore(given.out, given.trainer, 0)[0].embedding
    np.testing.assert_array_equal(np.asarray(first), taught)
    assert not (drawn.out / "checkpoints").exists()
    assert np.abs(np.asarray(drawn.trainer.init().arrays.embedding) - taught).max() > 0.1


@slow
def test_other_settings_or_another_teacher_are_refused(
    command, pretrained, whole, tmp_path, capsys
):
    said = refused(capsys, *command(whole, *MESH, "distillation.hard_share=0.5"))
    assert "distillation.hard_share: there 0.75, asked 0.5" in said
    other = Path(shutil.copytree(pretrained, tmp_path / "other"))
    manifest = read_json(other / "manifest.json", dict)
    write_json(other / "manifest.json", manifest | {"code_version": "another"})
    said = refused(capsys, *command(whole, *MESH, by=other))
    assert "inputs (teacher: there switch-demo, seed 0, " in said
    taught_by = read_json(whole / "recipe.json", dict)["teacher"]
    teacher.check_same_teacher(whole, taught_by)
    with pytest.raises(ArtifactError, match=r"begun with another teacher .fingerprint: there"):
        teacher.check_same_teacher(whole, taught_by | {"fingerprint": "0" * 64})


@slow
def test_a_student_goes_to_transformers_and_back(whole, tmp_path):
    """It is a dense mT5: exported, imported and exported again, the file has the same bytes."""
    one, run, two = (tmp_path / name for name in ("one", "run", "two"))
    assert ran("export-hf", "--run", whole, "--out", one) == 0
    assert ran("import-hf", one, "--out", run, "--inputs", 64) == 0
    assert ran("export-hf", "--run", run, "--out", two) == 0
    assert json.loads((one / "config.json").read_text())["model_type"] == "mt5"
    first, second = ((out / "model.safetensors").read_bytes() for out in (one, two))
    assert first == second


def student(*settings, **parts):
    recipe = replace(recipes.get("mt5-demo"), distillation=DistillationConfig())
    return replace(override(recipe, [*STUDENT, *MESH, *settings]), **parts)


def test_a_teacher_with_a_balance_loss_over_the_batch_teaches_parts_of_one():
    settings = [*SETTINGS, "model.switch.balance_loss_over=batch"]
    recipe = override(recipes.get("switch-demo"), settings)
    balanced = teacher.Teacher(directory=Path("teacher"), recipe=recipe, inputs={})
    teacher.check_fills_groups(balanced, student("rows=16", "accumulate=2"))


@slow
def test_what_cannot_be_taught_is_refused(pretrained, tokens, tmp_path):
    found = teacher.find(pretrained)
    blocks = TokenBlocks(tokens, read_json(tokens / "manifest.json", TokenManifest))
    at_random, model = "distillation.initialization=random", found.recipe.model
    rows = f"model.vocabulary_rows={2 * model.vocabulary_rows}"
    elsewhere = replace(found, inputs=found.inputs | {"tokens": "others"})
    beside = replace(found, recipe=override(found.recipe, ["model.switch.shared_mlp=16"]))
    experts_mean = student("distillation.initialization=experts-mean")
    teacher.check_teaches(found, student(), blocks)
    teacher.check_teaches(found, student("model.mlp=32", at_random), blocks)
    teacher.check_student(beside, student())
    for of, taught, given, message in (
        (found, student("model.mlp=32"), blocks, r"another shape.*initialization=random"),
        (found, student("model.distance_slope=0.5"), blocks, "another shape"),
        (found, student("accumulate=8", "inputs=100"), blocks, "batches.*encoder tokens"),
        (found, student(model=model), blocks, "has 4 experts, and a student is dense"),
        (found, student(rows, at_random), blocks, "vocabulary rows and recipe"),
        (beside, experts_mean, blocks, "a shared expert beside its experts"),
        (elsewhere, student(), blocks, "was trained on other tokens"),
        (found, student(), with_another_vocabulary(blocks), "have different vocabularies"),
    ):
        with pytest.raises(ArtifactError, match=message):
            teacher.check_teaches(of, taught, given)
    with pytest.raises(ArtifactError, match="holds no recipe"):
        teacher.find(tmp_path)
