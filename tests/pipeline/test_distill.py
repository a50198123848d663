"""A teacher, a student that is killed and goes on, and what is refused; on eight simulated devices.

Every run is a process of its own; they share compiled programs.
"""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

from data.tokens.blocks import TokenBlocks
from model.distillation import DistillationConfig
from pipeline import cli, distill, export_hf, import_hf, pretrain
from pipeline.arguments import ExportHf, ImportHf, Pretrain
from pipeline.errors import ArtifactError
from pipeline.recipe import named as recipes
from pipeline.recipe.recipe import override
from pipeline.runs.open import load_run, restore
from pipeline.training import teacher

ROOT = Path(__file__).parents[2]
STEPS, EVERY = 6, 2
TAUGHT = 12  # steps of the teacher
SIZES = [
    "checkpoint_every=2",
    "log_every=1",
    "evaluate_every=3",
    "rows=8",
    "inputs=64",
    "model.vocabulary_rows=384",
    "model.embed=16",
    "model.heads=2",
    "model.head=8",
    "model.mlp=16",
]
HOLD = "optimizer.hold_steps=30"
MESH = ["mesh.data=2", "mesh.expert=4"]
EXPERTS = [
    f"model.switch.{setting}"
    for setting in ("experts=4", "encoder_group_tokens=64", "decoder_group_tokens=14")
]
UNTIMED = ("seconds", "tokens_per_second")


def mswitch(*command: str, main=("-m", "pipeline.cli"), **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, *main, *command],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


class Runs:
    """Starts `mswitch distill` with one teacher on the same tokens."""

    def __init__(self, tokens: Path, taught_by: Path):
        self.tokens, self.teacher = tokens, taught_by

    def command(self, out: Path, *settings: str, by: Path | None = None) -> list[str]:
        named = [f"--teacher={by or self.teacher}", f"--tokens={self.tokens}", f"--out={out}"]
        sizes = [*SIZES, HOLD, f"steps={STEPS}", *settings]
        return ["distill", "--recipe=mt5-demo", *named, "--set", *sizes]

    def distill(self, out: Path, *settings: str, **changes) -> tuple[int, str]:
        main = changes.pop("main", ("-m", "pipeline.cli"))
        return mswitch(*self.command(out, *settings), main=main, **changes)


@pytest.fixture(scope="module")
def runs(tokens, tmp_path_factory) -> Runs:
    out = tmp_path_factory.mktemp("teacher") / "run"
    sizes = (*SIZES, *EXPERTS, *MESH, f"steps={TAUGHT}")  # test_pretrain.py's, so compiled once
    asked = Pretrain(recipe="switch-demo", tokens=str(tokens), out=out, overrides=sizes)
    pretrain.run(asked)
    return Runs(tokens, out)


@pytest.fixture(scope="module")
def whole(runs, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    status, said = runs.distill(out, *MESH)
    assert status == 0, said
    return out


def lines(run: Path) -> list[dict]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in UNTIMED} for line in found]


def parameters(run: Path) -> list[np.ndarray]:
    _, trainer = load_run(run)
    arrays, step = restore(run, trainer, None)
    assert step == STEPS
    return [np.asarray(leaf) for leaf in jax.tree.leaves(arrays)]


def test_a_killed_student_ends_as_if_nothing_had_happened(runs, whole, tmp_path, capsys):
    """Killed in its first save, before it has begun, and in a later one."""
    out = tmp_path / "run"
    for step in (0, 2 * EVERY):
        killer = str(Path(__file__).with_name("mswitch_killed.py"))
        status, said = runs.distill(out, *MESH, main=(killer, "during", str(step), "--"))
        assert status == -signal.SIGKILL, said
    status, said = runs.distill(out, *MESH)
    assert status == 0, said
    assert lines(out) == lines(whole)
    for left, right in zip(parameters(out), parameters(whole), strict=True):
        np.testing.assert_array_equal(left, right)
    for path in (whole / "evaluation").iterdir():
        assert pq.read_table(path).equals(pq.read_table(out / "evaluation" / path.name))
    assert cli.run(runs.command(out, *MESH)) == 0
    assert "is finished" in " ".join(capsys.readouterr().err.split())


def test_one_device_teaches_as_eight_do(runs, whole, tmp_path):
    flags = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")
    status, said = runs.distill(tmp_path / "run", XLA_FLAGS=flags)
    assert status == 0, said
    for left, right in zip(lines(tmp_path / "run"), lines(whole), strict=True):
        # Rounding grows by a factor of ten every two steps at this rate, in gradients most of all.
        near = left["step"] <= EVERY
        compared = left.keys() if near else ("step", "loss_nats", "soft_loss_nats")
        expected = {name: right[name] for name in compared}
        assert {name: left[name] for name in compared} == pytest.approx(
            expected, rel=1e-5 if near else 2e-3
        )


