""" """

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import pytest
from msgspec.structs import replace

from data.errors import DataError
from data.examples.mixture import BLOCK
from data.files.json_files import read_json
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import TokenManifest
from model.config import ConfigurationError
from pipeline.arguments import Pretrain
from pipeline.commands import pretrain
from pipeline.commands.finetune import finetuned
from pipeline.errors import ArtifactError
from pipeline.recipe import named
from pipeline.recipe.overrides import override
from pipeline.recipe.recipe import MixtureFrom
from pipeline.training import begin
from pipeline.training.begin import (
    Profile,
    check_all,
    check_numerics,
    check_profile,
    check_start,
    machine_checks,
)
from pipeline.training.changes import check_later

DENSE = {"name": "x", "seed": 0, "steps": 1, "model": {"switch": None}}


def begun_with(out, **fields):
    (out / "recipe.json").write_text(json.dumps({"recipe": DENSE} | fields))
    return out


def test_a_run_is_resumed_with_the_numerics_that_began_it(tmp_path):
    check_numerics(tmp_path)  # killed before it was described
    check_numerics(begun_with(tmp_path, numerics_version=begin.NUMERICS_VERSION))
    with pytest.raises(ArtifactError, match="version 99, which computes other numbers"):
        check_numerics(begun_with(tmp_path, numerics_version=99))


def test_every_commit_that_trained_a_run_is_recorded_once(tmp_path, monkeypatch):
    recorded = ["a" * 40, "b" * 40]
    begun_with(tmp_path, commits=recorded)
    for now, expected in (("c" * 40, [*recorded, "c" * 40]), ("a" * 40, recorded[::-1])):
        monkeypatch.setattr(begin, "source_commit", lambda now=now: now)
        assert begin._commits(tmp_path) == expected
    monkeypatch.setattr(begin, "source_commit", lambda: None)
    assert begin._commits(tmp_path) == recorded


@pytest.mark.parametrize("version", [None, 2])
def test_a_run_resumes_where_only_first_weights_changed(tmp_path, version):
    """Version 2 changed a sparse network's loss, version 3 only position biases' first weights."""
    dense, sparse = (DENSE | {"model": {"switch": one}} for one in (None, {"experts": 2}))
    recorded = {} if version is None else {"numerics_version": version}  # 0.1.0 recorded none
    check_numerics(begun_with(tmp_path, recipe=dense, **recorded))
    begun_with(tmp_path, recipe=sparse, **recorded)
    if version == 2:
        check_numerics(tmp_path)
        return
    with pytest.raises(ArtifactError, match=r"numerics version 4 and was begun with version 1"):
        check_numerics(tmp_path)


def test_a_run_whose_slope_was_in_its_learned_biases_is_not_resumed(tmp_path):
    sloped = DENSE | {"model": {"switch": None, "distance_slope": 0.5}}
    check_numerics(begun_with(tmp_path, recipe=sloped, numerics_version=4))
    with pytest.raises(ArtifactError, match=r"version 4 and was begun with version 3"):
        check_numerics(begun_with(tmp_path, recipe=sloped, numerics_version=3))


FITS = ["model.vocabulary_rows=384", "mesh.data=2", "mesh.expert=4", "rows=64"]


@pytest.fixture
def blocks(tokens):
    return TokenBlocks(tokens, read_json(tokens / "manifest.json", TokenManifest))


def recipe(*settings):
    return override(named.get("switch-demo"), settings)


def test_a_recipe_that_fits_starts(blocks, tmp_path):
    check_start(recipe(*FITS), blocks, tmp_path / "run")


def test_without_held_out_pages_a_run_must_not_evaluate(blocks, tmp_path):
    trained = {code: {"train": of["train"]} for code, of in blocks.manifest.languages.items()}
    without = TokenBlocks(blocks.directory, replace(blocks.manifest, languages=trained))
    with pytest.raises(ArtifactError, match=r"no held-out page .* --set evaluate_every=0"):
        check_start(recipe(*FITS), without, tmp_path / "run")
    check_start(recipe(*FITS, "evaluate_every=0"), without, tmp_path / "run")


def test_a_fine_tuning_needs_room_for_its_best_checkpoint_too(tmp_path, monkeypatch):
    monkeypatch.setattr(begin, "checkpoint_bytes", lambda *_: 10**18)
    tuned = finetuned(recipe(), ["topics"], ["en"], 8, 0.0)
    for one, count in ((recipe(), 3), (tuned, 4)):
        with pytest.raises(ArtifactError, match=f"^{count} checkpoints"):
            begin.check_disk(one, tmp_path)


def test_a_branch_keeps_no_checkpoint_before_its_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr(begin, "checkpoint_bytes", lambda *_: 10**18)
    long = recipe("steps=1000000", "checkpoint_every=10000", "keep_every=10000")
    for first, count in ((0, 103), (900_000, 13)):
        with pytest.raises(ArtifactError, match=f"^{count} checkpoints"):
            begin.check_disk(long, tmp_path, first)


