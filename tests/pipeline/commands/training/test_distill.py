"""A teacher, a student that is killed and resumes, and what is refused; on eight simulated devices.

The one kill needs a process of its own; it shares compiled programs with the runs in this process.
"""

import dataclasses
import json
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from other_blocks import with_another_vocabulary
from training_runs import (
    MESH,
    SETTINGS,
    SIZES,
    assert_same_run,
    killed,
    lines,
)
from training_runs import STEPS as TAUGHT

from data.files.json_files import read_json
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import TokenManifest
from model.config import DistillationConfig
from pipeline import cli
from pipeline.commands.export_hf import ExportHf
from pipeline.commands.import_hf import ImportHf
from pipeline.errors import PREEMPTED_STATUS, ArtifactError
from pipeline.recipe import named as recipes
from pipeline.recipe.overrides import override
from pipeline.runs.directory import saved_steps
from pipeline.runs.opened_run import load_run, restore
from pipeline.training import run as training_run
from pipeline.training import teacher
from pipeline.training.loop import Preemption

pytestmark = pytest.mark.usefixtures("traced_once")

STEPS, EVERY = 6, 2
STUDENT = [*SIZES, "checkpoint_every=2", "evaluate_every=3", "optimizer.hold_steps=30"]


@pytest.fixture(scope="module")
def command(tokens, pretrained):
    """A function from a student's directory and settings to the words of its command."""

    def words(out: Path, *settings: str, by: Path = pretrained) -> list[str]:
        named = [f"--teacher={by}", f"--tokens={tokens}", f"--out={out}"]
        sizes = [*STUDENT, f"steps={STEPS}", *settings]
        return ["distill", "--recipe=mt5-demo", *named, "--set", *sizes]

    return words


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    assert cli.run(command(out, *MESH)) == 0
    return out


@pytest.mark.slow
def test_a_killed_student_ends_as_if_nothing_had_happened(
    command, whole, tmp_path, capsys, monkeypatch
):
    """Killed in its first save, before it has begun; then stopped between two saves."""
    out = tmp_path / "run"
    status, printed = killed(command(out, *MESH), "during", 0)
    assert status == -signal.SIGKILL, printed
    assert saved_steps(out) == []
    with monkeypatch.context() as patch:
        log = out / "metrics.jsonl"
        patch.setattr(Preemption, "should_stop", lambda _: log.exists() and len(lines(out)) > EVERY)
        assert cli.run(command(out, *MESH)) == PREEMPTED_STATUS
    assert len(lines(out)) == EVERY + 1
    assert cli.run(command(out, *MESH)) == 0
    assert_same_run(out, whole, STEPS)
    assert cli.run(command(out, *MESH)) == 0
    assert "is finished" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_one_device_teaches_as_eight_do(command, whole, tmp_path, monkeypatch):
    one = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda: one)
    rarely = ("checkpoint_every=6", "evaluate_every=6")
    assert cli.run(command(tmp_path / "run", *rarely)) == 0
    assert len(json.loads((tmp_path / "run/recipe.json").read_text())["devices"]) == 1
    for left, right in zip(lines(tmp_path / "run"), lines(whole), strict=True):
        # Rounding grows by a factor of ten every two steps at this rate, in gradients most of all.
        near = left["step"] <= EVERY
        compared = left.keys() if near else ("step", "loss_nats", "soft_loss_nats")
        expected = {name: right[name] for name in compared}
        assert {name: left[name] for name in compared} == pytest.approx(
            expected, rel=1e-5 if near else 2e-3
        )


@pytest.mark.slow
def test_the_run_records_its_teacher_and_its_losses(pretrained, whole):
    about, at = (json.loads((run / "recipe.json").read_text()) for run in (whole, pretrained))
    assert about["recipe"]["distillation"] == dataclasses.asdict(DistillationConfig())
    assert "distillation" not in at["recipe"]
    taught_by = about["teacher"]
    assert (taught_by["recipe"], taught_by["seed"], taught_by["step"]) == ("switch-demo", 0, TAUGHT)
    assert (taught_by["experts"], taught_by["parameters"]) == (4, at["parameters"])
    assert about["inputs"]["tokens"] == at["inputs"]["tokens"]
    assert about["parameters"] < at["parameters"]
    assert all(line["soft_loss_nats"] > 0 for line in lines(whole))


@pytest.mark.slow
def test_the_first_weights_are_the_teachers(command, pretrained, tmp_path, monkeypatch):
    """Checkpoint 0 holds the teacher's embedding, bit for bit, unless weights begin at random."""
    begun = []
    monkeypatch.setattr(
        training_run, "carry_out", lambda prepared, training, *more: begun.append(training)
    )
    for initialization in ("non-experts", "random"):
        setting = f"distillation.initialization={initialization}"
        assert cli.run(command(tmp_path / initialization, *MESH, setting)) == 0
    given, drawn = begun
    taught = np.asarray(restore(pretrained, load_run(pretrained)[1], TAUGHT)[0].embedding)
    first = restore(given.out, given.trainer, 0)[0].embedding
    np.testing.assert_array_equal(np.asarray(first), taught)
    assert not (drawn.out / "checkpoints").exists()
    assert np.abs(np.asarray(drawn.trainer.init().arrays.embedding) - taught).max() > 0.1


