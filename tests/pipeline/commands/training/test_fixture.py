"""Artifacts of an earlier version are read, resumed and made again by this one, byte for byte.

`tests/fixture/` holds 58 web pages in 12 languages and what the commands of an earlier version made
of them (see its README). Behaviour that changes on purpose changes the fixture in the same commit.
"""

import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
from tensorflow_forks import python

from pipeline import cli

ROOT = Path(__file__).parents[4]
FIXTURE = ROOT / "tests/fixture"
CLEANED = json.loads((FIXTURE / "cleaned.json").read_text(encoding="utf-8"))
TIMED = ("seconds", "tokens_per_second")
CARDS = ("README.md", "metadata.json")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The artifacts; tests that write take a copy."""
    directory = tmp_path_factory.mktemp("made")
    with tarfile.open(FIXTURE / "artifacts.tar.xz") as archive:
        archive.extractall(directory, filter="data")
    return directory


@pytest.fixture
def here(monkeypatch, capfd) -> Callable[..., str]:
    """Runs a command in this process on one device, as the fixture's runs did."""
    one = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda: one)

    def run(*command: object) -> str:
        capfd.readouterr()
        status = cli.run(list(map(str, command)))
        out, err = capfd.readouterr()
        assert status == 0, err
        return out

    return run


def apart(*command: object) -> None:
    """Runs a command in a process of its own: TensorFlow crashes where CLD3 is loaded later."""
    done = python("-m", "pipeline.cli", *map(str, command))
    assert done.returncode == 0, done.stderr


def digests(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


def manifest(directory: Path) -> dict:
    found = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    return {
        name: value for name, value in found.items() if name not in ("code_version", "settings")
    }


@pytest.mark.parametrize("rules", CLEANED)
def test_every_rule_set_gives_the_same_corpus(here, tmp_path, rules):
    here("clean", "--rules", rules, "--input", FIXTURE / "web/*.warc.wet.gz", "--out", tmp_path)
    found = digests(tmp_path)
    assert {found.pop(name) for name in CARDS}
    assert found == CLEANED[rules]["files"]
    assert manifest(tmp_path)["languages"] == CLEANED[rules]["languages"]


def test_tokens_are_the_same(made, tmp_path):
    out = tmp_path / "tokens"
    apart(
        "tokenize", "--corpus", made / "corpus", "--vocabulary", made / "vocabulary", "--out", out
    )
    assert digests(out) == digests(made / "tokens")
    assert manifest(out) == manifest(made / "tokens")


@pytest.mark.parametrize(
    "name, says",
    [
        ("corpus", "languages"),
        ("vocabulary", "1,400 ids"),
        ("tokens", "all checksums"),
        ("mt5", "checkpoints at steps 2, 4, every"),
        ("switch", "checkpoints at steps 4, every"),
        ("report", "8 of 12 languages"),
    ],
)
def test_artifacts_pass_inspection(made, here, name, says):
    assert says in " ".join(here("inspect", made / name).split())


@pytest.mark.parametrize(
    "name, damage, says",
    [
        (
            "mt5",
            "checkpoints/4.json",
            "to step 4 by its manifest, and its checkpoints are [2]",
        ),
        ("tokens", "sentencepiece.model", "should be the vocabulary that the blocks were made"),
        ("report", "report.json", "report.json is missing or differs from its checksum"),
    ],
)
def test_inspection_misses_what_is_gone(made, tmp_path, capsys, name, damage, says):
    shutil.copytree(made / name, tmp_path / name)
    gone = tmp_path / name / damage
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    assert cli.run(["inspect", str(tmp_path / name)]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_a_run_is_resumed_and_ends_with_the_numbers_it_had(made, here, tmp_path):
    run = tmp_path / "mt5"
    shutil.copytree(made / "mt5", run)
    cut_short_after(run, 2)
    settings = (FIXTURE / "recipe.txt").read_text(encoding="utf-8").split()
    here("pretrain", "--recipe=mt5-demo", "--tokens", made / "tokens", "--out", run,
         "--set", *settings)  # fmt: skip
    found, expected = (untimed(directory / "metrics.jsonl") for directory in (run, made / "mt5"))
    assert [line.keys() for line in found] == [line.keys() for line in expected]
    for ours, theirs in zip(found, expected, strict=True):
        for name in theirs:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-5), name
    assert losses(run, 4) == pytest.approx(losses(made / "mt5", 4), rel=1e-5)


def cut_short_after(run: Path, step: int) -> None:
    """Takes a run back to how a kill after this step would have left it."""
    whole = json.loads((run / "manifest.json").read_text())
    claim = {name: whole[name] for name in ("stage", "settings", "inputs")}
    (run / "unfinished.json").write_text(json.dumps(claim))
    (run / "manifest.json").unlink()
    (run / "checkpoints/4.json").unlink()
    (run / "evaluation/step=4.parquet").unlink()


def untimed(path: Path) -> list[dict]:
    lines = map(json.loads, path.read_text().splitlines())
    return [{name: line[name] for name in line if name not in TIMED} for line in lines]


def losses(run: Path, step: int) -> np.ndarray:
    table = pq.read_table(run / f"evaluation/step={step}.parquet").sort_by("url")
    return table["loss_nats"].to_numpy()


def test_a_checkpoint_scores_as_it_did(made, here, tmp_path):
    run = tmp_path / "switch"
    shutil.copytree(made / "switch", run)
    (run / "evaluation/step=4.parquet").unlink()
    here("evaluate", "--run", run, "--tokens", made / "tokens", "--step", 4)
    found, expected = (
        pq.read_table(directory / "evaluation/step=4.parquet")
        for directory in (run, made / "switch")
    )
    assert found.schema == expected.schema
    for name in ("language", "url", "target_tokens", "text_bytes", "windows"):
        assert found.sort_by("url")[name].equals(expected.sort_by("url")[name]), name
    assert losses(run, 4) == pytest.approx(losses(made / "switch", 4), rel=1e-5)


def test_the_report_says_the_same(made, here, tmp_path):
    out = tmp_path / "report"
    here("report", "--baseline", made / "mt5", "--candidate", made / "switch", "--corpus",
         made / "corpus", "--tokens", made / "tokens", "--out", out)  # fmt: skip
    found, expected = (
        json.loads((directory / "report.json").read_text(encoding="utf-8"))
        for directory in (out, made / "report")
    )
    assert without_times(found) == without_times(expected)


def without_times(value: object) -> object:
    """Returns a report without clocks, and without when and from where it was written.

    Numbers have twelve digits: the last bits of a mean differ between kinds of processors.
    """
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, dict):
        return {
            name: without_times(part)
            for name, part in value.items()
            if "time" not in name and "seconds" not in name and name != "written"
        }
    return [without_times(part) for part in value] if isinstance(value, list) else value


def test_these_tests_can_fail(made):
    assert os.environ["XLA_FLAGS"]  # eight simulated devices: `here` takes one of them
    assert losses(made / "mt5", 2) != pytest.approx(losses(made / "mt5", 4), rel=1e-5)
