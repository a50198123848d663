"""`mswitch fill`: the text that a run generates for the gaps of a text, greedily or sampled."""

from typing import NamedTuple

import jax
import numpy as np

from data.tokens.tokenizer import MODEL_FILE, PADDING, Tokenizer, load
from model.config import Sampling
from model.decoding.generation import cached_decoder, generate
from model.sharding.layouts import batch_shards, replicated_layout
from model.trainer import Trainer
from pipeline.arguments import Fill
from pipeline.first_checks import checked_generation
from pipeline.hardware.batches import rows_on_devices
from pipeline.hardware.compile_cache import keep_compiled_programs
from pipeline.hardware.hosts import is_first, joined_hosts
from pipeline.runs.directory import checkpoint_read
from pipeline.runs.gaps import encoded_text, with_fillings
from pipeline.runs.opened_run import load_run, restore
from pipeline.stage import Intent
from pipeline.terminal import print_lines, print_next


class FillRequest(NamedTuple):
    """A text with gaps, and the run that fills them.

    Attributes:
        inputs: ids of the text, padded.
        sampling: how tokens are chosen.
        tokenizer: the run's tokenizer.
        trainer: the run's functions.
    """

    inputs: np.ndarray
    sampling: Sampling
    tokenizer: Tokenizer
    trainer: Trainer


def checked_request(arguments: Fill) -> FillRequest:
    """Returns the run and text that the arguments name.

    Raises:
        ConfigurationError: if a number is out of its range.
        ArtifactError: if there is no such run.
        DataError: if the text has gaps that are not numbered in order, is too long, or has no gap
            and the run has not learned to answer.
    """
    sampling, inputs = checked_generation(arguments), encoded_text(arguments)
    keep_compiled_programs()
    _, trainer = load_run(arguments.run)
    return FillRequest(inputs, sampling, load(arguments.run / MODEL_FILE), trainer)


def intents(arguments: Fill) -> list[Intent]:
    """Returns the command's intent."""
    with joined_hosts(arguments.hosts, "fill"):
        request = checked_request(arguments)
    length = int(np.count_nonzero(request.inputs != PADDING))
    return [
        Intent(
            stage="fill",
            reads=[checkpoint_read("run", arguments.run, None)],
            writes="nothing: the filled gaps are printed",
            work=f"a text of {length} tokens; at most {arguments.tokens} tokens to generate",
        )
    ]


def run(arguments: Fill) -> None:
    """Prints the text, with what was generated for each gap in brackets; or the answer to it."""
    with joined_hosts(arguments.hosts, "fill"):
        text = with_fillings(arguments.text, fill_gaps(arguments))
        if is_first():
            print_lines(*text.split("\n"))
            print_next("fill", "export-hf", "--run", arguments.run, "--out", "exported")


def fill_gaps(arguments: Fill) -> str:
    """Returns the generated text, on every host: each gap's sentinel, then its filling."""
    inputs, sampling, tokenizer, trainer = checked_request(arguments)
    arrays, _ = restore(arguments.run, trainer, None)
    mesh = trainer.mesh
    fill = jax.jit(
        lambda arrays, inputs, key: generate(
            cached_decoder(
                trainer.model(arrays),
                inputs,
                length=arguments.tokens,
                ids=tokenizer.size,
                mesh=mesh,
            ),
            key,
            sampling,
        ),
        out_shardings=replicated_layout(mesh),
    )
    # One row of text; rows of padding fill the other devices of the batch axes.
    rows = np.full((batch_shards(mesh), len(inputs)), PADDING, np.int32)
    rows[0] = inputs
    on_devices = rows_on_devices(rows, mesh)
    written = np.asarray(fill(arrays, on_devices, jax.random.key(arguments.seed)))[0]
    return tokenizer.decode(written[written != PADDING])
