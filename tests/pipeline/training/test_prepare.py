"""Every reason why a run cannot start is reported before its directory is claimed."""

import dataclasses
import json
import re

import pytest
from msgspec.structs import replace

from data.errors import DataError
from data.examples.mixture import BLOCK
from data.files.json_files import read_json
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import TokenManifest
from pipeline.commands.pretrain import Pretrain
from pipeline.errors import ArtifactError
from pipeline.recipe import named
from pipeline.recipe.finetuning import recipe_of_finetuning
from pipeline.recipe.overrides import override
from pipeline.recipe.recipe import MixtureFrom
from pipeline.training import prepare
from pipeline.training.changes import check_later
from pipeline.training.prepare import check_all, check_start, machine_checks

FITS = ["model.vocabulary_rows=384", "mesh.data=2", "mesh.expert=4", "rows=64"]


@pytest.fixture
def blocks(tokens):
    return TokenBlocks(tokens, read_json(tokens / "manifest.json", TokenManifest))


@pytest.fixture
def huge(monkeypatch):
    """Checkpoints that no disk holds."""
    monkeypatch.setattr(prepare, "checkpoint_bytes", lambda *_: 10**18)


def recipe(*settings):
    return override(named.get("switch-demo"), settings)


def test_without_held_out_pages_a_run_must_not_evaluate(blocks, tmp_path):
    check_start(recipe(*FITS), blocks, tmp_path / "run")
    trained = {code: {"train": of["train"]} for code, of in blocks.manifest.languages.items()}
    without = TokenBlocks(blocks.directory, replace(blocks.manifest, languages=trained))
    with pytest.raises(ArtifactError, match=r"no held-out page .* --set evaluate_every=0"):
        check_start(recipe(*FITS), without, tmp_path / "run")
    check_start(recipe(*FITS, "evaluate_every=0"), without, tmp_path / "run")


LONG = recipe("steps=1000000", "checkpoint_every=10000", "keep_every=10000")


@pytest.mark.parametrize(
    ("one", "first", "count"),
    [
        (recipe(), 0, 3),
        (recipe_of_finetuning(recipe(), ["topics"], ["en"], 8, 0.0), 0, 4),  # and its best
        (LONG, 0, 103),
        (LONG, 900_000, 13),  # a branch keeps none before its first step
    ],
)
def test_a_disk_needs_room_for_all_checkpoints(huge, tmp_path, one, first, count):
    with pytest.raises(ArtifactError, match=f"^{count} checkpoints"):
        prepare.check_disk(one, tmp_path, first)


def test_all_reasons_are_reported_together(huge, blocks, tmp_path):
    wrong = recipe("mesh.data=3", "rows=32", "model.switch.experts=6", "mesh.expert=4")
    with pytest.raises(ArtifactError) as error:
        check_start(wrong, blocks, tmp_path / "run")
    opening, *reasons = re.split(r" \([1-4]\) ", str(error.value))
    assert opening == "switch-demo cannot start, for 4 reasons:"
    parts = ("384", "needs 12 devices; found 8", "experts (6) must be a multiple of 4", "are free")
    assert all(part in reason for part, reason in zip(parts, reasons, strict=True))


def test_a_reason_of_several_checks_is_reported_once(tmp_path):
    wrong = recipe(*FITS, "mesh.slices=4")  # of two rows of devices
    with pytest.raises(ArtifactError, match=r"^mesh.slices=4 was given with data=2"):
        check_all("switch-demo", machine_checks(wrong, tmp_path / "run"))


@pytest.mark.parametrize(
    "mixture, message", [("unimaxx:1:1", "unimaxx"), ("weights:nowhere.csv", "is not a file")]
)
def test_a_mixture_is_refused_before_its_directory_is_claimed(tokens, tmp_path, mixture, message):
    out, settings = tmp_path / "run", (*FITS, f"mixture={mixture}")
    asked = Pretrain(recipe="switch-demo", tokens=str(tokens), out=out, overrides=settings)
    with pytest.raises(ArtifactError, match=message):
        asked.execute()
    assert not out.exists()


def test_a_mixture_that_no_schedule_can_draw_is_refused_before_it_is_recorded(blocks, tmp_path):
    rare, *others = blocks.languages("train")
    weights = tmp_path / "weights.json"
    weights.write_text(json.dumps({rare: 1e-7, **dict.fromkeys(others, 1.0)}))
    never = f"gives {rare} less than one example in {BLOCK}"
    with pytest.raises(ArtifactError, match=never):
        check_start(recipe(*FITS, f"mixture=weights:{weights}"), blocks, tmp_path / "run")
    later = (MixtureFrom(step=5, mixture=f"weights:{weights}"),)
    with pytest.raises(DataError, match=never):
        check_later(dataclasses.replace(recipe(*FITS), mixture_from=later), blocks, [blocks])
