"""Training examples of tasks: each once per epoch, by shares, and a function of the index alone."""

from pathlib import Path

import numpy as np
import pytest

from data.examples.mixture import make_schedule
from data.examples.pretraining_examples import Exposure
from data.examples.task_examples import (
    PRETRAINING,
    Source,
    TaskExamples,
    padded_rows,
    without_sentinels,
)
from data.tokens.tokenizer import PADDING

SIZES = {"topics/sw": 5, "topics/en": 20}


def source(name, size, first):
    """Examples of one token, all different."""
    ids = [np.array([first + number, 1], np.int32) for number in range(size)]
    return Source(name, ids, [one[:1] for one in ids], 0, 0)


def examples(share=0.0, pretraining=None, seed=3):
    sources = tuple(
        source(name, size, 100 * at) for at, (name, size) in enumerate(SIZES.items(), 1)
    )
    weights = {name: (1 - share) * size for name, size in SIZES.items()}
    if share:
        weights[PRETRAINING] = share * sum(SIZES.values())
    return TaskExamples(
        sources=sources,
        schedule=make_schedule(weights, seed),
        inputs=4,
        targets=3,
        seed=seed,
        vocabulary=Path("unused"),
        pretraining=pretraining,
    )


def test_every_example_is_read_once_per_epoch():
    taken = examples().take(np.arange(5_000))
    for at, size in enumerate(SIZES.values()):
        read = taken["inputs"][taken["language"] == at, 0]
        epochs = len(read) // size
        assert epochs > 50
        by_epoch = read[: epochs * size].reshape(epochs, size)
        assert np.array_equal(np.sort(by_epoch, axis=1), np.tile(np.sort(by_epoch[0]), (epochs, 1)))
        assert len({tuple(order) for order in by_epoch.tolist()}) > 1  # permuted anew
    assert np.mean(taken["language"] == 0) == pytest.approx(0.2, abs=0.01)


def test_a_row_depends_on_its_index_only():
    whole = examples().take(np.arange(300))
    some = np.array([299, 7, 41])
    for name, rows in examples().take(some).items():
        np.testing.assert_array_equal(rows, whole[name][some])
    assert not np.array_equal(whole["inputs"], examples(seed=4).take(np.arange(300))["inputs"])


def test_inputs_and_targets_belong_together_and_are_padded():
    taken = examples().take(np.arange(50))
    np.testing.assert_array_equal(taken["inputs"][:, 0], taken["targets"][:, 0])
    assert np.all(taken["inputs"][:, 2:] == PADDING)
    assert np.all(taken["targets"][:, 1:] == PADDING)


class Counting:
    """Pretraining whose example i holds i, with shorter targets than the tasks'."""

    first_sentinel = 99_999

    def take(self, indices):
        inputs = np.repeat(np.asarray(indices, np.int32)[:, None] + 1, 4, axis=1)
        return {"inputs": inputs, "targets": inputs[:, :2], "language": inputs[:, 0]}


def test_pretraining_is_mixed_in_by_its_share_and_in_its_own_order():
    mixed = examples(share=0.1)
    object.__setattr__(mixed, "pretraining", Counting())
    taken = mixed.take(np.arange(10_000))
    rows = taken["inputs"][taken["language"] == len(SIZES)]
    np.testing.assert_array_equal(rows[:, 0], np.arange(1, len(rows) + 1))
    assert len(rows) == pytest.approx(1_000, rel=0.1)
    assert np.all(taken["targets"][taken["language"] == len(SIZES)][:, 2] == PADDING)


def test_exposure_counts_epochs():
    found = examples().exposure(1_000)
    assert found["topics/sw"].epochs == pytest.approx(40, rel=0.01)
    assert found["topics/en"].examples == pytest.approx(800, rel=0.01)
    assert found["topics/en"].tokens_seen == pytest.approx(800 * 3, rel=0.01)


def test_exposure_counts_the_pretraining_that_is_mixed_in():
    class Languages:
        def exposure(self, count):
            return {"sw": Exposure(0.5, count // 2, count * 5, 2.0), "en": Exposure(0.5, 0, 0, 0.0)}

    mixed = examples(share=0.1)
    object.__setattr__(mixed, "pretraining", Languages())
    found = mixed.exposure(1_000)
    assert sum(one.weight for one in found.values()) == pytest.approx(1, rel=1e-3)
    assert found[PRETRAINING].examples == pytest.approx(100, rel=0.01)
    assert found[PRETRAINING].tokens_seen == pytest.approx(500, rel=0.01)
    assert found[PRETRAINING].epochs == pytest.approx(2)


def test_padding_fills_rows():
    rows = padded_rows([np.array([5, 6]), np.array([7])], 3)
    np.testing.assert_array_equal(rows, [[5, 6, 0], [7, 0, 0]])


def test_spans_of_pretraining_beside_tasks_have_no_sentinels():
    """Row by row, by a list."""
    first, rows = 400, np.random.default_rng(0).integers(2, 420, (50, 20)).astype(np.int32)
    rows[:, 17:] = (1, 0, 0)  # EOS and padding
    expected = [np.array([token for token in row if not 300 < token <= 400]) for row in rows]
    np.testing.assert_array_equal(without_sentinels(rows, first), padded_rows(expected, 20))
