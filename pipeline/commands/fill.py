"""`mswitch fill`: the text that a run generates for the gaps of a text, greedily or sampled.

A run that answers, fine-tuned here or imported, also takes a text without a gap: its answer is all
that it generates.
"""

import re
from typing import NamedTuple

import jax
import numpy as np

from data.errors import DataError
from data.tokens.tokenizer import EOS, MODEL_FILE, PADDING, SENTINELS, Tokenizer, load
from model.decoding.generation import Sampling, cached_decoder, generate
from model.sharding.layouts import batch_shards, replicated_layout
from model.trainer import Trainer
from pipeline.arguments import Fill
from pipeline.artifacts import head_in
from pipeline.first_checks import check_generation
from pipeline.hardware.batches import rows_on_devices
from pipeline.hardware.hosts import is_first, joined_hosts
from pipeline.runs.directory import checkpoint_read
from pipeline.runs.finished import NOTHING
from pipeline.runs.opened_run import load_run, restore
from pipeline.stage import Intent
from pipeline.terminal import print_lines, print_next

_GAP = re.compile("<extra_id_([0-9]+)>")
ANSWERING = ("finetune", "import-hf", "prune")  # stages whose runs may have learned to answer


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
    check_generation(arguments.tokens, arguments.seed)
    sampling = Sampling(
        temperature=arguments.temperature, top_k=arguments.top_k, top_p=arguments.top_p
    )
    recipe, trainer = load_run(arguments.run)
    tokenizer = load(arguments.run / MODEL_FILE)
    check_gaps(arguments)
    inputs = encode_with_gaps(arguments.text, tokenizer, recipe.inputs)
    return FillRequest(inputs, sampling, tokenizer, trainer)


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


def with_fillings(text: str, generated: str) -> str:
    """Returns a text with each gap's filling in brackets, and what else was generated left out.

    Args:
        text: text with gaps; without one, all that was generated is the answer.
        generated: the gaps' sentinels, each with its filling after it; some may be missing.
    """
    if not _GAP.search(text):
        return generated.strip() or NOTHING
    _, *parts = _GAP.split(generated)
    fillings = dict(zip(parts[-2::-2], parts[::-2], strict=True))  # the first of equal numbers
    return _GAP.sub(lambda gap: f"[{fillings.get(gap[1], '').strip() or NOTHING}]", text)


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


def check_gaps(arguments: Fill) -> None:
    """Checks that the text has a gap, or that the run may have learned to answer.

    Raises:
        DataError: if neither is so.
    """
    head = head_in(arguments.run)
    if not _GAP.search(arguments.text) and (head is None or head.stage not in ANSWERING):
        raise DataError(
            f"The text has no gap, and {arguments.run} was not fine-tuned to answer one; write "
            "<extra_id_0> where text is to be filled in."
        )


def encode_with_gaps(text: str, tokenizer: Tokenizer, length: int) -> np.ndarray:
    """Returns the padded ids of a text with `<extra_id_N>` gaps.

    Args:
        text: text with the gaps <extra_id_0>, <extra_id_1>, ... in this order, or without.
        tokenizer: the run's tokenizer.
        length: input tokens per row of the run.

    Raises:
        DataError: if gaps are not numbered in order or more than a vocabulary's sentinels, or the
            text has no token, more tokens than `length`, or characters that are none.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            "The text was expected in UTF-8 and is in another encoding; convert it, or set the "
            "terminal's locale to UTF-8."
        ) from error
    *parts, rest = _GAP.split(text)  # text and number in turns, then what follows the last gap
    gaps = len(parts) // 2
    for number, written in enumerate(parts[1::2]):
        if written != str(number):
            raise DataError(
                f"Gap {number + 1} of the text is <extra_id_{written}>, and <extra_id_{number}> "
                "was expected; number gaps from 0 on, each once and in order."
            )
    ids: list[int] = []
    for number, before in enumerate(parts[::2]):
        ids += [*tokenizer.encode(before).tolist(), tokenizer.first_sentinel - number]
    ids += tokenizer.encode(rest).tolist()
    if gaps > SENTINELS:
        raise DataError(
            f"The text has {gaps} gaps, and a vocabulary has {SENTINELS} sentinels; fill the text "
            "in parts."
        )
    if not 0 < len(ids) < length:
        raise DataError(
            f"The text has {len(ids)} tokens, and the run takes 1 to {length - 1}; give another."
        )
    return np.array([*ids, EOS] + [PADDING] * (length - len(ids) - 1), np.int32)
