from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.examples.span_corruption import (
    EOS,
    LEAST_INPUTS,
    MOST_INPUTS,
    corrupt,
    corrupt_rows,
    corrupted_lengths,
    lengths_for_inputs,
    noise_counts,
    noise_masks,
    random_lengths,
    random_numbers,
)
from data.tokens.tokenizer import SENTINELS

FIRST_SENTINEL = 9_999


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def bits(rows: int, count: int) -> np.ndarray:
    return np.random.Philox(0).random_raw(rows * count).reshape(rows, count)


def interleave(inputs: list[int], targets: list[int]) -> list[int]:
    """Replaces each sentinel by its hidden span: the inverse, one token at a time."""
    spans: dict[int, list[int]] = {}
    for token in targets[:-1]:
        if token > FIRST_SENTINEL - 100:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    return [t for token in inputs[:-1] for t in spans.get(token, [token])]


@given(st.integers(2, 600), st.integers(0, 2**32))
def test_nothing_is_lost(length, seed):
    tokens = np.arange(3, 3 + length, dtype=np.int32)
    example = corrupt(tokens, first_sentinel=FIRST_SENTINEL, generator=generator(seed))
    assert interleave(example.inputs.tolist(), example.targets.tolist()) == tokens.tolist()
    assert example.inputs[-1] == example.targets[-1] == EOS


@given(st.integers(2, 2000), st.integers(0, 2**32))
def test_lengths_follow_from_the_raw_length(length, seed):
    tokens = np.full(length, 7, np.int32)
    example = corrupt(tokens, first_sentinel=FIRST_SENTINEL, generator=generator(seed))
    expected = corrupted_lengths(length)
    assert (len(example.inputs), len(example.targets)) == (expected.inputs, expected.targets)


@given(st.integers(2, 600), st.integers(0, 2**32))
def test_sentinels_descend_and_agree(length, seed):
    tokens = np.full(length, 7, np.int32)
    example = corrupt(tokens, first_sentinel=FIRST_SENTINEL, generator=generator(seed))
    _, spans = noise_counts(length)
    expected = [FIRST_SENTINEL - number for number in range(spans)]
    for side in example:
        assert [t for t in side.tolist() if t not in (7, EOS)] == expected


@pytest.mark.parametrize(
    ("inputs", "raw", "targets"),
    # T5's random_spans_helper, as listed in its gin files and in T5X's umT5 recipes.
    [(256, 284, 58), (512, 568, 114), (1024, 1137, 229), (2048, 2274, 456)],
)
def test_published_lengths(inputs, raw, targets):
    lengths = lengths_for_inputs(inputs)
    assert (lengths.raw, lengths.inputs, lengths.targets) == (raw, inputs, targets)


def test_windows_fit_into_their_inputs_from_the_fewest_on():
    for inputs in range(LEAST_INPUTS, 2100):
        assert inputs - 1 <= lengths_for_inputs(inputs).inputs <= inputs


def test_a_window_starts_visible_and_ends_hidden():
    masks = noise_masks(40, bits(50, random_numbers(40)))
    assert not masks[:, 0].any()
    assert masks[:, -1].all()


def test_every_cut_is_equally_likely():
    counts = Counter(map(tuple, random_lengths(3, bits(6000, 4)).tolist()))
    assert len(counts) == 6  # 4 choose 2 ways to cut 5 into 3 parts
    assert min(counts.values()) > 0.85 * 1000  # 5 standard deviations are 0.14


@given(st.integers(2, 300), st.integers(1, 9))
def test_a_row_does_not_depend_on_the_others(length, rows):
    tokens = np.arange(3, 3 + rows * length, dtype=np.int32).reshape(rows, length)
    numbers = bits(rows, random_numbers(length))
    together = corrupt_rows(tokens, numbers, FIRST_SENTINEL)
    for row in range(rows):
        alone = corrupt_rows(tokens[row : row + 1], numbers[row : row + 1], FIRST_SENTINEL)
        assert np.array_equal(alone.inputs[0], together.inputs[row])
        assert np.array_equal(alone.targets[0], together.targets[row])


def test_one_token_has_nothing_to_hide():
    with pytest.raises(ValueError, match="at least 2 tokens"):
        corrupt(np.array([5]), first_sentinel=FIRST_SENTINEL, generator=generator(0))


def test_the_longest_inputs_have_a_sentinel_for_each_span():
    spans = [noise_counts(lengths_for_inputs(MOST_INPUTS + more).raw)[1] for more in (0, 1)]
    assert spans == [SENTINELS, SENTINELS + 1]
