"""An export scored by EleutherAI's harness (lm-eval): the labels that `mswitch evaluate` gives.

    python parity/hugging_face_harness.py [--run RUN] [--data DIRECTORY]

Task file and program are those of docs/tasks.md, for SIB-200. For each sentence the most likely of
the seven labels must be the same, and the labels' log-probabilities within 1e-3, unless experts
have a capacity: which tokens they drop depends on the batch. Sentences longer than the run's inputs
are left out: they are cut at different ends. Two sentences per language are scored, or where
../shared/data/tasks/sib200 is not beside the checkout, sentences of shuffled words. Without a run
it compares an mT5 and a Switch with gated experts with random weights. Exits with 1 if a label
differs.
"""

import argparse
import contextlib
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from hugging_face_predictions import DATA, SENTENCES, TOLERANCE, ours, random_runs, sentences

from data.tasks.description import Task
from data.tasks.examples import TaskExample
from pipeline.commands.export_hf import ExportHf
from pipeline.runs.directory import find_run
from pipeline.runs.opened_run import recipe_of

PAGE = Path(__file__).parents[1] / "docs/tasks.md"


def by_the_harness(folder: Path, task: Task, examples: list[TaskExample]) -> np.ndarray:
    """Returns the harness's log-probabilities of each label of each example."""
    page = PAGE.read_text(encoding="utf-8")
    (description,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (folder / "sib200_sw.yaml").write_text(description, encoding="utf-8")
    rows = [
        {"text": text, "label": task.labels[0]} for (text,) in (each.texts for each in examples)
    ]
    (folder / "sw-test.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    scope: dict[str, Any] = {}
    with contextlib.chdir(folder):
        exec(program, scope)
    samples = sorted(scope["scores"]["samples"]["sib200_sw"], key=lambda sample: sample["doc_id"])
    return np.array([[nats for nats, _ in sample["filtered_resps"]] for sample in samples])


def compare(run: Path, task: Task, examples: list[TaskExample], folder: Path) -> bool:
    """Prints how many labels of a run are the same in the harness; returns whether all are."""
    answers, inputs, _ = ours(run, None, task, examples)
    whole = np.flatnonzero(inputs[:, -1] == 0)
    folder.mkdir()
    ExportHf(run=run, out=folder / "exported").execute()
    found = by_the_harness(folder, task, [examples[place] for place in whole])
    expected = -answers.label_nats[whole]
    chosen = expected.argmax(axis=1)
    same, apart = int((found.argmax(axis=1) == chosen).sum()), np.abs(found - expected).max()
    print(
        f"{run.name}: of {len(whole)} sentences ({len(examples) - len(whole)} longer ones left "
        f"out) {same} have the same label ({len(np.unique(chosen))} different ones); "
        f"log-probabilities differ by at most {apart:.1e}",
        flush=True,
    )
    switch = recipe_of(find_run(run), run).model.switch
    drops = switch is not None and switch.dispatch == "slots"
    return bool(same == len(whole) and (drops or apart < TOLERANCE))


def main() -> None:
    """Compares a run, or runs with random weights; exits with 1 if a label differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--data", type=Path, default=DATA, help="SIB-200, a file per language")
    given = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HF_DATASETS_CACHE"] = str(folder / "cache")
        runs = random_runs(folder) if given.run is None else [given.run]
        task, examples = sentences(given.data, SENTENCES)
        equal = [compare(run, task, examples, folder / f"{run.name}-scored") for run in runs]
    sys.exit(not all(equal))


if __name__ == "__main__":
    main()
