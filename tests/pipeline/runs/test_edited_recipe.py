"""A run whose recipe.json another program changed is refused by every reader, with both values.

What it is compared with is the run's manifest or claim. No array is read: with other sizes a sound
checkpoint looks damaged, and following that advice would delete it.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from data.files.json_files import read_json, write_json
from pipeline.artifacts import claim, finish
from pipeline.command import check_fields
from pipeline.commands.evaluate import Evaluate
from pipeline.commands.export_hf import ExportHf
from pipeline.commands.fill import Fill
from pipeline.commands.inspect import Inspect
from pipeline.commands.pretrain import Pretrain
from pipeline.commands.prune import Prune
from pipeline.commands.report import Report
from pipeline.errors import ArtifactError
from pipeline.recipe import named
from pipeline.recipe.overrides import override
from pipeline.recipe.recipe import Differs, fixed_settings, recipe_to_json
from pipeline.runs.directory import RECIPE, ChangedSetting, find_run, record_changes

OF_RUN = recipe_to_json(override(named.get("switch-demo"), ["model.vocabulary_rows=384"]))
CLAIMED = fixed_settings(OF_RUN, Differs.UNCLAIMED)


def write_run(out: Path, stage: str, *, finished: bool) -> Path:
    """Writes what describes a run, without arrays."""
    trained = stage in ("pretrain", "distill", "finetune")
    settings = CLAIMED if trained else {"rows": 8}
    claim(out, stage, settings, {})
    write_json(out / RECIPE, {"recipe": OF_RUN})
    if finished:
        finish(out, stage, settings, {}, {"steps": 0} | ({} if trained else {"recipe": OF_RUN}))
    return out


def edit(run: Path, **values: Any) -> None:
    """Changes settings of recipe.json as an editor does."""
    about = read_json(run / RECIPE, dict[str, Any])
    write_json(run / RECIPE, about | {"recipe": about["recipe"] | values})


@pytest.mark.parametrize("stage", ["pretrain", "unfinished pretrain", "finetune", "prune"])
def test_values_then_and_now_are_named(tmp_path, stage):
    finished = "unfinished" not in stage
    run = write_run(tmp_path / "run", stage.removeprefix("unfinished "), finished=finished)
    find_run(run)
    edit(run, mesh={"data": 8}, remat="full")  # may be any
    find_run(run)
    edit(run, steps=300, model=OF_RUN["model"] | {"heads": 3})
    with pytest.raises(ArtifactError) as refused:
        find_run(run)
    assert "(model.heads: then 4, now 3; steps: then 400, now 300)" in str(refused.value)
    assert str(run / RECIPE) in str(refused.value)


def test_a_kill_before_a_recorded_change_is_described_is_no_edit(tmp_path):
    """The change is recorded and claimed first. Finished, recipe.json has it."""
    run = write_run(tmp_path / "run", "pretrain", finished=False)
    record_changes(run, [ChangedSetting(100, "steps", 150, 400)])
    edit(run, steps=150)
    find_run(run)
    edit(run, steps=151, held_out_pages=7)
    with pytest.raises(ArtifactError, match="held_out_pages: then not set, now 7; steps: then 400"):
        find_run(run)
    finish(run, "pretrain", CLAIMED, {}, {"steps": 400})
    edit(run, steps=150)
    with pytest.raises(ArtifactError, match="steps: then 400, now 150"):
        find_run(run)


def asked_of(run: Path, tokens: Path) -> dict[str, Callable[[], object]]:
    """Returns calls of commands that read a run, or go on with it."""
    out, settings = run.with_name("out"), ("model.vocabulary_rows=384",)
    again = Pretrain(recipe="switch-demo", tokens=str(tokens), out=run, overrides=settings)
    return {
        "fill": partial(check_fields, Fill(text="a <extra_id_0>", run=run)),
        "evaluate": partial(check_fields, Evaluate(run=run, tokens="none")),
        "export-hf": partial(check_fields, ExportHf(run=run, out=out)),
        "prune": partial(check_fields, Prune(run=run, languages=("sw",), keep=0.5, out=out)),
        "report": Report(baseline=(run,), candidate=(run.with_name("other"),), out=out).execute,
        "inspect": Inspect(directory=str(run)).execute,
        "pretrain": again.execute,
        "pretrain --dry-run": replace(again, dry_run=True).execute,
    }


@pytest.mark.parametrize("command", asked_of(Path("run"), Path("tokens")))
@pytest.mark.parametrize("finished", [True, False])
def test_every_command_gives_that_answer_and_no_other(tmp_path, tokens, command, finished):
    run = write_run(tmp_path / "run", "pretrain", finished=finished)
    edit(run, steps=800)
    with pytest.raises(ArtifactError, match="steps: then 400, now 800"):
        asked_of(run, tokens)[command]()
