"""`--dry-run` of every stage: it counts, writes nothing, and refuses as the real command does."""

import gzip
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from lock_holder import held_elsewhere
from training_runs import MESH, SETTINGS, SIZES

from data.tokens.tokenizer import MODEL_FILE
from pipeline import cli
from pipeline.stage import bytes_in_words

pytestmark = pytest.mark.slow

PAGES = 12  # in each of two languages, of which two are held out
OUT = "OUT"


def tree(root: Path) -> dict[str, tuple[int, int]]:
    """Returns size and time of every file and directory."""
    found = ((path, path.stat()) for path in root.rglob("*"))
    return {str(path): (status.st_size, status.st_mtime_ns) for path, status in found}


@pytest.fixture(scope="module")
def material(tmp_path_factory, tokens, pretrained, finished) -> Path:
    """A folder of everything that a stage reads, as its own commands wrote it."""
    root = tmp_path_factory.mktemp("material")
    (root / "texts").mkdir()
    for code, text in (("sw", "Watu wote huru."), ("cs", "Všichni lidé rodí se.")):
        records = [{"text": f"{text} {n}", "language": code} for n in range(PAGES)]
        content = "\n".join(json.dumps(record) for record in records).encode()
        (root / f"texts/{code}.jsonl.gz").write_bytes(gzip.compress(content))
    (root / "tokens").symlink_to(tokens)
    shutil.copytree(pretrained, root / "run")
    (root / "report").symlink_to(finished)
    for words in (
        f"clean --input {root}/texts/*.gz --rules none --validation-minimum 2 --out {root}/corpus",
        f"vocabulary --model {tokens / MODEL_FILE} --out {root}/vocabulary",
        f"export-hf --run {root}/run --out {root}/theirs",
    ):
        assert cli.run(words.split()) == 0
    return root


COMMANDS = {
    "clean": "--input M/texts/*.gz --rules none --out OUT",
    "vocabulary": "--corpus M/corpus --size 380 --out OUT",
    "tokenize": "--corpus M/corpus --vocabulary M/vocabulary --out OUT",
    "pretrain": f"--recipe switch-demo --tokens M/tokens --out OUT --set {' '.join(SETTINGS)}",
    "distill": (
        "--teacher M/run --recipe mt5-demo --tokens M/tokens --out OUT "
        f"--set steps=6 {' '.join([*SIZES, *MESH])}"
    ),
    "evaluate": "--run M/run --tokens M/tokens --step 9",
    "time": "--baseline M/run --candidate M/run --tokens M/tokens --out OUT",
    "report": (
        "--baseline M/report/dense0 --candidate M/report/switch0 --tokens M/report/tokens "
        "--corpus M/report/corpus --out OUT"
    ),
    "fill": "Watu<extra_id_0>huru --run M/run --tokens 7",
    "import-hf": "M/theirs --inputs 64 --out OUT",
    "export-hf": "--run M/run --out OUT",
    "demo": "--out OUT",
}


@pytest.fixture
def words(material) -> Callable[[str, Path], list[str]]:
    """A function from a stage and an output directory to a command that may start."""

    def command(stage: str, out: Path) -> list[str]:
        given = COMMANDS[stage].replace("M/", f"{material}/").split()
        return [stage, *(str(out) if word == OUT else word for word in given)]

    return command


def said(words: list[str], capsys) -> tuple[int, str, str]:
    """Returns a command's status, standard output and standard error."""
    capsys.readouterr()
    return cli.run(words), *capsys.readouterr()


def size_of(paths) -> str:
    return bytes_in_words(sum(path.stat().st_size for path in paths if path.is_file()))


EXPECTED = {
    "clean": r"read input: 2 files of {texts}, in .*texts/\*.gz",
    "vocabulary": r"read corpus: 2 files of {train}, 20 training pages in 2 languages",
    "tokenize": r"read corpus: 4 files of {pages}, 20 training pages in 2 languages",
    "pretrain": r"work: 12 steps, of 8 rows x 64 tokens; [\d,]+ parameters",
    "distill": r"read teacher: [\d,]+ files of {last}, the checkpoint of step 12",
    "evaluate": r"write evaluation/step=9.parquet, in .*run",
    "time": r"work: 21 rounds of 4 steps of each run, in turns",
    "report": r"write report.json, languages.csv, report.md and index.html, in .*out",
    "fill": r"work: a text of \d+ tokens; at most 7 tokens to generate",
    "import-hf": r"read model: 3 files of {theirs}, in .*theirs",
    "export-hf": r"read run: [\d,]+ files of {last}, the checkpoint of step 12",
    "demo": r"work: 6 commands on text of gflanguages .*; finished: none",
}


