"""Span corruption against T5's own: the same lengths, and the same distribution of hidden spans.

T5's `random_spans_noise_mask` and `random_spans_helper` (packages t5 and seqio) are called
unchanged. Compared are exact counts (hidden tokens, spans, inputs, targets) and, over many masks,
the share of masks that hide each position and the histograms of hidden and visible span lengths,
by chi-square tests at a level of 0.001 for the three together. (Positions of one mask are not
independent, so the test is lenient for them; the span lengths are decisive.)
"""

import sys

import numpy as np
import tensorflow as tf
from scipy.stats import chi2_contingency
from t5.data import preprocessors

from data.examples.span_corruption import lengths_for_inputs, noise_masks, random_numbers

RAW, MASKS = 568, 4000
SMALLEST_P = 0.001
TESTS = 3


def theirs() -> np.ndarray:
    """Masks of T5."""
    draw = tf.function(
        lambda seed: preprocessors.random_spans_noise_mask(
            length=RAW, noise_density=0.15, seeds=seed, mean_noise_span_length=3.0
        )
    )
    return np.stack([draw(tf.constant([[n, 1], [n, 2]])).numpy() for n in range(MASKS)])


def ours() -> np.ndarray:
    """Masks of mswitch."""
    bits = np.random.Philox(0).random_raw(MASKS * random_numbers(RAW))
    return noise_masks(RAW, bits.reshape(MASKS, -1))


def span_lengths(masks: np.ndarray, hidden: bool) -> np.ndarray:
    """Lengths of all hidden or visible spans."""
    edges = np.diff(np.pad((masks == hidden).astype(np.int8), ((0, 0), (1, 1))), axis=1)
    return np.argwhere(edges == -1)[:, 1] - np.argwhere(edges == 1)[:, 1]


def p_value(first: np.ndarray, second: np.ndarray) -> float:
    """p of the hypothesis that two histograms come from one distribution; rare bins are joined."""
    table = np.stack([first, second]).astype(float)
    common = table.min(axis=0) >= 10
    joined = np.column_stack([table[:, common], table[:, ~common].sum(axis=1)])
    return float(chi2_contingency(joined[:, joined.sum(axis=0) > 0]).pvalue)


def main() -> None:
    """Compares lengths, then distributions; exits with 1 if they differ."""
    for inputs in (256, 512, 1024, 2048):
        raw, targets = preprocessors.random_spans_helper(
            inputs_length=inputs,
            noise_density=0.15,
            mean_noise_span_length=3.0,
            extra_tokens_per_span_inputs=1,
            extra_tokens_per_span_targets=1,
        )
        lengths = lengths_for_inputs(inputs)
        assert (lengths.raw, lengths.targets) == (raw, targets), (inputs, raw, targets)
    masks = ours(), theirs()
    assert {int(n) for mask in masks for n in mask.sum(axis=1)} == {int(masks[0][0].sum())}
    found = {"positions": p_value(*(mask.sum(axis=0) for mask in masks))}
    for name, hidden in (("hidden spans", True), ("visible spans", False)):
        lengths = [span_lengths(mask, hidden) for mask in masks]
        size = max(map(np.max, lengths)) + 1
        found[name] = p_value(*(np.bincount(each, minlength=size) for each in lengths))
    report = ", ".join(f"{name} p = {p:.3f}" for name, p in found.items())
    print(f"spans: lengths equal T5's; {MASKS} masks of {RAW} tokens each: {report}")
    sys.exit(min(found.values()) < SMALLEST_P / TESTS)


if __name__ == "__main__":
    main()
