"""Faults of run directories have one message each, and a run that cannot start explains why.

The runs are complete directories with untrained weights.
"""

import dataclasses
import errno
import shutil
from functools import partial
from pathlib import Path

import jax
import pyarrow.parquet as pq
import pytest
from msgspec import to_builtins
from msgspec.structs import replace
from other_blocks import with_another_vocabulary

from data.files.json_files import read_json, write_json
from data.files.paths import place
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import TokenManifest
from data.tokens.tokenizer import MODEL_FILE
from pipeline.artifacts import MANIFEST, digest_of_manifest, finish
from pipeline.commands.distill import Distill
from pipeline.commands.evaluate import Evaluate
from pipeline.commands.export_hf import ExportHf
from pipeline.commands.import_hf import ImportHf
from pipeline.commands.pretrain import Pretrain
from pipeline.errors import ArtifactError
from pipeline.fields import CacheOptions
from pipeline.recipe import named
from pipeline.recipe.overrides import override
from pipeline.recipe.recipe import FinetuningConfig, Recipe, recipe_to_json
from pipeline.runs import checkpoints
from pipeline.runs.directory import RECIPE as RECIPE_FILE
from pipeline.runs.directory import directory_of_part, evaluation_file
from pipeline.runs.finished import evaluation_files
from pipeline.runs.opened_run import load_run, restore, trainer_here
from pipeline.tokens.opened_blocks import check_holds_windows
from pipeline.training import importing, pruning, teacher
from pipeline.training.description import describe_run
from pipeline.training.start import Weights

SIZES = (
    *("steps=1", "rows=8", "inputs=64", "model.vocabulary_rows=384", "model.embed=16"),
    *("model.heads=2", "model.head=8", "model.mlp=16", "mesh.data=8"),
)
RECIPE = override(named.get("mt5-demo"), SIZES)


def write_run(out: Path, tokens: Path, inputs: dict[str, str]) -> Path:
    out.mkdir()
    trainer = trainer_here(RECIPE)
    checkpoints.write_first_checkpoint(out, trainer.init)
    describe_run(out, RECIPE, trainer, inputs)
    shutil.copy(tokens / MODEL_FILE, out)
    finish(out, "pretrain", {}, inputs, {"steps": 0})
    return out


@pytest.fixture(scope="module")
def whole(tokens, tmp_path_factory) -> Path:
    inputs = {"tokens": digest_of_manifest(tokens)}
    return write_run(tmp_path_factory.mktemp("whole") / "run", tokens, inputs)


@pytest.fixture
def unfinished(whole, tmp_path) -> Path:
    shutil.copytree(whole, tmp_path / "unfinished")
    (tmp_path / "unfinished" / MANIFEST).unlink()
    return tmp_path / "unfinished"


@pytest.fixture
def blocks(tokens) -> TokenBlocks:
    return TokenBlocks(tokens, read_json(tokens / MANIFEST, TokenManifest))


def check_weights(run: Path, recipe: Recipe, blocks: TokenBlocks) -> None:
    Weights(run).check(recipe, blocks)


def described(whole: Path, out: Path, recipe: Recipe, **about: int) -> Path:
    """Copies a run as one of another recipe."""
    shutil.copytree(whole, out, dirs_exist_ok=True)
    written = read_json(out / RECIPE_FILE, dict)
    write_json(out / RECIPE_FILE, written | {"recipe": recipe_to_json(recipe)} | about)
    return out