def test_the_run_says_who_taught_it_and_what_it_heard(runs, whole):
    about, at = (json.loads((run / "recipe.json").read_text()) for run in (whole, runs.teacher))
    assert about["recipe"]["distillation"] == dataclasses.asdict(DistillationConfig())
    assert "distillation" not in at["recipe"]
    says = about["teacher"]
    assert (says["recipe"], says["seed"], says["step"]) == ("switch-demo", 0, TAUGHT)
    assert (says["experts"], says["parameters"]) == (4, at["parameters"])
    assert about["inputs"]["tokens"] == at["inputs"]["tokens"]
    assert about["parameters"] < at["parameters"]
    assert all(line["soft_loss_nats"] > 0 for line in lines(whole))


def test_the_first_weights_are_the_teachers(runs, tmp_path, monkeypatch):
    """Checkpoint 0 holds the teacher's embedding, bit for bit, unless first weights are drawn."""
    begun = []
    monkeypatch.setattr(distill, "carry_out", lambda job, training, facts: begun.append(training))
    for initialization in ("non-experts", "random"):
        setting = f"distillation.initialization={initialization}"
        assert cli.run(runs.command(tmp_path / initialization, *MESH, setting)) == 0
    given, drawn = begun
    taught = np.asarray(restore(runs.teacher, load_run(runs.teacher)[1], TAUGHT)[0].embedding)
    first = restore(given.out, given.trainer, 0)[0].embedding
    np.testing.assert_array_equal(np.asarray(first), taught)
    assert not (drawn.out / "checkpoints").exists()
    assert np.abs(np.asarray(drawn.trainer.init().arrays.embedding) - taught).max() > 0.1


def test_other_settings_or_another_teacher_are_refused(runs, whole, tmp_path, capsys):
    assert cli.run(runs.command(whole, *MESH, "distillation.hard_share=0.5")) == 2
    said = capsys.readouterr().err
    assert "settings.distillation.hard_share: there 0.75, asked 0.5" in said
    other = tmp_path / "other"
    shutil.copytree(runs.teacher, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["code_version"] = "another"
    (other / "manifest.json").write_text(json.dumps(manifest))
    assert cli.run(runs.command(whole, *MESH, by=other)) == 2
    assert "inputs.teacher: there 'switch-demo, seed 0, " in capsys.readouterr().err


def test_a_student_goes_to_transformers_and_back(runs, whole, tmp_path):
    """It is a dense mT5: exported, imported and exported again, the file has the same bytes."""
    for source, out in ((whole, tmp_path / "one"), (tmp_path / "run", tmp_path / "two")):
        if out.name == "two":
            import_hf.run(ImportHf(directory=tmp_path / "one", out=source, inputs=64))
        export_hf.run(ExportHf(run=source, out=out))
    config = json.loads((tmp_path / "one/config.json").read_text())
    assert config["model_type"] == "mt5"
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


@pytest.fixture
def found(runs):
    return teacher.find(runs.teacher)


@pytest.fixture
def blocks(tokens):
    return TokenBlocks(tokens, json.loads((tokens / "manifest.json").read_text()))


def student(*settings):
    recipe = dataclasses.replace(recipes.get("mt5-demo"), distillation=DistillationConfig())
    return override(recipe, [*SIZES, HOLD, *MESH, *settings])


def test_a_teacher_of_other_widths_can_only_be_listened_to(found, blocks):
    teacher.check_teaches(found, student(), blocks)
    with pytest.raises(ArtifactError, match=r"other widths.*initialization=random"):
        teacher.check_teaches(found, student("model.mlp=32"), blocks)
    teacher.check_teaches(
        found, student("model.mlp=32", "distillation.initialization=random"), blocks
    )


def test_what_cannot_be_taught_is_refused(found, blocks, tmp_path):
    with pytest.raises(ArtifactError, match=r"cannot teach mt5-demo's batches.*encoder tokens"):
        teacher.check_teaches(found, student("accumulate=8", "inputs=100"), blocks)
    sparse = dataclasses.replace(student(), model=found.recipe.model)
    with pytest.raises(ArtifactError, match="has 4 experts, and a student is dense"):
        teacher.check_teaches(found, sparse, blocks)
    elsewhere = dataclasses.replace(found, inputs=found.inputs | {"tokens": "others"})
    with pytest.raises(ArtifactError, match="was trained on other tokens"):
        teacher.check_teaches(elsewhere, student(), blocks)
    other = {"vocabulary": blocks.manifest["vocabulary"] | {"sha256": "another"}}
    with pytest.raises(ArtifactError, match="have different vocabularies"):
        teacher.check_teaches(
            found, student(), TokenBlocks(blocks.directory, blocks.manifest | other)
        )
    with pytest.raises(ArtifactError, match="holds no recipe"):
        teacher.find(tmp_path)
