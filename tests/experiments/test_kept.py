"""What students keep follows from the published evaluations."""

from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "docs/results/students"


@pytest.mark.parametrize(("runs", "ids"), [("runs-2048-ids", 2048), ("runs", 8192)])
def test_published_rows_follow_from_published_evaluations(
    runs: str, ids: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    import_module("kept").write(tmp_path / "kept.csv", PUBLISHED / runs, 1)
    published = PUBLISHED / f"kept-{ids}-ids.csv"
    assert (tmp_path / "kept.csv").read_text() == published.read_text()


def test_several_seeds_are_compared_by_their_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    kept, runs = import_module("kept"), tmp_path / "runs"
    for published in (PUBLISHED / "runs-2048-ids").iterdir():
        side = published.name.removesuffix("-0")
        for seed in range(2):
            (runs / f"{side}-{seed}").parent.mkdir(exist_ok=True)
            (runs / f"{side}-{seed}").symlink_to(published)
    one, two = ([row[:7] for row in kept.rows(runs, seeds)] for seeds in (1, 2))
    assert one == two
