"""`mswitch fill`: what a run would write into the gaps of a text.

Greedy and without a cache: each new token costs a whole forward pass over a fixed length, which is
compiled once. Meant for looking at a model, not for serving one.
"""

from typing import Any

import jax
import numpy as np

from data.errors import DataError
from data.tokenizer import EOS, MODEL_FILE, PADDING, Tokenizer, load
from model.train_step import Trainer
from model.transformer import Call
from pipeline import evaluate
from pipeline.arguments import Fill
from pipeline.hosts import to_devices


def run(arguments: Fill) -> None:
    """Prints what the model writes after each gap's mark."""
    recipe, trainer = evaluate.load_run(arguments.run)
    tokenizer = load(arguments.run / MODEL_FILE)
    inputs = encode_with_gaps(arguments.text, tokenizer, recipe.inputs)
    arrays, _ = evaluate.restore(arguments.run, trainer, None)
    # Routing groups are parts of the recipe's batch; all rows but the first are padding.
    targets = np.full((recipe.rows, recipe.lengths.targets), PADDING, np.int32)
    written = greedy(trainer, arrays, inputs, targets, arguments.tokens)
    print(tokenizer.decode(written))


def encode_with_gaps(text: str, tokenizer: Tokenizer, length: int) -> np.ndarray:
    """Returns the padded ids of a text with `<extra_id_N>` gaps.

    Raises:
        DataError: no gap, or longer than the model's inputs.
    """
    ids: list[int] = []
    gaps = 0
    rest = text
    while (mark := f"<extra_id_{gaps}>") in rest:
        before, rest = rest.split(mark, 1)
        ids += [*tokenizer.encode(before).tolist(), tokenizer.first_sentinel - gaps]
        gaps += 1
    ids += [*tokenizer.encode(rest).tolist(), EOS]
    if not gaps or len(ids) > length:
        raise DataError(
            f"The text has {gaps} gaps and {len(ids)} tokens; it needs at least the gap "
            f"<extra_id_0> and at most {length} tokens."
        )
    return np.array(ids + [PADDING] * (length - len(ids)), np.int32)


def greedy(
    trainer: Trainer, arrays: Any, inputs: np.ndarray, targets: np.ndarray, most: int
) -> np.ndarray:
    """Writes the most likely token after token into the first row, up to EOS or `most`."""
    rows, length = targets.shape
    batch_inputs = np.full((rows, len(inputs)), PADDING, np.int32)
    batch_inputs[0] = inputs
    logits = jax.jit(
        lambda arrays, batch: trainer.model(arrays)(batch, Call(trainer.mesh)).logits[0]
    )
    language = np.full(rows, -1, np.int32)
    for position in range(min(length, most)):
        targets[0, position] = EOS  # any real token: it marks the position as one to predict
        arrays_of_batch = {"inputs": batch_inputs, "targets": targets, "language": language}
        batch = to_devices(arrays_of_batch, trainer.mesh, rows)
        token = int(np.argmax(logits(arrays, batch)[position]))
        targets[0, position] = token
        if token == EOS:
            break
    return targets[0][targets[0] != PADDING]
