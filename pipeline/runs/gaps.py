"""A text with gaps, as `mswitch fill` takes it: its ids, and the text with the fillings.

A run that answers, fine-tuned here or imported, also takes a text without a gap: its answer is all
that it generates. No JAX is imported, so that a text is refused before a network is loaded.
"""

import re

import numpy as np

from data.errors import DataError
from data.files.paths import Place
from data.tokens.tokenizer import EOS, MODEL_FILE, PADDING, SENTINELS, Tokenizer, load
from pipeline.artifacts import head_in
from pipeline.runs.directory import find_run

_GAP = re.compile("<extra_id_([0-9]+)>")
NOTHING = "nothing"  # an empty filling
ANSWERING = ("finetune", "import-hf", "prune")  # stages whose runs may have learned to answer


def encoded_text(text: str, run: Place) -> np.ndarray:
    """Returns the ids of the text that a run is to fill, padded to its inputs.

    Raises:
        ArtifactError: if there is no such run.
        DataError: if the text has gaps that are not numbered in order, is too long, or has no gap
            and the run has not learned to answer.
    """
    inputs = find_run(run).recipe["inputs"]
    check_gaps(text, run)
    return encode_with_gaps(text, load(run / MODEL_FILE), inputs)


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


def check_gaps(text: str, run: Place) -> None:
    """Checks that the text has a gap, or that the run may have learned to answer.

    Raises:
        DataError: if neither is so.
    """
    head = head_in(run)
    if not _GAP.search(text) and (head is None or head.stage not in ANSWERING):
        raise DataError(
            f"The text has no gap, and {run} was not fine-tuned to answer one; write "
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
