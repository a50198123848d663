"""Runs that are not finished or not evaluated, and pages that differ."""

import shutil

import pyarrow.parquet as pq
import pytest
from synthetic_runs import STEPS, write_run

from pipeline.errors import ArtifactError
from pipeline.runs.comparable import differences
from pipeline.runs.finished import read_run


def test_a_run_is_evaluated_at_its_last_step(tmp_path):
    run = write_run(tmp_path / "run", experts=8, steps=2000)
    message = "trains for 2000 steps and was last evaluated at step 1100"
    with pytest.raises(ArtifactError, match=message):
        read_run(run)


def test_runs_without_evaluations_or_with_other_pages_are_refused(tmp_path):
    run, other = (write_run(tmp_path / name, experts=8) for name in ("run", "other"))
    last = other / f"evaluation/step={STEPS[-1]}.parquet"
    table = pq.read_table(last)
    pq.write_table(table.slice(1), last)
    with pytest.raises(ArtifactError, match="different held-out pages"):
        read_run(other)
    for path in (other / "evaluation").iterdir():
        rows = pq.read_table(path).to_pylist()
        gone = min(row["url"] for row in rows)
        pq.write_table(table.from_pylist([row for row in rows if row["url"] != gone]), path)
    with pytest.raises(ArtifactError, match="different held-out pages"):
        differences([read_run(run)], [read_run(other)], allowed=True)
    shutil.rmtree(other / "evaluation")
    with pytest.raises(ArtifactError, match="run `mswitch evaluate"):
        read_run(other)
    (other / "recipe.json").unlink()
    with pytest.raises(ArtifactError, match=r"no recipe\.json"):
        read_run(other)
