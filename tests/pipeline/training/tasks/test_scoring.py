"""Examples of one sentence hide each of its tokens exactly once."""

import numpy as np
import pytest

from data.examples.span_corruption import EOS
from pipeline.training.tasks.scoring import LONGEST, hidden_once

SENTINEL = 999


def put_back(inputs, targets):
    """The sentence that an example was made from, and which of its tokens were hidden."""
    spans, current = {}, None
    for token in targets.tolist():
        if token > 900:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    tokens, hidden = [], []
    for token in inputs.tolist()[:-1]:
        some = spans.get(token, [token])
        tokens += some
        hidden += [token in spans] * len(some)
    assert inputs[-1] == EOS
    return tokens, hidden


@pytest.mark.parametrize("length", [1, 2, 3, 4, 20, 21, 22, 63, 100])
def test_every_token_is_hidden_once_and_the_sentence_is_whole(length):
    sentence = np.arange(3, 3 + length, dtype=np.int32)
    found = [put_back(*one) for one in hidden_once(sentence, SENTINEL)]
    assert all(tokens == sentence.tolist() for tokens, _ in found)
    assert np.sum([hidden for _, hidden in found], axis=0).tolist() == [1] * length
    assert len(found) == min(7, -(-length // 3))


def test_a_long_sentence_hides_as_much_at_once_as_training_does():
    sentence = np.arange(3, 213, dtype=np.int32)
    shares = [np.mean(put_back(*one)[1]) for one in hidden_once(sentence, SENTINEL)]
    assert max(shares) == pytest.approx(1 / 7)


def test_the_longest_sentence_needs_each_sentinel_and_no_other_id():
    first = 250_099
    for example in hidden_once(np.full(LONGEST, 7, np.int32), first):
        used = np.unique(np.concatenate([example.inputs, example.targets]))
        assert used.tolist() == [EOS, 7, *range(first - 99, first + 1)]
