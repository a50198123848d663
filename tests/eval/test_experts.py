"""Sums of expert use per language, against numpy on the rows.

Shares and distances of a routing file, against numbers counted by hand.

The worth of experts to languages, against loops over a routing file's rows.
"""

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from routing_tables import routing_table, sharing

from data.errors import DataError
from eval import experts
from eval.experts import (
    WRITTEN,
    Usage,
    add_usage,
    expert_use,
    routing_columns,
    share_dropped,
    shares,
    switch_layers,
    usage_by_language,
)
from eval.report import data as expert_json


def rows(seed):
    """Two layers, five rows, three experts."""
    generator = np.random.default_rng(seed)
    load = generator.integers(0, 9, (2, 5, 3))
    dropped = generator.integers(0, 2, (2, 5))
    return load, dropped, generator.random((2, 5)), load.sum(axis=-1), 0.5 * load


LANGUAGE = np.array([1, 0, -1, 1, 0])


def test_a_languages_sums_are_its_rows():
    given = rows(0)
    usage = usage_by_language(given, LANGUAGE, 3)
    for part, summed in zip(given, usage, strict=True):
        np.testing.assert_allclose(summed[:, 0], part[:, 1] + part[:, 4])
        np.testing.assert_allclose(summed[:, 1], part[:, 0] + part[:, 3])
        assert not summed[:, 2].any()


def test_batches_add_up():
    one, two = (usage_by_language(rows(seed), LANGUAGE, 2) for seed in (0, 1))
    both = add_usage(add_usage(None, one), two)
    np.testing.assert_array_equal(both.load, one.load + two.load)
    np.testing.assert_allclose(both.entropy_nats, one.entropy_nats + two.entropy_nats)


def test_shares_are_of_choices():
    usage = usage_by_language(rows(0), LANGUAGE, 3)
    np.testing.assert_allclose(shares(usage.load)[:, :2].sum(axis=-1), 1)
    assert not shares(usage.load)[:, 2].any()
    assert share_dropped(usage.load, usage.dropped)[0, 0] == pytest.approx(
        usage.dropped[0, 0] / usage.load[0, 0].sum()
    )


def test_one_row_per_layer_and_language():
    usage = usage_by_language(rows(0), LANGUAGE, 2)
    table = routing_columns(usage, ["sw", "yo"], every=2)
    assert table["stack"] == ["encoder", "encoder", "decoder", "decoder"]
    assert table["layer"] == [2, 2, 2, 2]
    assert table["language"] == ["sw", "yo"] * 2
    assert table["load"][1] == usage.load[0, 1].tolist()
    assert table["gate"][1] == (0.5 * usage.load[0, 1]).tolist()
    assert table["choices"] == table["tokens"]  # top-1


def test_hand_counted():
    found = sharing()
    assert found.languages == ("sw", "yo", "zh")
    assert [layer.name for layer in found.layers] == ["encoder, layer 2", "decoder, layer 2"]
    layer = found.layers[0]
    np.testing.assert_allclose(layer.load_share, [[1, 0], [0.75, 0.25], [0, 1]])
    np.testing.assert_allclose(layer.load_of_all, [14 / 24, 10 / 24])
    np.testing.assert_allclose(layer.dropped_share, [4 / 8, 3 / 8, 0])
    assert layer.dropped_of_all == pytest.approx(7 / 24)
    assert (layer.entropy_of_all, layer.most_entropy_nats) == (0.5, pytest.approx(math.log(2)))
    # All languages together, each counted once, are 7/12 and 5/12.
    np.testing.assert_allclose(layer.distance, [5 / 12, 2 / 12, 7 / 12])


def test_a_stack_is_its_layers_together():
    use = experts.by_stack(sharing())["decoder"]["yo"]
    assert (use.tokens, use.entropy_nats, use.dropped_share) == (8, 0.5, 3 / 8)


def test_json_has_every_share():
    read = json.loads(json.dumps(expert_json.experts_to_json(sharing()), allow_nan=False))
    assert (read["run"], read["step"]) == ("Switch, seed 0", 7)
    assert read["layers"][1]["languages"]["yo"] == {
        "tokens": 8,
        "load_share": [0.75, 0.25],
        "dropped_share": 0.375,
        "entropy_nats": 0.5,
        "distance_from_all_languages": pytest.approx(2 / 12),
    }


def test_unusable_files_are_refused_with_a_sentence():
    whole = routing_table()
    uneven = [*whole["load"].to_pylist()[1:], [1]]
    other = whole.set_column(whole.column_names.index("load"), "load", [uneven])
    with pytest.raises(DataError, match="one load per expert"):
        experts.expert_sharing(other, run="", step=0, origin="here")
    with pytest.raises(DataError, match="lacks zh in layer 2 of the decoder"):
        experts.expert_sharing(whole.slice(0, 5), run="", step=0, origin="here")


CODES = ["en", "sw", "yo"]
NETWORK = (switch_layers(2, every=2), 5, "file")


@pytest.fixture
def usage():
    draw = np.random.default_rng(0)
    load = draw.integers(1, 9, (4, 3, 5))
    tokens = load.sum(axis=-1)
    return Usage(load, 0 * tokens, 0.5 * tokens, tokens, load * draw.random(load.shape))


def table(usage):
    return pa.Table.from_pydict(routing_columns(usage, CODES, every=2), WRITTEN)


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
