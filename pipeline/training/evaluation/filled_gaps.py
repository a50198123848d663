"""Held-out gaps that a run fills at each evaluation, for people to read.

Two short windows per evaluation, of languages in turn and then of their next pages, so the choice
is a function of the step. Of each window the first gap is shown, with what the network writes there
greedily and with what stood there. They lie in `RUN/evaluation/gaps-step=N.parquet`, written before
the losses, whose presence marks an evaluation as complete. The cost is that of one encoded row of
64 tokens and 16 decoded tokens per device, whatever the size of the evaluation.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jax.sharding import Mesh
from jaxtyping import Int

from data.examples.held_out_batches import window, window_count
from data.examples.span_corruption import EOS, PADDING, Example, lengths_for_inputs
from data.files.atomic import atomic_write
from data.files.paths import Place
from data.tokens.tokenizer import MODEL_FILE, Tokenizer, load
from model.decoding.generation import written_greedily
from model.sharding.layouts import batch_sharding, batch_shards, expert_shards, replicated
from model.trainer import Trainer
from pipeline.hardware.batch_rows import placed
from pipeline.recipe.recipe import Recipe
from pipeline.runs.evaluation_paths import gaps_file
from pipeline.runs.filled_gaps import SCHEMA, FilledGap
from pipeline.training.evaluation.held_out import HeldOut

PER_EVALUATION = 2
INPUTS = 64  # tokens of a window as the encoder reads it; fewer where the recipe has fewer
WRITTEN = 16  # tokens of a gap that is shown; spans have 3 on average
MOST_BYTES = 2**30  # of a device's largest array while a sparse network fills gaps


class GapFiller:
    """The gaps of a run's held-out pages.

    Args:
        held_out: the held-out pages.
        recipe: the run's recipe.
    """

    def __init__(self, held_out: HeldOut, recipe: Recipe):
        self.held_out, self.recipe = held_out, recipe
        self.lengths = lengths_for_inputs(min(recipe.inputs, INPUTS))
        self.tokenizer: Tokenizer | None = None
        self.programs: dict[Mesh, Callable[..., jax.Array]] = {}

    def fill(self, trainer: Trainer, arrays: Any, step: int) -> list[FilledGap]:
        """Returns the filled gaps of an evaluation; every host must call this.

        Args:
            trainer: trainer of the run.
            arrays: weights to fill with.
            step: step of the weights, which chooses the windows.
        """
        chosen = self.chosen(step)
        if not chosen or largest_array(self.recipe, trainer, self.lengths.inputs) > MOST_BYTES:
            return []
        tokenizer = self.tokenizer = self.tokenizer or load(
            self.held_out.blocks.directory / MODEL_FILE
        )
        mesh = trainer.mesh
        axes = batch_shards(mesh)
        rows = np.full((-(-PER_EVALUATION // axes) * axes, self.lengths.inputs), PADDING, np.int32)
        for row, (_, example) in zip(rows, chosen, strict=False):
            row[: len(example.inputs)] = example.inputs
        if mesh not in self.programs:
            self.programs[mesh] = greedy_program(trainer, tokenizer.size)
        written = np.asarray(self.programs[mesh](arrays, placed(rows, mesh)))
        return [
            first_gap(self.held_out.pages[page].language, example, row, tokenizer)
            for (page, example), row in zip(chosen, written, strict=False)
        ]

    def chosen(self, step: int) -> list[tuple[int, Example]]:
        """Returns the number of the page and the window of each gap of a step's evaluation."""
        first = -(-step // self.recipe.evaluate_every) * PER_EVALUATION
        of_page, count = self.held_out.language_of_page[:-1], len(self.held_out.languages)
        of_language = [np.flatnonzero(of_page == at) for at in range(count)]
        found = []
        for turn in range(first, first + PER_EVALUATION if of_language else first):
            round_, at = divmod(turn, len(of_language))
            page = int(of_language[at][round_ % len(of_language[at])])
            sentinel = self.held_out.blocks.manifest.vocabulary.first_sentinel
            of = self.held_out.pages[page].page
            if window_count(len(of.tokens), self.lengths.raw):
                found.append((page, window(of, 0, self.lengths, sentinel)))
        return found


def greedy_program(trainer: Trainer, ids: int) -> Callable[..., jax.Array]:
    """Returns the function, compiled at its first call, that writes into the gaps of rows."""
    mesh = trainer.mesh
    return jax.jit(
        lambda arrays, inputs: written_greedily(
            trainer.model(arrays), inputs, length=WRITTEN, ids=ids, mesh=mesh
        ),
        in_shardings=(trainer.shardings.arrays, batch_sharding(mesh)),
        out_shardings=replicated(mesh),
    )


def largest_array(recipe: Recipe, trainer: Trainer, inputs: int) -> int:
    """Returns the bytes of a sparse network's largest array while gaps are filled.

    Dropless dispatch pads to the worst case: each device has room for the tokens of all
    (`model/switch/dispatch.py`), and computes them in each of its own experts.
    """
    switch = recipe.model.switch
    if switch is None:
        return 0
    experts = expert_shards(trainer.mesh)
    tokens = experts * inputs * PER_EVALUATION * switch.choices
    return 4 * tokens * (recipe.model.embed + recipe.model.mlp * (switch.experts // experts))


def first_gap(
    language: str, example: Example, written: Int[np.ndarray, " tokens"], tokenizer: Tokenizer
) -> FilledGap:
    """Returns the first gap of a window, with its words on both sides and both its fillings."""
    sentinel = tokenizer.first_sentinel
    before, after = _around(example.inputs, sentinel)
    after, filled, hidden = (
        _up_to_sentinel(ids, tokenizer)
        for ids in (after, _around(written, sentinel)[1], _around(example.targets, sentinel)[1])
    )
    return FilledGap(
        language=language,
        before=_text(before, tokenizer) + _space_before(hidden, tokenizer),
        filled=_text(filled, tokenizer),
        hidden=_text(hidden, tokenizer),
        after=_space_before(after, tokenizer) + _text(after, tokenizer),
    )


def _text(ids: np.ndarray, tokenizer: Tokenizer) -> str:
    return " ".join(tokenizer.decode(ids).split())


def _space_before(ids: np.ndarray, tokenizer: Tokenizer) -> str:
    """Returns the space that a text begins with, which decoding drops."""
    return (
        " " if ids.size and tokenizer.processor.IdToPiece(int(ids[0])).startswith("\u2581") else ""
    )


def _around(ids: np.ndarray, sentinel: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ids before and after a sentinel; all are after one that is missing."""
    found = np.flatnonzero(ids == sentinel)
    return (ids[: found[0]], ids[found[0] + 1 :]) if found.size else (ids[:0], ids)


def _up_to_sentinel(ids: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    """Returns the ids before the next sentinel, EOS or padding."""
    for at, token in enumerate(ids.tolist()):
        if token in (EOS, PADDING) or tokenizer.is_sentinel(token):
            return ids[:at]
    return ids


def write_gaps(directory: Place, step: int, gaps: Sequence[FilledGap]) -> None:
    """Writes the filled gaps of an evaluation with an atomic rename; nothing if there are none."""
    if not gaps:
        return
    path = gaps_file(directory, step)
    table = pa.Table.from_pylist([one._asdict() for one in gaps], SCHEMA)
    with atomic_write(path, path.parent.parent) as unfinished:
        pq.write_table(table, unfinished)
