"""The worth of experts to languages, against loops over a routing file's rows."""

import numpy as np
import pyarrow as pa
import pytest

from data.errors import DataError
from eval.experts.importance import expert_use
from eval.experts.sharing import WRITTEN
from eval.experts.usage import Usage, columns

CODES = ["en", "sw", "yo"]


@pytest.fixture
def usage():
    draw = np.random.default_rng(0)
    load = draw.integers(1, 9, (4, 3, 5))
    tokens = load.sum(axis=-1)
    return Usage(load, 0 * tokens, 0.5 * tokens, tokens, load * draw.random(load.shape))


def table(usage):
    return pa.Table.from_pydict(columns(usage, CODES, every=2), WRITTEN)


def test_each_language_weighs_the_same_whatever_its_tokens(usage):
    found = expert_use(table(usage), ["sw", "yo"], "file")
    for layer in range(4):
        for expert in range(5):
            for name in ("load", "gate"):
                shares = [
                    getattr(usage, name)[layer, at, expert] / usage.tokens[layer, at]
                    for at in (1, 2)
                ]
                assert getattr(found, name)[layer, expert] == pytest.approx(sum(shares) / 2)
    assert found.load.sum(axis=1) == pytest.approx(np.ones(4))  # top-1


def test_languages_without_tokens_are_refused(usage):
    usage.tokens[:, 1] = 0
    with pytest.raises(DataError, match="experts of sw, xh were asked for, and file has no"):
        expert_use(table(usage), ["sw", "en", "xh"], "file")
