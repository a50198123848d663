"""T5's span corruption: parts of a text are hidden behind sentinels and become the target.

Source: T5 (Raffel et al. 2020, section 3.1.4) and `t5/data/preprocessors.py`. Noise density 0.15,
mean span 3. How many tokens are hidden, and in how many spans, follows from the length alone, so
that a raw window of the right length fills the inputs and the targets exactly, without padding:
raw 568 gives 512 inputs and 114 targets, raw 1137 gives 1024 and 229. EOS ends both sides.

    tokens   a b c d e f g h i j
    hidden         d e     h            (the first token is never hidden)
    inputs   a b c <0> f g <1> i j </s>
    targets  <0> d e <1> h </s>

The symmetry is the explanation: targets replace what is visible, inputs replace what is hidden, by
the same function. Lengths are in tokens. Randomness comes from the caller's generator only.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

NOISE_DENSITY = 0.15
MEAN_SPAN_LENGTH = 3.0

EOS = 1
PADDING = 0


class Lengths(NamedTuple):
    """Lengths of one corrupted window, EOS included in inputs and targets."""

    raw: int
    inputs: int
    targets: int


class Example(NamedTuple):
    """What the encoder reads and the decoder must write."""

    inputs: Int[np.ndarray, " inputs"]
    targets: Int[np.ndarray, " targets"]


def corrupt(
    tokens: Int[np.ndarray, " raw"], *, first_sentinel: int, generator: np.random.Generator
) -> Example:
    """Hides random spans of a window.

    Args:
        tokens: at least two ids, none of them a sentinel.
        first_sentinel: id of `<extra_id_0>`; the next sentinels are the ids below it.
        generator: the only source of randomness.

    Raises:
        ValueError: fewer than two tokens leave nothing to hide or nothing to see.
    """
    hidden = noise_mask(len(tokens), generator)
    return Example(
        inputs=replace_spans(tokens, hidden, first_sentinel),
        targets=replace_spans(tokens, ~hidden, first_sentinel),
    )


def noise_mask(length: int, generator: np.random.Generator) -> Bool[np.ndarray, " raw"]:
    """Draws which tokens are hidden: alternating visible and hidden spans, visible first."""
    noise, spans = noise_counts(length)
    visible_lengths = random_lengths(length - noise, spans, generator)
    hidden_lengths = random_lengths(noise, spans, generator)
    lengths = np.stack([visible_lengths, hidden_lengths], axis=1).reshape(-1)
    return np.repeat(np.tile([False, True], spans), lengths)


def noise_counts(length: int) -> tuple[int, int]:
    """Returns how many tokens of a window are hidden, and in how many spans.

    Raises:
        ValueError: fewer than two tokens.
    """
    if length < 2:
        raise ValueError(f"Span corruption needs at least 2 tokens, found {length}.")
    noise = min(max(round(length * NOISE_DENSITY), 1), length - 1)
    spans = max(round(noise / MEAN_SPAN_LENGTH), 1)
    return noise, min(spans, length - noise)


def random_lengths(
    total: int, parts: int, generator: np.random.Generator
) -> Int[np.ndarray, " parts"]:
    """Cuts `total` into `parts` lengths of at least 1, every such cut equally likely."""
    cuts = np.sort(generator.permutation(total - 1)[: parts - 1]) + 1
    return np.diff(cuts, prepend=0, append=total)


def replace_spans(
    tokens: Int[np.ndarray, " raw"], mask: Bool[np.ndarray, " raw"], first_sentinel: int
) -> Int[np.ndarray, " replaced"]:
    """Puts one descending sentinel in place of each masked span, and EOS at the end."""
    starts = mask & ~np.concatenate([[False], mask[:-1]])
    sentinels = first_sentinel + 1 - np.cumsum(starts)
    kept = np.where(starts, sentinels, tokens)[starts | ~mask]
    return np.append(kept, EOS).astype(tokens.dtype)


def corrupted_lengths(raw: int) -> Lengths:
    """Returns the exact lengths of inputs and targets for a raw window."""
    noise, spans = noise_counts(raw)
    return Lengths(raw=raw, inputs=raw - noise + spans + 1, targets=noise + spans + 1)


def lengths_for_inputs(inputs: int) -> Lengths:
    """Returns the longest raw window whose inputs fit into `inputs` tokens.

    T5's `random_spans_helper`: 512 gives raw 568 and targets 114; 1024 gives 1137 and 229.

    Raises:
        ValueError: no window fits.
    """
    if inputs < 4:
        raise ValueError(f"Span corruption needs inputs of at least 4 tokens, asked {inputs}.")
    raw = inputs
    while corrupted_lengths(raw + 1).inputs <= inputs:
        raw += 1
    return corrupted_lengths(raw)
