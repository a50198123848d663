"""Which runs make a side, and what their curves are taken for."""

from dataclasses import replace

import pytest
from synthetic_runs import write_run

from eval.sides import Points
from pipeline.errors import ArtifactError
from pipeline.runs.finished import FinishedRun, read_run
from pipeline.runs.sides_of_runs import side


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
