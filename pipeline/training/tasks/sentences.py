"""`RUN/tasks/NAME/sentences-step=N.parquet`: what each sentence of a parallel text costs a network.

Nats per sentence compare languages and vocabularies: all languages say the same, and no number is
divided by tokens or bytes. The form of a language still differs from that of another (a caveat of
docs/tasks.md). Dispatch is dropless, so a sentence's number depends on the sentence alone.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from data.examples.hidden_once import LONGEST, hidden_once
from data.examples.span_corruption import PADDING, Example, Lengths, lengths_for_inputs
from data.tasks.examples import TaskExample
from data.tokens.tokenizer import Tokenizer
from eval.tasks.comparison import SENTENCES_SCHEMA
from model.batch import Batch, Call
from model.decoding.generation import never_dropping
from model.loss.scoring import score
from model.sharding.layouts import batch_sharding, replicated
from model.trainer import Trainer
from pipeline.hardware.batch_rows import to_devices
from pipeline.recipe.recipe import Recipe


class Sentence(NamedTuple):
    """A sentence as rows to score.

    Attributes:
        examples: rows that together hide each token once.
        tokens: number of its tokens that are scored.
        cut: whether it was longer than a row, and lost its end.
    """

    examples: list[Example]
    tokens: int
    cut: bool


class SentenceScorer:
    """Scores the sentences of parallel texts, all with one program.

    Args:
        trainer: functions of the network.
        recipe: recipe of the run.
        tokenizer: the run's tokenizer.
    """

    def __init__(self, trainer: Trainer, recipe: Recipe, tokenizer: Tokenizer):
        self.mesh, self.rows, self.tokenizer = trainer.mesh, recipe.rows, tokenizer
        self.lengths = lengths = lengths_for_inputs(recipe.inputs)
        call = Call(trainer.mesh, logits_bytes=recipe.logits_bytes)

        @functools.partial(
            jax.jit,
            in_shardings=(trainer.shardings.arrays, batch_sharding(trainer.mesh)),
            out_shardings=replicated(trainer.mesh),
        )
        def row_nats(arrays: Any, batch: Batch) -> jax.Array:
            model = never_dropping(trainer.model(arrays), lengths.inputs, lengths.targets)
            return score(model, batch, call, languages=0)[0].loss_nats

        self._row_nats = row_nats

    def losses(self, arrays: Any, examples: Sequence[TaskExample]) -> pa.Table:
        """Returns the loss of each example's text as a table of `SCHEMA`.

        Args:
            arrays: weights.
            examples: examples whose first text is a sentence.
        """
        texts = [one.texts[0] for one in examples]
        sentences = [rows_of(text, self.tokenizer, self.lengths) for text in texts]
        rows = [row for sentence in sentences for row in sentence.examples]
        owner = np.repeat(np.arange(len(sentences)), [len(one.examples) for one in sentences])
        columns = {
            "language": [one.language for one in examples],
            "identity": [one.identity for one in examples],
            "loss_nats": np.bincount(owner, self._nats(arrays, rows), len(sentences)),
            "tokens": [one.tokens for one in sentences],
            "text_bytes": [len(text.encode()) for text in texts],
            "cut": [one.cut for one in sentences],
        }
        return pa.table(columns, SENTENCES_SCHEMA)

    def _nats(self, arrays: Any, rows: Sequence[Example]) -> Float[np.ndarray, " rows"]:
        """Returns the loss of each row, in nats, summed over its targets."""
        found = [
            np.asarray(self._row_nats(arrays, to_devices(batch, self.mesh, self.rows)), np.float64)
            for batch in batches(rows, self.lengths, self.rows)
        ]
        return np.concatenate([*found, np.zeros(0)])[: len(rows)]


def rows_of(text: str, tokenizer: Tokenizer, lengths: Lengths) -> Sentence:
    """Returns a sentence as rows, cut until inputs and targets fit."""
    ids = tokenizer.encode(text)
    for size in range(min(len(ids), LONGEST, lengths.inputs + lengths.targets), 0, -1):
        rows = hidden_once(ids[:size], tokenizer.first_sentinel)
        if all(len(r.inputs) <= lengths.inputs and len(r.targets) <= lengths.targets for r in rows):
            return Sentence(rows, size, size < len(ids))
    return Sentence([], 0, len(ids) > 0)


def batches(
    rows: Sequence[Example], lengths: Lengths, size: int
) -> Iterator[dict[str, Int[np.ndarray, "..."]]]:
    """Yields batches of exactly `size` rows, padded."""
    for first in range(0, len(rows), size):
        inputs = np.full((size, lengths.inputs), PADDING, np.int32)
        targets = np.full((size, lengths.targets), PADDING, np.int32)
        for at, row in enumerate(rows[first : first + size]):
            inputs[at, : len(row.inputs)] = row.inputs
            targets[at, : len(row.targets)] = row.targets
        language = np.full(size, -1, np.int32)
        yield {"inputs": inputs, "targets": targets, "language": language}
