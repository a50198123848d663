"""Artifacts of an earlier version are read, resumed and made again by this one, byte for byte.

`tests/fixture/` holds 58 web pages in 12 languages and what the commands of an earlier version made
of them (see its README). Behaviour that changes on purpose changes the fixture in the same commit.
"""

import hashlib
import json
import shutil
from pathlib import Path

import jax
import pyarrow.parquet as pq
import pytest
from tensorflow_forks import python
from training_runs import lines, ran, refused

FIXTURE = Path(__file__).parents[3] / "fixture"
CLEANED = json.loads((FIXTURE / "cleaned.json").read_text(encoding="utf-8"))
CARDS = ("README.md", "metadata.json")


@pytest.fixture
def one_device(monkeypatch):
    """As the fixture's runs had."""
    devices = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda: devices)


def digests(directory):
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


def manifest(directory):
    found = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    return {
        name: value for name, value in found.items() if name not in ("code_version", "settings")
    }


@pytest.mark.parametrize("rules", CLEANED)
def test_every_rule_set_gives_the_same_corpus(tmp_path, rules):
    pages = FIXTURE / "web/*.warc.wet.gz"
    assert ran("clean", "--rules", rules, "--input", pages, "--out", tmp_path) == 0
    found = digests(tmp_path)
    assert {found.pop(name) for name in CARDS}
    assert found == CLEANED[rules]["files"]
    assert manifest(tmp_path)["languages"] == CLEANED[rules]["languages"]


def test_tokens_are_the_same(artifacts, tmp_path):
    """In a process of its own: TensorFlow crashes where CLD3 is loaded later."""
    out, given = tmp_path / "tokens", (f"--{n}={artifacts / n}" for n in ("corpus", "vocabulary"))
    done = python("-m", "pipeline.cli", "tokenize", *given, f"--out={out}")
    assert done.returncode == 0, done.stderr
    assert digests(out) == digests(artifacts / "tokens")
    assert manifest(out) == manifest(artifacts / "tokens")


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
def test_artifacts_pass_inspection(artifacts, one_device, capfd, name, says):
    assert ran("inspect", artifacts / name) == 0
    assert says in " ".join(capfd.readouterr().out.split())


@pytest.mark.parametrize(
    "name, damage, says",
    [
        ("mt5", "checkpoints/4.json", "to step 4 by its manifest, and its checkpoints are [2]"),
        ("tokens", "sentencepiece.model", "should be the vocabulary that the blocks were made"),
        ("report", "report.json", "report.json is missing or differs from its checksum"),
    ],
)
def test_inspection_misses_what_is_gone(artifacts, tmp_path, capsys, name, damage, says):
    shutil.copytree(artifacts / name, tmp_path / name)
    (tmp_path / name / damage).unlink()
    assert says in refused(capsys, "inspect", tmp_path / name)


def losses(run):
    table = pq.read_table(run / "evaluation/step=4.parquet").sort_by("url")
    return table["loss_nats"].to_numpy()


def test_a_run_is_resumed_and_ends_with_the_numbers_it_had(artifacts, one_device, tmp_path):
    """As a kill after step 2 would have left it."""
    whole, run = artifacts / "mt5", tmp_path / "mt5"
    shutil.copytree(whole, run)
    about = json.loads((run / "manifest.json").read_text())
    claim = {name: about[name] for name in ("stage", "settings", "inputs")}
    (run / "unfinished.json").write_text(json.dumps(claim))
    for name in ("manifest.json", "checkpoints/4.json", "evaluation/step=4.parquet"):
        (run / name).unlink()
    settings = (FIXTURE / "recipe.txt").read_text(encoding="utf-8").split()
    words = "--recipe=mt5-demo", "--tokens", artifacts / "tokens", "--out", run
    assert ran("pretrain", *words, "--set", *settings) == 0
    for ours, theirs in zip(lines(run), lines(whole), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    assert losses(run) == pytest.approx(losses(whole), rel=1e-5)


def test_a_checkpoint_scores_as_it_did(artifacts, one_device, tmp_path):
    run, path = tmp_path / "switch", "evaluation/step=4.parquet"
    shutil.copytree(artifacts / "switch", run)
    (run / path).unlink()
    words = "--run", run, "--tokens", artifacts / "tokens", "--step", 4
    assert ran("evaluate", *words) == 0
    found, expected = (pq.read_table(of / path) for of in (run, artifacts / "switch"))
    assert found.schema == expected.schema
    for name in ("language", "url", "target_tokens", "text_bytes", "windows"):
        assert found.sort_by("url")[name].equals(expected.sort_by("url")[name]), name
    assert losses(run) == pytest.approx(losses(artifacts / "switch"), rel=1e-5)


def test_the_report_says_the_same(artifacts, one_device, tmp_path):
    named = {"baseline": "mt5", "candidate": "switch", "corpus": "corpus", "tokens": "tokens"}
    given = (f"--{option}={artifacts / name}" for option, name in named.items())
    assert ran("report", *given, f"--out={tmp_path / 'report'}") == 0
    reports = (of / "report/report.json" for of in (tmp_path, artifacts))
    found, expected = (json.loads(path.read_text(encoding="utf-8")) for path in reports)
    assert without_times(found) == without_times(expected)


def without_times(value):
    """A report without clocks, and without when and from where it was written.

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