def test_all_reasons_are_reported_together(blocks, tmp_path, monkeypatch):
    monkeypatch.setattr(begin, "checkpoint_bytes", lambda *_: 10**18)
    wrong = recipe("mesh.data=3", "rows=32", "model.switch.experts=6", "mesh.expert=4")
    with pytest.raises(ArtifactError) as error:
        check_start(wrong, blocks, tmp_path / "run")
    opening, *reasons = re.split(r" \([1-4]\) ", str(error.value))
    assert opening == "switch-demo cannot start, for 4 reasons:"
    parts = ("384", "needs 12 devices; found 8", "experts (6) must be a multiple of 4", "are free")
    for part, reason in zip(parts, reasons, strict=True):
        assert part in reason


def test_a_reason_of_several_checks_is_reported_once(tmp_path):
    wrong = recipe(*FITS, "mesh.slices=4")  # of two rows of devices
    with pytest.raises(ArtifactError, match=r"^mesh.slices=4 was given with data=2"):
        check_all("switch-demo", machine_checks(wrong, tmp_path / "run"))


@pytest.mark.parametrize(
    "mixture, message", [("unimaxx:1:1", "unimaxx"), ("weights:nowhere.csv", "is not a file")]
)
def test_a_mixture_is_refused_before_its_directory_is_claimed(tokens, tmp_path, mixture, message):
    asked = Pretrain(
        recipe="switch-demo", tokens=str(tokens), out=tmp_path / "run",
        overrides=(*FITS, f"mixture={mixture}"),
    )  # fmt: skip
    with pytest.raises(ArtifactError, match=message):
        pretrain.run(asked)
    assert not (tmp_path / "run").exists()


def test_a_mixture_that_no_schedule_can_draw_is_refused_before_it_is_recorded(blocks, tmp_path):
    rare, *others = blocks.languages("train")
    weights = tmp_path / "weights.json"
    weights.write_text(json.dumps({rare: 1e-7, **dict.fromkeys(others, 1.0)}))
    never = f"gives {rare} less than one example in {BLOCK}"
    with pytest.raises(ArtifactError, match=never):
        check_start(recipe(*FITS, f"mixture=weights:{weights}"), blocks, tmp_path / "run")
    changed = dataclasses.replace(
        recipe(*FITS), mixture_from=(MixtureFrom(step=5, mixture=f"weights:{weights}"),)
    )
    with pytest.raises(DataError, match=never):
        check_later(changed, blocks, [blocks])


@pytest.mark.parametrize("steps", [(0, 5), (20, 15), (399, 401)])
def test_only_steps_of_the_run_can_be_traced(steps):
    check_profile((1, 400), 400)
    with pytest.raises(ConfigurationError, match=f"--profile {steps[0]} {steps[1]} was asked"):
        check_profile(steps, 400)


def test_exactly_the_requested_steps_are_traced(tmp_path):
    profile = Profile((2, 3), tmp_path)
    tracing = []
    for step in range(1, 5):
        with profile.around(step):
            tracing.append(profile.folder is not None)
            jax.block_until_ready(jnp.ones(8) * step)
    assert tracing == [False, True, True, False]
    assert [path for path in tmp_path.rglob("*.xplane.pb") if path.stat().st_size > 0]


def test_a_run_that_resumes_in_between_traces_the_rest(tmp_path):
    profile = Profile((2, 4), tmp_path)
    for step in (3, 4):
        with profile.around(step):
            assert profile.folder is not None
    assert profile.folder is None
    assert list(tmp_path.rglob("*.xplane.pb"))


def test_steps_that_were_made_before_are_named(tmp_path):
    said = []
    for first in (0, 9, 10, 15, 30):
        Profile((10, 20), tmp_path).check_resumed(first, said.append)
    Profile(None, tmp_path).check_resumed(5, said.append)
    assert said == [
        f"steps 10 to {done} were made before; they are not traced." for done in (10, 15, 20)
    ]


def test_the_trace_ends_after_the_work_of_its_last_step(tmp_path, monkeypatch):
    """A step is only dispatched when its call returns."""
    matrix, ready = jnp.ones((500, 500)), []
    turns = jax.jit(lambda one: jax.lax.fori_loop(0, 60, lambda _, of: jnp.sin(of @ one), one))
    step = turns.lower(matrix).compile()
    stop = jax.profiler.stop_trace
    profile = Profile((1, 1), tmp_path)
    with monkeypatch.context() as patch, profile.around(1):
        patch.setattr(jax.profiler, "stop_trace", lambda: (ready.append(result.is_ready()), stop()))
        result = step(matrix)
        profile.stop()
    assert ready == [True]


def test_a_run_that_ends_early_leaves_a_whole_trace(tmp_path):
    profile = Profile((1, 100), tmp_path)
    with profile.around(1):
        pass
    profile.stop()
    assert profile.folder is None
    assert list(tmp_path.rglob("*.xplane.pb"))
