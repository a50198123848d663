"""The experiment: what sparsity gains in each of 101 languages, at a size for two cores.

    python experiments/multilingual.py [--documents DIR] [--web GLOB] [--out DIR]

Every stage is the command that a user would type. A finished stage is not repeated, and one that
was cut short resumes. The text, the recipes, the search for them and the results are in
docs/results/multilingual.md; this file lists only the runs:

    clean, vocabulary, tokenize
    mt5-multilingual and switch-multilingual, two seeds each: the report
    short trials: no, 2, 4, 8, 16 and 32 experts (`ladder.py`), and both sides with UniMax instead
        of temperature 0.3: a report of its own

`first_weights.py`, `capacity.py` and `distillation.py` come after it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import documents
import tyro
from lanes import Task, run, run_all

SEEDS = (0, 1)
LADDER = (32, 16, 8, 4, 2)


class Text(NamedTuple):
    """Settings of `clean` and `vocabulary` for the documents."""

    rules: str
    languages: tuple[str, ...] | None
    held_out: tuple[str, ...]
    vocabulary: tuple[str, ...]


ALL_LANGUAGES = Text(
    rules="demo",
    languages=None,
    held_out=("--validation-share=0.001", "--validation-minimum=12"),
    vocabulary=("--size=2048", "--character-coverage=0.98", "--sample-characters=20000000"),
)
HALF = 992
# Text of a short run: steps x rows x raw window, with 1.32 characters per token here.
UNIMAX = f"unimax:5:{round(HALF * 64 * 141 * 1.32)}"
SHORT = (f"--set=steps={HALF}", "--set=evaluate_every=124", "--set=checkpoint_every=496")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Where the text is, and where results are written."""

    documents: Path = Path("../shared/data/corpus")
    """Documents by language: DIR/<code>/<source>.jsonl.gz."""
    web: str = "../shared/data/web/*.warc.wet.gz"
    """Archives of web pages with declared languages."""
    out: Path = Path("runs/experiment")
    """Directory for all results."""


def main(arguments: Arguments) -> None:
    """Runs what is not finished."""
    out = arguments.out
    prepare(arguments, out, ALL_LANGUAGES)
    run_all(pretraining(out))
    reports(out)


def prepare(arguments: Arguments, out: Path, text: Text) -> None:
    """Makes token blocks of documents and archives; stops with a sentence without text."""
    if not arguments.documents.exists():
        raise SystemExit(
            f"Documents were expected in {arguments.documents}, which does not exist; name a "
            "folder of <language>/<source>.jsonl.gz with --documents. `make demo` needs no text."
        )
    raw = out / "raw"
    if not (out / "corpus" / "manifest.json").exists():
        documents.write(arguments.documents, raw, text.languages)
    inputs = f"--input={raw}/*.jsonl.gz", arguments.web
    stage(out, "clean", f"--rules={text.rules}", *inputs, *text.held_out, f"--out={out}/corpus")
    stage(out, "vocabulary", f"--corpus={out}/corpus", *text.vocabulary, f"--out={out}/vocabulary")
    vocabulary = f"--vocabulary={out}/vocabulary"
    stage(out, "tokenize", f"--corpus={out}/corpus", vocabulary, f"--out={out}/tokens")


def stage(out: Path, *command: str) -> None:
    """Runs one command."""
    run(Task(out / "logs" / f"{command[0]}.log", command))


def pretraining(out: Path) -> list[Task]:
    """Returns all runs, the long ones first."""
    long = [
        pretrain(out, f"{kind}-{seed}", f"{kind}-multilingual", f"--set=seed={seed}")
        for seed in SEEDS
        for kind in ("switch", "mt5")
    ]
    long.append(pretrain(out, "mt5-twice", "mt5-experiment"))  # as long as a teacher and a student
    ladder = [
        pretrain(
            out,
            f"switch-{n}-experts",
            "switch-experiment",
            *SHORT,
            f"--set=model.switch.experts={n}",
        )
        for n in LADDER
    ]
    unimax = [
        pretrain(out, f"{kind}-unimax", f"{kind}-experiment", *SHORT, f"--set=mixture={UNIMAX}")
        for kind in ("switch", "mt5")
    ]
    return [*long, pretrain(out, "mt5-short", "mt5-experiment", *SHORT), *ladder, *unimax]


def pretrain(out: Path, name: str, recipe: str, *settings: str) -> Task:
    """Returns one run."""
    command = (
        "pretrain",
        f"--recipe={recipe}",
        f"--tokens={out}/tokens",
        f"--out={out}/{name}",
        *settings,
    )
    return Task(out / "logs" / f"{name}.log", command)


def reports(out: Path) -> None:
    """Writes the report and that of the other mixture."""
    report(out, "report", [f"mt5-{seed}" for seed in SEEDS], [f"switch-{seed}" for seed in SEEDS])
    report(out, "report-unimax", ["mt5-unimax"], ["switch-unimax"])


def report(
    out: Path,
    name: str,
    baseline: list[str],
    candidate: list[str],
    also: Mapping[str, list[str]] | None = None,
) -> None:
    """Writes one report, unless it is written: its runs may have been scored on sentences since.

    Args:
        out: directory of the runs and of the report.
        name: name of the report.
        baseline: runs of the dense side.
        candidate: runs of the sparse side.
        also: runs of further models by their names; None for none.
    """
    if (out / name / "manifest.json").exists():
        return
    sides = (
        *("--baseline", *(f"{out}/{run}" for run in baseline)),
        *("--candidate", *(f"{out}/{run}" for run in candidate)),
    )
    more = [f"{model}={out}/{run}" for model, runs in (also or {}).items() for run in runs]
    sides += ("--also", *more) if more else ()
    read = f"--corpus={out}/corpus", f"--tokens={out}/tokens"
    stage(out, "report", *sides, *read, f"--out={out}/{name}")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
