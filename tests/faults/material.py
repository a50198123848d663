"""The small pipeline whose stages meet the faults, and its undisturbed result.

Six languages of shipped text, networks of a few thousand parameters. Every stage reads the
undisturbed output of the stages before it, so each is faulted alone.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from contents import contents
from training_runs import lines, parameters

from data import demo
from data.urls import host_of
from tests.faults import attempts

LANGUAGES = ("cs", "fr", "hi", "ja", "yo", "zu")
STEPS = 12
NETWORK = (
    f"steps={STEPS} checkpoint_every=2 evaluate_every=6 log_every=1 rows=8 "
    "model.vocabulary_rows=1408 model.embed=8 model.heads=2 model.head=4 model.mlp=16"
).split()
TOPICS = Path(__file__).parents[1] / "toy_tasks/topics/topics.yaml"
TUNING = f"steps={STEPS} checkpoint_every=2 evaluate_every=6 log_every=1 rows=8 inputs=32".split()
MORE = 5  # every fifth page is of the crawl that is added
LIST, LISTED = "listed.txt", 3  # every third host is listed
VOCABULARY = ("--size=1400", "--character-coverage=0.98", "--sample-characters=200000")


class Stage(NamedTuple):
    """A stage on the undisturbed material.

    Attributes:
        name: command.
        command: words of the command that writes to a directory.
        prepare: makes the directory ready, for commands that write into another's output.
        seconds: wall-clock seconds of the undisturbed command.
        start_seconds: those of them before it locks its directory.
    """

    name: str
    command: Callable[[Path | str], list[str]]
    prepare: Callable[[Path], object]
    seconds: float = 0.0
    start_seconds: float = 0.0

    @property
    def work_seconds(self) -> float:
        """Wall-clock seconds that the undisturbed command works, after its start."""
        return self.seconds - self.start_seconds


def stages(root: Path) -> dict[str, Stage]:
    """Returns the stages in order."""

    def words(*more: object) -> Callable[[Path | str], list[str]]:
        return lambda out: [*map(str, more), f"--out={out}"]

    whole = root / "whole"
    corpus, tokens = f"--corpus={whole}/clean", f"--tokens={whole}/tokenize"
    network = ["--set", *NETWORK]
    commands = {
        "clean": words("clean", "--rules=demo", "--growable",
                       f"--input={root}/archive/*.warc.wet.gz"),
        "score": words("score", corpus),
        "select": words("select", corpus, f"--scores={whole}/score", "--quality=none",
                        f"--blocked={root}/{LIST}"),
        "clean-onto": words("clean", f"--onto={whole}/clean", f"--input={root}/more/*.warc.wet.gz"),
        "withdraw": lambda out: ["withdraw", f"--corpus={out}", f"--sites={root}/{LIST}",
                                 "--reason=a request"],
        "vocabulary": words("vocabulary", corpus, *VOCABULARY),
        "tokenize": words("tokenize", corpus, f"--vocabulary={whole}/vocabulary"),
        "pretrain": lambda out: [*words("pretrain", "--recipe=mt5-demo", tokens)(out), *network],
        "distill": lambda out: [
            *words("distill", "--recipe=mt5-demo", tokens, f"--teacher={whole}/pretrain")(out),
            *network,
        ],
        "finetune": lambda out: [
            *words("finetune", f"--run={whole}/pretrain", f"--task={TOPICS}")(out),
            "--set", *TUNING,
        ],
        "evaluate": lambda out: ["evaluate", f"--run={out}", tokens],
        "report": words("report", f"--baseline={whole}/pretrain", f"--candidate={whole}/distill",
                        "--allow-differences"),
        "export-hf": words("export-hf", f"--run={whole}/pretrain"),
        "import-hf": words("import-hf", f"{whole}/export-hf"),
        "prune": words("prune", f"--run={whole}/pretrain", tokens, "--languages=fr,hi", "--trim=2"),
    }  # fmt: skip
    copies = {
        "evaluate": lambda out: copy_without_evaluations(whole / "pretrain", out),
        "withdraw": lambda out: shutil.copytree(whole / "clean", out, dirs_exist_ok=True),
    }
    return {
        name: Stage(name, command, copies.get(name, lambda _: None))
        for name, command in commands.items()
    }


def make(root: Path) -> dict[str, Stage]:
    """Makes the undisturbed result of every stage, and returns the stages with their times."""
    pages = [page for page in demo.shipped_pages() if page.declared_language in LANGUAGES]
    demo.write(root / "archive", [page for number, page in enumerate(pages) if number % MORE])
    demo.write(root / "more", pages[::MORE])
    hosts = sorted({host_of(page.url) for page in pages})
    (root / LIST).write_text("".join(f"{host}\n" for host in hosts[::LISTED]))
    made = {}
    for name, stage in stages(root).items():
        out = root / "whole" / name
        stage.prepare(out)
        process = attempts.start(stage.command(out))
        before = attempts.wait_for_lock(process, out, set())
        attempt = attempts.end(process)
        assert attempt.outcome == attempts.DONE, (name, attempt)
        seconds = before + attempt.seconds
        made[name] = stage._replace(seconds=seconds, start_seconds=before)
        print(f"undisturbed {name}: {seconds:.1f} s, {before:.1f} to its lock", flush=True)
    return made


def copy_without_evaluations(run: Path, out: Path) -> None:
    """Copies a run, whose last step `evaluate` then scores."""
    shutil.copytree(run, out, dirs_exist_ok=True)
    shutil.rmtree(out / "evaluation")


def difference(name: str, whole: Path, out: Path) -> str:
    """Returns what differs between an output and the undisturbed one; "" if nothing does."""
    if name in ("pretrain", "distill", "finetune"):
        return difference_of_runs(whole, out)
    if name == "evaluate":
        return difference_of_evaluations(whole, out)
    if name in ("import-hf", "prune"):
        step = STEPS if name == "prune" else 0
        same = all(map(np.array_equal, parameters(whole, step), parameters(out, step)))
        return "" if same else "parameters"
    here, there = contents(whole), contents(out)
    return ", ".join(sorted(n for n in here.keys() | there.keys() if here.get(n) != there.get(n)))


def difference_of_runs(whole: Path, out: Path) -> str:
    """Returns what differs between two runs: metrics, evaluations or parameters."""
    if lines(whole) != lines(out):
        return "metrics.jsonl"
    pairs = zip(parameters(whole, STEPS), parameters(out, STEPS), strict=True)
    if not all(np.array_equal(one, other) for one, other in pairs):
        return "parameters"
    return difference_of_evaluations(whole, out)


def difference_of_evaluations(whole: Path, out: Path) -> str:
    """Returns the names of evaluations that differ."""
    found = sorted([*whole.glob("evaluation/*.parquet"), *whole.glob("tasks/*/*.parquet")])
    names = [str(path.relative_to(whole)) for path in found]
    tables = [(pq.read_table(run / n) for run in (whole, out)) for n in names]
    return ", ".join(n for n, (a, b) in zip(names, tables, strict=True) if not a.equals(b))