@pytest.mark.parametrize("stage", EXPECTED)
def test_a_dry_run_counts_and_writes_nothing(stage, words, material, tmp_path, capsys):
    corpus, theirs = material / "corpus/pages", material / "theirs"
    sizes = {
        "texts": size_of((material / "texts").iterdir()),
        "train": size_of(corpus.rglob("train-*")),
        "pages": size_of(corpus.rglob("*.parquet")),
        "last": size_of(material.glob("run/checkpoints/12-*/**/*")),
        "theirs": size_of(
            theirs / name for name in ("config.json", "model.safetensors", "spiece.model")
        ),
    }
    before = tree(material)
    status, printed, error = said([*words(stage, tmp_path / "out"), "--dry-run"], capsys)
    assert status == 0, error
    assert tree(material) == before
    assert list(tmp_path.iterdir()) == []
    assert re.search(EXPECTED[stage].format(**sizes), printed), printed
    assert re.search(rf"^{stage}: time: \S", printed, re.MULTILINE)
    assert printed.endswith(f"{stage}: a dry run; nothing was written.\n")
    assert "next:" not in error


def assert_refused_alike(command: list[str], capsys) -> str:
    """Asserts that a command and its dry run refuse in one sentence; returns it."""
    real, dry = (said([*command, *more], capsys) for more in ([], ["--dry-run"]))
    assert real[0] == dry[0] == 2, real
    sentence = real[2].splitlines()[-1]
    assert dry[2].splitlines()[-1] == sentence
    return sentence


@pytest.mark.parametrize("stage", EXPECTED)
def test_a_dry_run_refuses_what_the_command_refuses(stage, words, material, tmp_path, capsys):
    """Missing input, a directory with foreign files, and one that another command works on."""
    if stage != "demo":
        missing = [word.replace(str(material), "none") for word in words(stage, tmp_path / "out")]
        assert_refused_alike(missing, capsys)
        assert list(tmp_path.iterdir()) == []
    if stage == "fill":
        return
    command, place = words(stage, tmp_path), tmp_path
    if stage == "evaluate":
        place = material / "run"
    elif stage != "demo":
        (tmp_path / "thesis.txt").write_text("years of work")
        assert "holds something that is not" in assert_refused_alike(command, capsys)
        (tmp_path / "thesis.txt").unlink()
    before = tree(place)
    with held_elsewhere(place):
        assert "is in use by pretrain, process" in assert_refused_alike(command, capsys)
    assert all("lock" in name for name in tree(place).keys() - before.keys())


@pytest.mark.parametrize("stage", ["clean", "export-hf"])
def test_a_dry_run_of_what_is_finished_says_so(stage, words, tmp_path, capsys):
    command = words(stage, tmp_path / "out")
    assert cli.run(command) == 0
    before = tree(tmp_path)
    status, printed, _ = said([*command, "--dry-run"], capsys)
    assert status == 0
    assert printed == f"{stage}: {tmp_path / 'out'} is finished; the command would do nothing.\n"
    assert tree(tmp_path) == before


def test_a_run_that_was_begun_is_timed_by_its_log(words, material, tmp_path, capsys):
    shutil.copytree(material / "run", tmp_path / "out")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    claim = {name: manifest[name] for name in ("stage", "settings", "inputs")}
    (tmp_path / "out/manifest.json").unlink()
    (tmp_path / "out/unfinished.json").write_text(json.dumps(claim))
    (tmp_path / "out/checkpoints/12.json").unlink()
    status, printed, error = said([*words("pretrain", tmp_path / "out"), "--dry-run"], capsys)
    assert status == 0, error
    assert "going on with what is there" in printed
    assert "work: 3 steps after step 9, of 8 rows" in printed
    assert re.search(r"time: 0:00:\d\d at \S+ s per step, as logged so far", printed)


def test_bytes_are_said_to_three_digits():
    said = {0: "0 B", 999: "999 B", 1000: "1 kB", 123_456_789: "123 MB", 4e15: "4e+03 TB"}
    assert {count: bytes_in_words(count) for count in said} == said