def full(path: Path, *_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


@pytest.mark.slow
def test_every_reader_reports_a_missing_run_alike(blocks, tmp_path):
    weights = partial(check_weights, recipe=RECIPE, blocks=blocks)
    for directory, found in (
        (tmp_path / "none", "does not exist"),
        (tmp_path, r"holds no recipe\.json"),
        (blocks.directory, r"holds tokenize output, no recipe\.json"),
    ):
        message = f"A run was expected in {directory}, which {found}; name the"
        for read in (load_run, teacher.find, weights, evaluation_files):
            with pytest.raises(ArtifactError, match=message):
                read(directory)


@pytest.mark.slow
def test_an_unfinished_run_is_no_start_and_no_teacher(unfinished, tokens, tmp_path):
    message = r"A finished run was expected in .*unfinished, which holds an unfinished one; repeat"
    asked = Pretrain(
        recipe="mt5-demo", tokens=str(tokens), out=tmp_path / "run", start=unfinished,
        overrides=SIZES,
    )  # fmt: skip
    with pytest.raises(ArtifactError, match=message):
        asked.execute()
    assert not (tmp_path / "run").exists()
    with pytest.raises(ArtifactError, match=message):
        teacher.find(unfinished)
    assert load_run(unfinished)[0] == RECIPE


@pytest.mark.slow
def test_a_missing_checkpoint_differs_from_a_run_without_any(whole, unfinished):
    _, trainer = load_run(whole)
    with pytest.raises(ArtifactError, match=r"Checkpoint 5 of .*, which has \[0\]; name one"):
        restore(whole, trainer, 5)
    shutil.rmtree(unfinished / "checkpoints")
    with pytest.raises(ArtifactError, match=r"holds none; let the command that started"):
        restore(unfinished, trainer, None)


@pytest.mark.slow
def test_a_slope_that_is_in_the_learned_biases_is_not_applied_again(whole, blocks, tmp_path):
    """Numerics version 3 recorded a slope and had it in the weights."""
    sloped = override(RECIPE, ["model.distance_slope=0.5"])
    for version, found, other in ((3, RECIPE, sloped), (4, sloped, RECIPE)):
        run = described(whole, tmp_path / "run", sloped, numerics_version=version)
        assert load_run(run)[0] == teacher.find(run).recipe == found
        check_weights(run, found, blocks)
        with pytest.raises(ArtifactError, match=r"another shape.*model\.distance_slope: there"):
            check_weights(run, other, blocks)


@pytest.mark.slow
def test_a_fine_tuned_run_takes_text_whose_targets_and_sentinels_suffice(whole, tokens, tmp_path):
    """Windows of 64 inputs have 14 targets, EOS included; of 2,048 inputs they have 114 spans."""
    tuned = dataclasses.replace(RECIPE, finetuning=FinetuningConfig(tasks=("sib200",), targets=8))
    run = described(whole, tmp_path / "run", tuned)
    message = r"fine-tuned with targets of 8 tokens, and windows of 64 inputs have 14"
    with pytest.raises(ArtifactError, match=message):
        next(Evaluate(run=run, tokens=str(tokens)).jobs())
    with pytest.raises(ArtifactError, match=message):
        pruning.text_of_languages(run, tuned, ["sw"], str(tokens), CacheOptions(), fitted=True)
    on_tasks = FinetuningConfig(tasks=("sib200",), targets=512)
    long = dataclasses.replace(RECIPE, inputs=2048, finetuning=on_tasks)
    with pytest.raises(ArtifactError, match=r"inputs of 2,048 tokens.* at most 1,809; leave"):
        check_holds_windows(run, long)


@pytest.mark.slow
def test_another_vocabulary_takes_two_commands(whole, blocks):
    tokens = with_another_vocabulary(blocks)
    model = whole / MODEL_FILE
    with pytest.raises(ArtifactError) as error:
        check_weights(whole, RECIPE, tokens)
    assert f"`mswitch vocabulary --model {model} --out VOCABULARY`" in str(error.value)
    assert "`mswitch tokenize --corpus CORPUS --vocabulary VOCABULARY" in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["pretrain", "distill", "import-hf"])
def test_a_full_disk_at_the_first_checkpoint_is_one_message(
    command, whole, tokens, tmp_path, monkeypatch
):
    """An import then resumes on eight devices, although the mesh of the recipe has one."""
    out, theirs = tmp_path / "run", tmp_path / "theirs"
    asked = {"recipe": "mt5-demo", "tokens": str(tokens), "out": out, "overrides": SIZES}
    imports = ImportHf(directory=theirs, out=out, inputs=64, rows=8)
    if command == "import-hf":
        ExportHf(run=whole, out=theirs).execute()
    begin = {
        "pretrain": Pretrain(start=whole, **asked),
        "distill": Distill(teacher=whole, **asked),
        "import-hf": imports,
    }[command]
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_json", full)
        with pytest.raises(ArtifactError, match=r"could not be written .*the disk is full"):
            begin.execute()
        patch.undo()
        if begin is imports:
            patch.setattr(importing, "describe_run", full)
            with pytest.raises(ArtifactError, match=r"The disk of .* is full"):
                begin.execute()
    if begin is imports:
        begin.execute()
        arrays = [jax.device_get(restore(run, load_run(run)[1], None)[0]) for run in (whole, out)]
        assert jax.tree.all(jax.tree.map(lambda one, other: (one == other).all(), *arrays))


@pytest.mark.slow
def test_an_imported_runs_evaluation_is_not_lost_to_other_tokens(
    tokens, blocks, make_blocks, tmp_path
):
    run = write_run(tmp_path / "run", tokens, {})
    others = tmp_path / "others"
    shorter = make_blocks(others, {"sw": 900}, ids=250)
    shutil.copy(tokens / MODEL_FILE, others)
    manifest = replace(shorter.manifest, vocabulary=blocks.manifest.vocabulary)
    finish(others, "tokenize", {}, {}, to_builtins(manifest))
    Evaluate(run=run, tokens=str(tokens)).execute()
    path = evaluation_file(run, 0)
    before = path.read_bytes()
    with pytest.raises(ArtifactError, match=r"step=0.parquet is there and was not made from .*oth"):
        Evaluate(run=run, tokens=str(others)).execute()
    assert path.read_bytes() == before
    Evaluate(run=run, tokens=str(tokens)).execute()
    pq.write_table(pq.read_table(path).replace_schema_metadata(), path)
    with pytest.raises(ArtifactError, match="was not made from"):
        Evaluate(run=run, tokens=str(tokens)).execute()


def test_runs_of_one_command_lie_beside_each_other():
    for out in ("runs/switch", "s3://bucket/switch"):
        assert directory_of_part(place(out), "1") == place(f"{out}-1")
    for out in (".", "..", "/", "s3://bucket"):  # which has no name
        with pytest.raises(ArtifactError, match=r"for several runs, .* name a directory, such as"):
            directory_of_part(place(out), "1")
