"""Pruned runs in Transformers: the same logits there, experts left out or merged.

A Switch and one with gated experts, with weights of NumPy, are imported. Gates of made-up languages
record which of the four experts are used, and `mswitch prune` keeps half of them. The export is
loaded by `from_pretrained`. Its logits must be ours to 1e-4, and differ from those of all experts.
Exits with 1 otherwise.
"""

import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from hugging_face_files import theirs_on_disk, vocabulary_model
from material import hugging_face_cases as cases

from eval.experts import Usage, routing_columns
from model.batch import Batch, Call
from model.decoding.generation import never_dropping
from model.transformer import Transformer
from pipeline.commands.export_hf import ExportHf
from pipeline.commands.import_hf import ImportHf
from pipeline.commands.prune import Prune
from pipeline.runs.finished import Evaluation, write_evaluation
from pipeline.runs.opened_run import load_run, restore

TOLERANCE = 1e-4
CASES = ("switch", "gated-switch")
LANGUAGES = ["sw", "yo"]
TOKENS = 100


def write_routing(run: Path) -> None:
    """Writes an evaluation at step 0 in which each language has experts of its own."""
    load = np.random.default_rng(0).multinomial(TOKENS, [0.1, 0.5, 0.1, 0.3], (2, len(LANGUAGES)))
    tokens = load.sum(axis=-1)
    usage = Usage(load, 0 * tokens, 1.0 * tokens, tokens, load * [0.9, 0.5, 0.3, 0.7])
    recipe, _ = load_run(run)
    assert recipe.model.switch is not None
    routing = routing_columns(usage, LANGUAGES, recipe.model.switch.every)
    pages = {
        "language": ["sw"],
        "url": ["https://example.org"],
        "loss_nats": [1.0],
        "target_tokens": [1],
        "text_bytes": [1],
        "windows": [1],
    }
    write_evaluation(run, 0, Evaluation(pages, routing))


def our_logits(run: Path, rows: cases.Rows) -> np.ndarray:
    """Returns the logits of a run's network for all target positions."""
    _, trainer = load_run(run)
    whole: Transformer = trainer.model(restore(run, trainer, None)[0])
    model = never_dropping(whole, cases.SOURCE, cases.TARGET)
    batch = Batch(*(jnp.asarray(part) for part in rows), jnp.zeros(len(rows.inputs), jnp.int32))
    call = Call(trainer.mesh)
    return np.asarray(jax.jit(lambda: model.head(model(batch, call).decoded))())


def their_logits(directory: Path, rows: cases.Rows) -> np.ndarray:
    """Returns the logits of an exported network in Transformers."""
    network = transformers.AutoModelForSeq2SeqLM.from_pretrained(directory, trust_remote_code=True)
    inputs, targets = (torch.from_numpy(part.astype(np.int64)) for part in rows)
    with torch.no_grad():
        return (
            network.eval()(
                input_ids=inputs,
                attention_mask=(inputs != 0).long(),
                decoder_input_ids=torch.nn.functional.pad(targets[:, :-1], (1, 0)),
            )
            .logits.detach()
            .numpy()
        )


def compare(case: str, folder: Path, model: bytes, *, merge: bool) -> bool:
    """Prunes one case; returns whether its logits are Transformers'."""
    name = f"{case}-{'merged' if merge else 'left-out'}"
    theirs, run, pruned, exported = (
        folder / f"{name}-{part}" for part in ("theirs", "run", "pruned", "exported")
    )
    theirs_on_disk(case, theirs, model)
    ImportHf(directory=theirs, out=run, inputs=cases.SOURCE).execute()
    write_routing(run)
    Prune(run=run, languages=("sw,yo",), keep=0.5, merge=merge, out=pruned).execute()
    ExportHf(run=pruned, out=exported).execute()
    rows = cases.rows()
    found, expected, whole = (
        our_logits(pruned, rows),
        their_logits(exported, rows),
        our_logits(run, rows),
    )
    real = rows.targets != 0
    difference = np.abs(found - expected)[real].max()
    changed = np.abs(found - whole)[real].max()
    print(
        f"{name}: logits of up to {np.abs(expected[real]).max():.1f} differ by at most "
        f"{difference:.1e} from Transformers', and by {changed:.1f} from those of all experts"
    )
    return bool(difference < TOLERANCE < changed)


def main() -> None:
    """Compares all cases; exits with 1 if one differs."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print(f"Transformers {transformers.__version__}, PyTorch {torch.__version__}, float32")
    model = vocabulary_model()
    with tempfile.TemporaryDirectory() as folder:
        equal = [
            compare(case, Path(folder), model, merge=merge)
            for case in CASES
            for merge in (False, True)
        ]
    sys.exit(not all(equal))


if __name__ == "__main__":
    main()
