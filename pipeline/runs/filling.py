"""The gaps of a text, filled by a run's network on all its devices, greedily or sampled.

The text is encoded before (`gaps.py`), so that one that cannot be filled is refused without JAX.
"""

from functools import partial

import jax
import numpy as np

from data.files.paths import Place
from data.tokens.tokenizer import MODEL_FILE, PADDING, load
from model.config import Sampling
from model.decoding.generation import cached_decoder, generate
from model.sharding.layouts import batch_shards, replicated_layout
from model.trainer import Trainer
from pipeline.hardware.batches import rows_on_devices
from pipeline.hardware.compile_cache import keep_compiled_programs
from pipeline.hardware.hosts import is_first
from pipeline.runs.directory import checkpoint_read
from pipeline.runs.gaps import with_fillings
from pipeline.runs.opened_run import load_run, restore
from pipeline.runs.uses import export_command
from pipeline.stage import Intent, Job
from pipeline.terminal import print_lines, print_next


def filling(
    run: Place, text: str, inputs: np.ndarray, length: int, sampling: Sampling, seed: int
) -> Job:
    """Returns the job that fills the gaps of a text, or answers it, and prints the result.

    Args:
        run: directory of the run.
        text: text with gaps, or without.
        inputs: its ids, padded.
        length: largest number of tokens to generate.
        sampling: how tokens are chosen.
        seed: seed of sampling.

    Raises:
        ArtifactError: if there is no such run.
    """
    keep_compiled_programs()
    _, trainer = load_run(run)
    return Job(
        partial(_intent, run, inputs, length),
        lambda: show_filled(run, text, generate_text(run, trainer, inputs, length, sampling, seed)),
    )


def _intent(run: Place, inputs: np.ndarray, length: int) -> Intent:
    tokens = int(np.count_nonzero(inputs != PADDING))
    return Intent(
        stage="fill",
        reads=[checkpoint_read("run", run, None)],
        writes="nothing: the filled gaps are printed",
        work=f"a text of {tokens} tokens; at most {length} tokens to generate",
    )


def generate_text(
    run: Place, trainer: Trainer, inputs: np.ndarray, length: int, sampling: Sampling, seed: int
) -> str:
    """Returns the generated text, on every host: each gap's sentinel, then its filling."""
    tokenizer, mesh = load(run / MODEL_FILE), trainer.mesh
    arrays, _ = restore(run, trainer, None)
    fill = jax.jit(
        lambda arrays, inputs, key: generate(
            cached_decoder(
                trainer.model(arrays), inputs, length=length, ids=tokenizer.size, mesh=mesh
            ),
            key,
            sampling,
        ),
        out_shardings=replicated_layout(mesh),
    )
    # One row of text; rows of padding fill the other devices of the batch axes.
    rows = np.full((batch_shards(mesh), len(inputs)), PADDING, np.int32)
    rows[0] = inputs
    written = np.asarray(fill(arrays, rows_on_devices(rows, mesh), jax.random.key(seed)))[0]
    return tokenizer.decode(written[written != PADDING])


def show_filled(run: Place, text: str, fillings: str) -> None:
    """Prints the text with its fillings in brackets, on the first host."""
    if is_first():
        print_lines(*with_fillings(text, fillings).split("\n"))
        if following := export_command(run):
            print_next("fill", *following)
