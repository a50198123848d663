"""A dense student of the demo's sparse run, exported to Transformers: the same text there.

The demo's Switch teaches an mT5 for a few steps; the student is exported, loaded by
`from_pretrained`, and both write greedily from the same corrupted windows of the demo's text. Exits
with 1 if a token differs, or if there is too little variety to decide.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from hugging_face_files import written, written_by_ours

from data.examples.loader import batches
from pipeline import distill, export_hf
from pipeline.arguments import CacheOptions, Distill, ExportHf
from pipeline.runs.open import load_run
from pipeline.tokens.open_blocks import open_blocks
from pipeline.training.run import make_examples

DEMO = Path("runs/demo")
STEPS = 40
ROWS = 16
LEAST_DIFFERENT = 20  # ids, of those that both wrote


def windows(run: Path) -> np.ndarray:
    """Returns the encoder's inputs in the run's first training rows."""
    recipe, _ = load_run(run)
    examples = make_examples(recipe, open_blocks(str(DEMO / "tokens"), CacheOptions()))
    return next(batches(examples, rows=ROWS, first_batch=0, host=0, hosts=1))["inputs"]


def main() -> None:
    """Compares one student; exits with 1 if it writes other text there."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print(f"Transformers {transformers.__version__}, PyTorch {torch.__version__}, float32")
    with tempfile.TemporaryDirectory() as folder:
        run, directory = Path(folder) / "student", Path(folder) / "exported"
        settings = f"steps={STEPS}", f"evaluate_every={STEPS}", f"checkpoint_every={STEPS}"
        distill.run(
            Distill(
                teacher=DEMO / "switch",
                recipe="mt5-demo",
                tokens=str(DEMO / "tokens"),
                out=run,
                overrides=settings,
            )
        )
        export_hf.run(ExportHf(run=run, out=directory))
        theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(directory)
        inputs = windows(run)
        expected, found = written(theirs, inputs), written_by_ours(run, inputs)
    same, different = (expected == found).sum(), len(np.unique(found))
    print(f"student: greedy tokens {same} of {found.size} the same, {different} different ones")
    sys.exit(same < found.size or different < LEAST_DIFFERENT)


if __name__ == "__main__":
    main()
