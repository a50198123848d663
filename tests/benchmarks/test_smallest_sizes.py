"""Each script of `benchmarks/` runs to its end, at a smallest size; its figures are not looked at.

Scripts run in a copy of the tracked files, so that what they write is never what is committed.
Beside the copy lies a `shared/data` of shipped text, where the real measurements have a crawl. A
peer takes part where its environment is (`make bench` makes both), as it does in `.ci/run`.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from web_pages import SMALL

from data import demo
from data.reading.page import Page

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TEXT = 1000  # characters of a page
LANGUAGES = ("cs", "de", "en", "fr", "sw")  # of the crawl; the other text has all of the demo's
PEERS = (".venv-parity", ".venv-streaming")
BESIDE_PEERS = ("clean", "near_duplicates", "quality")
# Programs of a measurement; `accelerator`, `hosts_in_training` and `loader` start them.
STARTED_BY_OTHERS = ("repetition", "failing_host", "streaming_loaders", "t5_pipeline")
SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "benchmarks").rglob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    and path.stem not in STARTED_BY_OTHERS
)
# Options of a script that make it small. The others have none, and are small by their input.
OPTIONS = {
    "add_crawl": "--rules mc4",
    "components": "--sizes 1000",
    "crawl": "--largest 1",
    "growth": "--copies 1",
    "large": "--rules mc4 --gigabytes 0.02 --kills 1",
    "late_decisions": "--domains 1000",
    "late_rules": "--copies 1 --repeated 2 --candidate-copies 2",
    "skew": "600",
    "scale": "--write-only",
    "coverage": "--draws 2",
    "null_counts": "--draws 2",
    "bfloat16": "--steps 4",
    "hosts_in_training": "--acts raise --moments start",
    "loader": "--megabytes 1 --turns 1",
    "pooled_drops": "--run runs/demo/switch --tokens runs/demo/tokens --batches 1",
    "router_faults": "--tokens runs/demo/tokens --faults 1",
    "several_hosts": "--counts 2",
}
# A network of which nothing but its steps is looked at.
TINY = '"model.embed=16", "model.heads=2", "model.head=8", "model.mlp=16"'
# Lines that a copy has otherwise, where a size has no option.
LINES = {
    "bfloat16": {'    "rows=8",': f'    "rows=8", {TINY},'},
    "hosts_in_training": {"COUNT, DEVICES = 4, 8": "COUNT, DEVICES = 2, 8"},
    "loader": {
        "ROWS, ROUNDS, BATCHES = 128, 5, 64": "ROWS, ROUNDS, BATCHES = 8, 1, 1",
        "SEGMENTS = (0, 1, 7, 31, 127)": "SEGMENTS = (0, 1)",
        "SEQIO_LANGUAGES = 16": "SEQIO_LANGUAGES = 2",
    },
    "streaming_loaders": {
        "RAW, ROWS, ROUNDS, BATCHES = 568, 128, 5, 16": "RAW, ROWS, ROUNDS, BATCHES = 568, 8, 1, 1"
    },
    "preemptible_week": {
        "WEEKS = 2_000": "WEEKS = 20",
        "6 * 3600, 400)": "6 * 3600, 8)",
        "SAVES, EVERY = 5, 40": "SAVES, EVERY = 3, 8",
        'SLICE = "v5p:4x8x8"': 'SLICE = "cpu:1"',  # whose compiler is everywhere
        'get("switch-c")': 'get("switch-demo")',
    },
    "router_faults": {
        'named.get("switch-multilingual"), settings': (
            f'named.get("switch-demo"), [*settings, "rows=8", "model.vocabulary_rows=0", {TINY}]'
        ),
        "HEALTHY, SHOWN = 1_000, 100": "HEALTHY, SHOWN = SETTLING + 60, 50",
    },
    "several_hosts": {"for act in ACTS": 'for act in ["refuse"]'},
    "step_cost": {
        "ROUNDS, WARM = 5, 1": "ROUNDS, WARM = 1, 1",
        "        rows=128,": "        rows=16,",
        "for n in (8, 32)": "for n in (2,)",
        "for n in (8, 128)": "for n in (2,)",
    },
    "trimming": {
        "PIECES, CHARACTERS = 32_000, 100_000": "PIECES, CHARACTERS = 6_000, 1_000",
        "PAIRS = (": 'PAIRS = ("cs fr",) or (',
        "made_mt5.mt5_small()": "made_mt5.mt5_small(layers=1, embed=8, mlp=8)",
    },
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """Returns a copy of the tracked files, with made text beside it and small tokens in it."""
    folder = tmp_path_factory.mktemp("benchmarks")
    copy = folder / "checkout"
    for name in git("ls-files", folder=ROOT).splitlines():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy / name)
    git("init", folder=copy)
    who = ("-c", "user.name=a test", "-c", "user.email=test@localhost")
    git(*who, "commit", "--allow-empty", "--message=a copy", folder=copy)
    for name in PEERS:
        if (ROOT / name / ".installed").exists():
            (copy / name).symlink_to(ROOT / name)
    for name, lines in LINES.items():
        (path,) = (copy / "benchmarks").rglob(f"{name}.py")
        path.write_text(replaced(path.read_text(encoding="utf-8"), lines), encoding="utf-8")
    write_text(folder / "shared/data")
    with tarfile.open(ROOT / "tests/fixture/artifacts.tar.xz") as archive:
        archive.extractall(copy / "runs/demo", filter="data")
    return copy


def git(*words: str, folder: Path) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def replaced(text: str, lines: dict[str, str]) -> str:
    for line, other in lines.items():
        assert line in text, line
        text = text.replace(line, other)
    return text


def write_text(data: Path) -> None:
    """Writes a crawl, and the shipped text per language as a corpus, as a task and derived."""
    pages = [page for page in demo.shipped_pages() if len(page.text) > TEXT / 4]
    demo.write(
        data / "web", [long_lined(page) for page in pages if page.declared_language in LANGUAGES]
    )
    for path in SMALL:
        shutil.copy(path, data / "web")
    for page in pages:
        code = page.declared_language
        row = {"text": page.text[:TEXT], "doc_id": page.url, "url": page.url}
        add(data / f"corpus/{code}/shipped.jsonl.gz", row)
        if code in LANGUAGES:
            add(data / f"tasks/sib200/{code}.jsonl.gz", row)
            add(data / "derived_latn/hi-Latn/shipped.jsonl.gz", row)


def long_lined(page: Page) -> Page:
    """Returns a page that mC4's rules keep: with three copies of its text, each a long line."""
    line = " ".join(page.text.split())
    return page._replace(text="\n".join(f"{number} {line}" for number in range(3)))


def add(path: Path, row: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "at", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_benchmark_runs_to_its_end(script: str, checkout: Path):
    name, python = Path(script).stem, Path(sys.executable)
    if name in BESIDE_PEERS and (checkout / PEERS[0]).exists():
        python = checkout / PEERS[0] / "bin/python"
    words = [script, *OPTIONS.get(name, "").split()]
    if name == "__main__":
        words = ["-m", script.removesuffix("/__main__.py").replace("/", ".")]
    one_device = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")
    done = subprocess.run(
        [str(python), *words],
        cwd=checkout, capture_output=True, text=True,
        env={**os.environ, "XLA_FLAGS": one_device, "PYTHONPATH": ".:tests/helpers:.ci"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    assert "needs" not in done.stdout[:60], done.stdout  # and stopped
