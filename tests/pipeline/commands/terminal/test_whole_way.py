"""Archives to report by the commands that a user types, on six languages.

Swahili's pages are removed from the archive: a report has a language only if the text has it.
`clean` and `tokenize` get a process each, as CLD3 and TensorFlow crash in one process if TensorFlow
is loaded first; the other commands run in this process.
"""

import contextlib
import itertools
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import forked
import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
from contents import contents
from tensorflow_forks import python
from training_runs import one_trainer_per_recipe

from data import demo
from pipeline import cli
from pipeline.commands.demo import commands, last_lines

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[4]
LANGUAGES = ("cs", "fr", "hi", "ja", "yo", "zu")
REMOVED = "sw"
# The settings of test_fixture.py's runs, so that both files share compiled programs.
SETTINGS = (ROOT / "tests/fixture/recipe.txt").read_text(encoding="utf-8").split()
STEPS = 4
SMALL = {
    "vocabulary": ["--size=1400", "--character-coverage=0.98", "--sample-characters=200000"],
    "pretrain": ["--set", *SETTINGS],
}
ONE_DEVICE = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")

CLEAN = ("clean", "--rules=demo")


def mswitch(*command: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    if command[0] == "tokenize":
        return python("-m", "pipeline.cli", *command, folder=folder)
    started = forked.start("pipeline.cli", list(command), folder, XLA_FLAGS=ONE_DEVICE)
    _, err = started.communicate()
    assert started.returncode is not None
    return subprocess.CompletedProcess(command, started.returncode, "", err)


@pytest.fixture(autouse=True, scope="module")
def one_device():
    """This process as on a machine of one device; runs of one recipe are traced once."""
    one = jax.devices()[:1]
    with pytest.MonkeyPatch.context() as patch, one_trainer_per_recipe():
        patch.setattr(jax, "devices", lambda: one)
        yield


@pytest.fixture
def here(monkeypatch, capfd, tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        if command[0] == "clean":
            return mswitch(*command, folder=tmp_path)
        capfd.readouterr()
        status = cli.run(list(command))
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(command, status, out, err)

    return run


@pytest.fixture(scope="module")
def way(one_device, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("way")
    wanted = {*LANGUAGES, REMOVED}
    pages = [page for page in demo.shipped_pages() if page.declared_language in wanted]
    assert any(page.declared_language == REMOVED for page in pages)
    kept = [page for page in pages if page.declared_language != REMOVED]
    demo.write(out / "archive", kept)
    for stage in itertools.chain(*commands(out)):
        name = stage.command[0]
        replaced = [
            part for part in stage.command if not part.startswith(("--size", "--char", "--sa"))
        ]
        words = [*replaced, *SMALL.get(name, [])]
        if name in ("clean", "tokenize"):
            done = mswitch(*words)
            assert done.returncode == 0, done.stderr
        else:
            assert cli.run(words) == 0, name
    return out


@pytest.fixture(scope="module")
def report(way) -> dict:
    return json.loads((way / "report/report.json").read_text())


def test_the_report_holds_the_languages_of_the_archive_and_their_experts(way, report):
    assert sorted(report["languages"]) == sorted(LANGUAGES)
    assert report["summary"]["languages"] == len(LANGUAGES)
    assert "Swahili" not in (way / "report/report.md").read_text()
    assert report["experts"]["step"] == STEPS
    for layer in report["experts"]["layers"]:
        assert sorted(layer["languages"]) == sorted(LANGUAGES)
        for use in layer["languages"].values():
            assert sum(use["load_share"]) == pytest.approx(1, abs=1e-3)


def test_the_demo_ends_with_what_was_shown_and_what_its_size_cannot_show(way):
    corpus = json.loads((way / "corpus/manifest.json").read_text())["languages"].values()
    kept = sum(language["kept"] for language in corpus)
    rejected = sum(sum(language["rejected"].values()) for language in corpus)
    shown, limits, place = last_lines(way)
    for count in (kept + rejected, kept, rejected, len(LANGUAGES), STEPS):
        assert f" {count:,} " in shown
    assert "no gain can be seen" in limits
    assert place.endswith(str(way / "report/index.html"))


@contextlib.contextmanager
def files_of_at_most(size: int):
    """A disk that is full, in a way that needs no rights: no file may grow beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_sentence_and_the_same_command_resumes(way, here, tmp_path):
    shutil.copytree(way / "mt5", tmp_path / "run")
    shutil.rmtree(tmp_path / "run/evaluation")
    assert here("export-hf", f"--run={way}/mt5", f"--out={tmp_path}/hf").returncode == 0
    corpus, tokens = f"--corpus={way}/corpus", f"--tokens={way}/tokens"
    sides = [f"--baseline={way}/mt5", f"--candidate={way}/switch"]
    commands = {
        "clean": ["--rules=demo", f"--input={way}/archive/*.warc.wet.gz"],
        "vocabulary": [corpus, *SMALL["vocabulary"]],
        "tokenize": [corpus, f"--vocabulary={way}/vocabulary"],
        "pretrain": ["--recipe=mt5-demo", tokens, *SMALL["pretrain"]],
        "evaluate": [f"--run={tmp_path}/run", tokens],
        "report": sides,
        "export-hf": [f"--run={way}/mt5"],
        "import-hf": [f"{tmp_path}/hf"],
    }
    for name, options in commands.items():
        where = [] if name == "evaluate" else [f"--out={tmp_path}/{name}"]
        command = [name, *where, *options]
        with files_of_at_most(1024 if name == "evaluate" else 4096):
            full = here(*command)
        assert full.returncode == 2, (name, full.stderr)
        assert "Traceback" not in full.stderr, full.stderr
        assert re.search("File too large|cannot be written|not be written", full.stderr), (
            full.stderr
        )
        done = here(*command)
        assert done.returncode == 0, (name, done.stderr)
    for made in ("vocabulary", "tokenize"):
        whole = way / ("tokens" if made == "tokenize" else made)
        assert contents(tmp_path / made) == contents(whole)


def test_every_number_can_be_recomputed(way):
    words = [ROOT / ".ci/recompute_report.py", way / "report", "--languages", len(LANGUAGES)]
    words += ["--baseline", way / "mt5", "--candidate", way / "switch"]
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_both_sides_read_the_same_tokens_and_differ_in_the_feed_forward(way):
    dense, sparse = (
        json.loads((way / run / "recipe.json").read_text())
        | {"exposure": (way / run / "mixture.json").read_text()}
        for run in ("mt5", "switch")
    )
    for name in ("inputs", "flops_per_sequence", "exposure"):
        assert dense[name] == sparse[name]
    assert sparse["parameters"] > dense["parameters"]


def test_held_out_pages_share_no_line_with_training_pages(way, report):
    lines: dict[str, set[str]] = {"train": set(), "validation": set()}
    for path in (way / "corpus/pages").rglob("*.parquet"):
        for text in pq.read_table(path)["text"].to_pylist():
            lines[path.name.split("-")[0]].update(line.strip().lower() for line in text.split("\n"))
    assert lines["train"]
    assert lines["validation"]
    assert not lines["train"] & lines["validation"]
    assert report["held_out"]["shared_lines"] == 0
    assert report["held_out"]["lines"] >= len(lines["validation"] - {""})


def test_every_artifact_passes_inspection_until_it_is_altered(way, here, tmp_path):
    assert here("export-hf", f"--run={way}/mt5", f"--out={tmp_path}/export").returncode == 0
    for name in ("corpus", "vocabulary", "tokens", "mt5", "switch", "report"):
        done = here("inspect", str(way / name))
        assert done.returncode == 0, done.stderr
    assert "files, checksums correct" in here("inspect", f"{tmp_path}/export").stdout
    for name in ("mt5", "tokens"):
        shutil.copytree(way / name, tmp_path / name)
    arrays = (path for path in tmp_path.glob("mt5/checkpoints/*/*/c/**/*") if path.is_file())
    for name, path, said in (
        ("tokens", shard := next((tmp_path / "tokens").rglob("train-*.arrayrecord")), shard.name),
        ("mt5", max(arrays, key=lambda path: path.stat().st_size), "is damaged"),
        ("export", tmp_path / "export/model.safetensors", "export the run again"),
    ):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        done = here("inspect", str(tmp_path / name))
        assert done.returncode == 2
        assert said in done.stderr


def test_a_finished_stage_is_not_repeated(way):
    before = {path: path.stat().st_mtime_ns for path in (way / "tokens").rglob("*")}
    for stage in commands(way)[0]:
        done = mswitch(*stage.command)
        assert "finished" in done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in (way / "tokens").rglob("*")}


def test_evaluate_again_gives_the_same_file(way, here):
    path = way / f"switch/evaluation/step={STEPS}.parquet"
    before = pq.read_table(path)
    done = here("evaluate", f"--run={way}/switch", f"--tokens={way}/tokens", f"--step={STEPS}")
    assert done.returncode == 0, done.stderr
    assert pq.read_table(path).equals(before)


def test_export_and_import_through_transformers_files(way, here):
    """An exported and imported run has the same bits, and trains further with another optimizer."""
    sentence = "Tous les <extra_id_0> naissent libres."
    for command in (
        ["export-hf", f"--run={way}/mt5", f"--out={way}/theirs"],
        ["import-hf", f"{way}/theirs", f"--out={way}/back", "--inputs=128", "--rows=8"],
        ["export-hf", f"--run={way}/back", f"--out={way}/again"],
        ["evaluate", f"--run={way}/back", f"--tokens={way}/tokens"],
        ["pretrain", "--recipe=mt5-demo", f"--tokens={way}/tokens", f"--out={way}/further",
         f"--start={way}/back", *SMALL["pretrain"], f"evaluate_every={STEPS}",
         f"checkpoint_every={STEPS}", "optimizer.rule=adamw"],
    ):  # fmt: skip
        done = here(*command)
        assert done.returncode == 0, done.stderr
    theirs_against_ours = [
        "report", f"--baseline={way}/back", f"--candidate={way}/switch", f"--out={way}/imported"
    ]  # fmt: skip
    refused = here(*theirs_against_ours)
    assert refused.returncode == 2
    assert "--allow-differences" in refused.stderr
    done = here(*theirs_against_ours, "--allow-differences")
    assert done.returncode == 0, done.stderr
    imported = json.loads((way / "imported/report.json").read_text())
    assert imported["summary"]["mean_step_speedup"] is None
    trained = json.loads((way / "report/report.json").read_text())
    for code, row in trained["languages"].items():  # the same weights, on the same pages
        there = imported["languages"][code]["bits_per_byte_baseline"]
        assert there == pytest.approx(row["bits_per_byte_baseline"], rel=1e-4)
    for name in ("config.json", "model.safetensors", "spiece.model", "tokenizer.json"):
        assert (way / "theirs" / name).read_bytes() == (way / "again" / name).read_bytes()
    filled = [here("fill", f"--run={way}/{run}", sentence) for run in ("mt5", "back")]
    assert filled[0].stdout == filled[1].stdout
    assert filled[0].stdout.strip()
    trained = pq.read_table(way / f"mt5/evaluation/step={STEPS}.parquet")
    for run in ("back", "further"):
        imported = pq.read_table(way / run / "evaluation/step=0.parquet")
        assert imported["url"].equals(trained["url"])
        np.testing.assert_allclose(imported["loss_nats"], trained["loss_nats"], rtol=1e-5)


START = ["pretrain", "--tokens={way}/tokens", "--recipe=mt5-demo"]
ROWS = ["--set", "model.vocabulary_rows=1408"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["import-hf", "{way}/mt5", "--out=x"], "safetensors"),
        ([*CLEAN, "--input={way}/archive/*.gz", "--out={way}"], "already holds"),
        (["pretrain", "--recipe=mt5-demo", "--tokens={way}/corpus", "--out=x"], "holds clean"),
        ([*START, "--out=x"], "vocabulary rows"),
        ([*START, "--out={way}/mt5", *ROWS, "mesh.data=3"], "needs 3 devices; found 1"),
        ([*START, "--out={way}/mt5", *ROWS], "steps: there 4, asked 400"),
        (["evaluate", "--run={way}/mt5", "--tokens={way}/tokens", "--step=5"], "Checkpoint 5"),
        (["inspect", "{way}/archive"], "manifest"),
        (["recipes", "mt5", "--", "--runner=X"], "only clean, score"),
    ],
)
def test_bad_input_is_one_sentence(way, here, tmp_path, command, message):
    done = here(*(part.format(way=way) for part in command))
    assert done.returncode == 2, done.stderr
    printed = done.stderr.strip().split("mswitch: ")[-1]
    assert message in printed
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x").exists()
