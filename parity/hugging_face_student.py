"""From dense to sparse, back and to Transformers, as docs/upcycling.md says: the same text there.

A Switch goes on where the demo's mT5 ended, for a few steps, and teaches another mT5. That student
is exported and loaded by `from_pretrained`, and both write greedily from the same corrupted windows
of the demo's text. Exits with 1 if a token differs, or if there is too little variety to decide.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from hugging_face_files import written, written_by_ours

from data.examples.loader import batches
from pipeline.commands.distill import Distill
from pipeline.commands.export_hf import ExportHf
from pipeline.commands.pretrain import Pretrain
from pipeline.fields import CacheOptions
from pipeline.runs.opened_run import load_run
from pipeline.tokens.opened_blocks import open_blocks
from pipeline.training.run import make_examples

DEMO = Path("runs/demo")
DENSE_STEPS = 400  # of the demo's runs, which an upcycled run counts as its own
SPARSE_STEPS = 20
STEPS = 40
EVERY = ("steps", "evaluate_every", "checkpoint_every")  # one evaluation and one checkpoint
ROWS = 16
LEAST_DIFFERENT = 10  # ids, of those that both wrote; 20 in our run


def windows(run: Path) -> np.ndarray:
    """Returns the encoder's inputs in the run's first training rows."""
    recipe, _ = load_run(run)
    examples = make_examples(recipe, open_blocks(str(DEMO / "tokens"), CacheOptions()))
    return next(batches(examples, rows=ROWS, first_batch=0, host=0, hosts=1))["inputs"]


def upcycled(out: Path) -> Path:
    """Returns a Switch that went on where the demo's dense run ended."""
    steps = DENSE_STEPS + SPARSE_STEPS
    Pretrain(
        recipe="switch-demo",
        tokens=str(DEMO / "tokens"),
        upcycle=DEMO / "mt5",
        out=out,
        overrides=tuple(f"{of}={steps}" for of in EVERY),
    ).execute()
    return out


def main() -> None:
    """Compares one student; exits with 1 if it writes other text there."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print(f"Transformers {transformers.__version__}, PyTorch {torch.__version__}, float32")
    with tempfile.TemporaryDirectory() as folder:
        run, directory = Path(folder) / "student", Path(folder) / "exported"
        Distill(
            teacher=upcycled(Path(folder) / "switch"),
            recipe="mt5-demo",
            tokens=str(DEMO / "tokens"),
            out=run,
            overrides=tuple(f"{of}={STEPS}" for of in EVERY),
        ).execute()
        ExportHf(run=run, out=directory).execute()
        theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(directory)
        inputs = windows(run)
        expected, found = written(theirs, inputs), written_by_ours(run, inputs)
    same, different = (expected == found).sum(), len(np.unique(found))
    print(f"student: greedy tokens {same} of {found.size} the same, {different} different ones")
    sys.exit(same < found.size or different < LEAST_DIFFERENT)


if __name__ == "__main__":
    main()
