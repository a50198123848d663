"""`mswitch report --step-times`: whose they are, the time speed-up, and its recomputation."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import recompute_report
from recompute_times import compare_times

from data.files.digests import digest_of_contents
from data.files.json_files import write_json
from pipeline import artifacts
from pipeline.commands.report import Report
from pipeline.errors import ArtifactError

pytestmark = pytest.mark.slow

SIDES = "dense", "switch"


def write_times(directory: Path, runs: tuple[Path, Path]) -> Path:
    """Writes step times as `mswitch time` does: the candidate's steps take a quarter longer."""
    rng = np.random.default_rng(0)
    rounds = [
        {
            "first": ("baseline", "candidate")[number % 2],
            "baseline_seconds": 0.8 * slow * (1 + 0.02 * rng.normal()),
            "candidate_seconds": 1.0 * slow * (1 + 0.02 * rng.normal()),
        }
        for number, slow in enumerate(1 + rng.exponential(0.3, 20))
    ]
    measured = [
        {
            "run": str(run),
            "recipe": "synthetic",
            "seed": 0,
            "step": 1100,
            "recipe_sha256": digest_of_contents(run / "recipe.json"),
        }
        for run in runs
    ]
    directory.mkdir(parents=True)
    path = directory / "step_times.json"
    sides = dict(zip(("baseline", "candidate"), measured, strict=True))
    write_json(path, {**sides, "steps_per_round": 4, "rounds": rounds, "devices": ["cpu", "cpu"]})
    artifacts.finish(directory, "time", {}, {}, {"sha256": digest_of_contents(path)})
    return directory


@pytest.fixture
def asked(finished, tmp_path, monkeypatch) -> Report:
    """A report of two runs per side, with step times of the first of each; without its page."""
    monkeypatch.setattr("eval.report.html.to_html", lambda _: "x" * 2000)
    baseline, candidate = (tuple(finished / f"{kind}{n}" for n in (0, 1)) for kind in SIDES)
    times = write_times(tmp_path / "times", (baseline[0], candidate[0]))
    return Report(baseline=baseline, candidate=candidate, step_times=times, out=tmp_path / "out")


def words(asked: Report) -> list[str]:
    """Returns the options of the recomputation."""
    sides = [w for name in ("baseline", "candidate")
             for w in (f"--{name}", *map(str, getattr(asked, name)))]  # fmt: skip
    return [str(asked.out), *sides]


def test_the_time_speedup_stands_beside_the_step_speedup(asked, capsys):
    asked.execute()
    found = json.loads((asked.out / "report.json").read_text())
    times, summary = found["step_times"], found["summary"]
    assert times["step_time_ratio"] == pytest.approx(0.8, rel=0.02)
    assert times["step_time_ratio_low"] < 0.8 < times["step_time_ratio_high"]
    product = summary["mean_step_speedup"] * times["step_time_ratio"]
    assert times["time_speedup"] == pytest.approx(product)
    widths = [
        np.log(one[f"{name}_high"] / one[f"{name}_low"])
        for one, name in (
            (summary, "mean_step_speedup"), (times, "step_time_ratio"), (times, "time_speedup")
        )
    ]  # fmt: skip
    assert max(widths[:2]) < widths[2] < sum(widths[:2])
    assert times["devices"] == "2 × cpu"
    assert found["written"]["step_times"] == str(asked.step_times)
    assert found["time_sentence"] in " ".join(capsys.readouterr().out.splitlines())
    manifest = json.loads((asked.out / "manifest.json").read_text())
    assert manifest["inputs"]["time"] == artifacts.digest_of_manifest(asked.step_times)
    with pytest.raises(ArtifactError, match=r"made from other inputs \(time: gone"):
        dataclasses.replace(asked, step_times=None).execute()


def test_another_program_finds_the_same_numbers(asked, capsys):
    asked.execute()
    recompute_report.main([*words(asked), "--step-times", str(asked.step_times)])
    printed = capsys.readouterr().out
    assert "step times, their ratio, the time speed-up and intervals equal to 1e-9" in printed
    shown = json.loads((asked.out / "report.json").read_text())["step_times"]
    shown["step_time_ratio_high"] += 1e-8
    with pytest.raises(SystemExit, match="step_time_ratio high"):
        compare_times(shown, asked.step_times, None)
    with pytest.raises(SystemExit, match="step times and no --step-times was given"):
        compare_times(shown, None, None)


def test_step_times_of_other_runs_are_refused(asked, finished, tmp_path):
    runs = asked.baseline[0], asked.candidate[0]
    for number, (pair, said) in enumerate(
        (
            (
                runs[::-1],
                r"have .*switch0, synthetic \(seed 0\), as the baseline, which is not a --baseline",
            ),
            (
                (runs[0], finished / "student0"),
                "as the candidate, which is not a --candidate of this",
            ),
        )
    ):
        times = write_times(tmp_path / f"other{number}", pair)
        with pytest.raises(ArtifactError, match=said):
            dataclasses.replace(asked, step_times=times).execute()
    assert not asked.out.exists()


def test_damaged_or_missing_step_times_are_refused(asked, tmp_path):
    path = asked.step_times / "step_times.json"
    path.write_text(path.read_text().replace("0.8", "0.7"))
    with pytest.raises(ArtifactError, match="differs from its checksum in the manifest"):
        asked.execute()
    for directory, said in (
        (tmp_path / "none", "does not exist; run time"),
        (asked.baseline[0], r"which holds no manifest\.json; run time to its end first"),
    ):
        with pytest.raises(ArtifactError, match=said):
            dataclasses.replace(asked, step_times=directory).execute()
    assert not asked.out.exists()
