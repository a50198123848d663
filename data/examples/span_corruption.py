"""T5's span corruption: spans of a text are replaced by sentinels and become the targets.

Source: T5 (Raffel et al. 2020, section 3.1.4) and `t5/data/preprocessors.py`. Noise density 0.15,
mean span length 3. The numbers of hidden tokens and of spans follow from the length alone, so a raw
window of the right length fills inputs and targets exactly, without padding: raw 568 gives 512
inputs and 114 targets, raw 1137 gives 1024 and 229. EOS ends both.

    tokens   a b c d e f g h i j
    hidden         d e     h            (the first token is never hidden)
    inputs   a b c <0> f g <1> i j </s>
    targets  <0> d e <1> h </s>

Inputs and targets come from the same function: inputs replace the hidden spans, targets replace the
visible ones. Lengths are in tokens. All rows of a call have one length, so they are corrupted at
once. The caller supplies the random numbers.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt64

NOISE_DENSITY = 0.15
MEAN_SPAN_LENGTH = 3.0
LEAST_INPUTS = 10  # below, the shortest window is longer than the inputs by one
MOST_INPUTS = 1_809  # longer inputs have more spans than T5's 100 sentinels

EOS = 1
PADDING = 0


class Lengths(NamedTuple):
    """Lengths of one corrupted window, EOS included in inputs and targets."""

    raw: int
    inputs: int
    targets: int


class Example(NamedTuple):
    """Inputs of the encoder and targets of the decoder."""

    inputs: Int[np.ndarray, " inputs"]
    targets: Int[np.ndarray, " targets"]


class ExampleRows(NamedTuple):
    """Examples of one length, one row each."""

    inputs: Int[np.ndarray, "rows inputs"]
    targets: Int[np.ndarray, "rows targets"]


def corrupt(
    tokens: Int[np.ndarray, " raw"], *, first_sentinel: int, generator: np.random.Generator
) -> Example:
    """Returns one window with random spans hidden; see `corrupt_rows`."""
    bits = generator.bit_generator.random_raw(random_numbers(len(tokens)))
    rows = corrupt_rows(tokens[None], bits[None], first_sentinel)
    return Example(rows.inputs[0], rows.targets[0])


def corrupt_rows(
    tokens: Int[np.ndarray, "rows raw"],
    bits: UInt64[np.ndarray, "rows numbers"],
    first_sentinel: int,
) -> ExampleRows:
    """Returns each window with random spans hidden.

    Args:
        tokens: at least two ids per row, without sentinels.
        bits: `random_numbers(raw)` random 64-bit numbers per row.
        first_sentinel: id of `<extra_id_0>`; the next sentinels are the ids below it.

    Raises:
        ValueError: if a row has fewer than two tokens.
    """
    hidden = noise_masks(tokens.shape[1], bits)
    return ExampleRows(
        inputs=replace_spans(tokens, hidden, first_sentinel),
        targets=replace_spans(tokens, ~hidden, first_sentinel),
    )


def random_numbers(raw: int) -> int:
    """Returns the number of random numbers per window: one per possible cut."""
    noise_counts(raw)  # raises if nothing can be hidden
    return raw - 2


def noise_masks(
    length: int, bits: UInt64[np.ndarray, "rows numbers"]
) -> Bool[np.ndarray, "rows raw"]:
    """Returns which tokens are hidden: alternating visible and hidden spans, visible first."""
    noise, spans = noise_counts(length)
    visible = random_lengths(spans, bits[:, : length - noise - 1])
    hidden = random_lengths(spans, bits[:, length - noise - 1 :])
    lengths = np.stack([visible, hidden], axis=2).reshape(-1)
    masks = np.repeat(np.tile([False, True], spans * len(bits)), lengths)
    return masks.reshape(len(bits), length)


def noise_counts(length: int) -> tuple[int, int]:
    """Returns how many tokens of a window are hidden, and in how many spans.

    Raises:
        ValueError: if there are fewer than two tokens.
    """
    if length < 2:
        raise ValueError(f"Span corruption needs at least 2 tokens, found {length}.")
    noise = min(max(round(length * NOISE_DENSITY), 1), length - 1)
    spans = max(round(noise / MEAN_SPAN_LENGTH), 1)
    return noise, min(spans, length - noise)


def random_lengths(
    parts: int, bits: UInt64[np.ndarray, "rows places"]
) -> Int[np.ndarray, "rows parts"]:
    """Returns random lengths of at least 1 that sum to `places + 1`, all equally likely.

    Each row is cut at the `parts - 1` of its `places` with the smallest random numbers. T5 shuffles
    a mask of cuts instead, with the same distribution.
    """
    rows, places = bits.shape
    cuts = np.argpartition(bits, parts - 2, axis=1)[:, : parts - 1] if parts > 1 else bits[:, :0]
    ends = np.sort(cuts.astype(np.int64), axis=1) + 1
    edges = np.hstack([np.zeros((rows, 1), np.int64), ends, np.full((rows, 1), places + 1)])
    return np.diff(edges, axis=1)


def replace_spans(
    tokens: Int[np.ndarray, "rows raw"], mask: Bool[np.ndarray, "rows raw"], first_sentinel: int
) -> Int[np.ndarray, "rows replaced"]:
    """Returns tokens with one descending sentinel in place of each masked span, and EOS."""
    starts = mask.copy()
    starts[:, 1:] &= ~mask[:, :-1]
    sentinels = first_sentinel + 1 - np.cumsum(starts, axis=1, dtype=tokens.dtype)
    kept = np.where(starts, sentinels, tokens)[starts | ~mask].reshape(len(tokens), -1)
    return np.pad(kept, ((0, 0), (0, 1)), constant_values=EOS)


def corrupted_lengths(raw: int) -> Lengths:
    """Returns the exact lengths of inputs and targets for a raw window."""
    noise, spans = noise_counts(raw)
    return Lengths(raw=raw, inputs=raw - noise + spans + 1, targets=noise + spans + 1)


def lengths_for_inputs(inputs: int) -> Lengths:
    """Returns the longest raw window whose inputs fit into `inputs` tokens.

    T5's `random_spans_helper`: 512 gives raw 568 and targets 114; 1024 gives 1137 and 229.

    Raises:
        ValueError: if no window fits.
    """
    if inputs < LEAST_INPUTS:
        raise ValueError(
            f"Span corruption needs inputs of at least {LEAST_INPUTS} tokens, found {inputs}."
        )
    raw = inputs
    while corrupted_lengths(raw + 1).inputs <= inputs:
        raw += 1
    return corrupted_lengths(raw)