@pytest.mark.slow
def test_other_settings_or_another_teacher_are_refused(
    command, pretrained, whole, tmp_path, capsys
):
    assert cli.run(command(whole, *MESH, "distillation.hard_share=0.5")) == 2
    printed = capsys.readouterr().err
    assert "distillation.hard_share: there 0.75, asked 0.5" in printed
    other = tmp_path / "other"
    shutil.copytree(pretrained, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["code_version"] = "another"
    (other / "manifest.json").write_text(json.dumps(manifest))
    assert cli.run(command(whole, *MESH, by=other)) == 2
    assert "inputs (teacher: there switch-demo, seed 0, " in capsys.readouterr().err


@pytest.mark.slow
def test_a_teacher_of_other_weights_is_refused(whole, tmp_path):
    about = json.loads((whole / "recipe.json").read_text())
    taught_by = dict(about["teacher"])
    (tmp_path / "recipe.json").write_text(json.dumps(about))
    teacher.check_same_teacher(tmp_path, taught_by)
    with pytest.raises(ArtifactError, match=r"begun with another teacher .fingerprint: there"):
        teacher.check_same_teacher(tmp_path, taught_by | {"fingerprint": "0" * 64})


@pytest.mark.slow
def test_a_student_goes_to_transformers_and_back(whole, tmp_path):
    """It is a dense mT5: exported, imported and exported again, the file has the same bytes."""
    for source, out in ((whole, tmp_path / "one"), (tmp_path / "run", tmp_path / "two")):
        if out.name == "two":
            ImportHf(directory=tmp_path / "one", out=source, inputs=64).execute()
        ExportHf(run=source, out=out).execute()
    config = json.loads((tmp_path / "one/config.json").read_text())
    assert config["model_type"] == "mt5"
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


@pytest.fixture
def found(pretrained):
    return teacher.find(pretrained)


@pytest.fixture
def blocks(tokens):
    return TokenBlocks(tokens, read_json(tokens / "manifest.json", TokenManifest))


def student(*settings):
    recipe = dataclasses.replace(recipes.get("mt5-demo"), distillation=DistillationConfig())
    return override(recipe, [*STUDENT, *MESH, *settings])


@pytest.mark.slow
def test_a_teacher_of_another_shape_gives_no_first_weights(found, blocks):
    teacher.check_teaches(found, student(), blocks)
    for other in ("model.mlp=32", "model.distance_slope=0.5"):
        with pytest.raises(ArtifactError, match=r"another shape.*initialization=random"):
            teacher.check_teaches(found, student(other), blocks)
    teacher.check_teaches(
        found, student("model.mlp=32", "distillation.initialization=random"), blocks
    )


def test_a_teacher_with_a_balance_loss_over_the_batch_teaches_parts_of_one():
    recipe = override(
        recipes.get("switch-demo"), [*SETTINGS, "model.switch.balance_loss_over=batch"]
    )
    balanced = teacher.Teacher(directory=Path("teacher"), recipe=recipe, inputs={})
    teacher.check_fills_groups(balanced, student("rows=16", "accumulate=2"))


@pytest.mark.slow
def test_what_cannot_be_taught_is_refused(found, blocks, tmp_path):
    with pytest.raises(ArtifactError, match=r"cannot teach mt5-demo's batches.*encoder tokens"):
        teacher.check_teaches(found, student("accumulate=8", "inputs=100"), blocks)
    sparse = dataclasses.replace(student(), model=found.recipe.model)
    with pytest.raises(ArtifactError, match="has 4 experts, and a student is dense"):
        teacher.check_teaches(found, sparse, blocks)
    shared = override(found.recipe, ["model.switch.shared_mlp=16"])
    beside = dataclasses.replace(found, recipe=shared)
    with pytest.raises(ArtifactError, match="a shared expert beside its experts"):
        teacher.check_student(beside, student("distillation.initialization=experts-mean"))
    teacher.check_student(beside, student())
    rows = 2 * found.recipe.model.vocabulary_rows
    other = f"model.vocabulary_rows={rows}", "distillation.initialization=random"
    with pytest.raises(ArtifactError, match=rf"vocabulary rows and recipe .* {rows}, and a"):
        teacher.check_student(found, student(*other))
    elsewhere = dataclasses.replace(found, inputs=found.inputs | {"tokens": "others"})
    with pytest.raises(ArtifactError, match="was trained on other tokens"):
        teacher.check_teaches(elsewhere, student(), blocks)
    with pytest.raises(ArtifactError, match="have different vocabularies"):
        teacher.check_teaches(found, student(), with_another_vocabulary(blocks))
    with pytest.raises(ArtifactError, match="holds no recipe"):
        teacher.find(tmp_path)
