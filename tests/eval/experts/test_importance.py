"""The worth of experts to languages, against loops over a routing file's rows."""

import math

import numpy as np
import pyarrow as pa
import pytest

from data.errors import DataError
from eval.experts.importance import expert_use
from eval.experts.sharing import WRITTEN
from eval.experts.usage import Usage, columns, switch_layers

CODES = ["en", "sw", "yo"]
NETWORK = (switch_layers(2, every=2), 5, "file")


@pytest.fixture
def usage():
    draw = np.random.default_rng(0)
    load = draw.integers(1, 9, (4, 3, 5))
    tokens = load.sum(axis=-1)
    return Usage(load, 0 * tokens, 0.5 * tokens, tokens, load * draw.random(load.shape))


def table(usage):
    return pa.Table.from_pydict(columns(usage, CODES, every=2), WRITTEN)


def test_each_language_weighs_the_same_whatever_its_tokens(usage):
    found = expert_use(table(usage), ["sw", "yo"], *NETWORK)
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
        expert_use(table(usage), ["sw", "en", "xh"], *NETWORK)
    with pytest.raises(DataError, match="experts of sw were asked for, and file has no"):
        expert_use(table(usage).slice(0, 0), ["sw"], *NETWORK)


def test_layers_in_another_order_are_the_same_use(usage):
    rows = table(usage).sort_by([("language", "descending"), ("layer", "descending")])
    for found, expected in zip(
        *(expert_use(part, ["sw", "yo"], *NETWORK) for part in (rows, table(usage))), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda row: {"gate": row["gate"][:4]}, "in gate for each of the run's 5 experts"),
        (lambda row: {"gate": [*row["gate"], 0.5]}, "in gate for each of the run's 5 experts"),
        (lambda row: {"gate": None}, "in gate for each"),
        (lambda row: {"gate": [math.nan, *row["gate"][1:]]}, "in gate for each"),
        (lambda row: {"gate": [math.inf, *row["gate"][1:]]}, "in gate for each"),
        (lambda row: {"gate": [None, *row["gate"][1:]]}, "in gate for each"),
        (lambda row: {"load": row["load"][:4]}, "in load for each of the run's 5 experts"),
        (lambda row: {"load": [-1, *row["load"][1:]]}, "in load for each"),
        (lambda row: {"layer": row["layer"] + 1}, "the 4 switch layers of the run's network"),
        (lambda row: {"stack": "third"}, "the 4 switch layers of the run's network"),
    ],
)
@pytest.mark.parametrize("changed", [["sw"], CODES])
def test_the_routing_of_another_network_is_one_sentence(usage, change, sentence, changed):
    rows = table(usage).to_pylist()
    rows = [row | (change(row) if row["language"] in changed else {}) for row in rows]
    of_another = pa.Table.from_pylist(rows, WRITTEN)
    with pytest.raises(DataError, match=f"file should have .*{sentence}.*; evaluate"):
        expert_use(of_another, ["sw", "yo"], *NETWORK)
