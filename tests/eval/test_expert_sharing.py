"""Shares, distances and orders of a routing file, against numbers counted by hand."""

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from eval import expert_sharing
from eval.charts import expert

LOADS = {"sw": [8, 0], "yo": [6, 2], "zh": [0, 8]}


def table(loads=LOADS, stacks=("encoder", "decoder")):
    rows = [
        {
            "stack": stack,
            "layer": 2,
            "language": code,
            "tokens": sum(load),
            "choices": sum(load),
            "dropped": load[0] // 2,
            "entropy_nats": 0.5 * sum(load),
            "load": load,
        }
        for stack in stacks
        for code, load in loads.items()
    ]
    return pa.Table.from_pylist(rows)


def sharing(loads=LOADS):
    return expert_sharing.from_table(table(loads), run="Switch, seed 0", step=7, origin="here")


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
    use = expert_sharing.by_stack(sharing())["decoder"]["yo"]
    assert (use.tokens, use.entropy_nats, use.dropped_share) == (8, 0.5, 3 / 8)


loads = st.lists(st.integers(0, 50), min_size=4, max_size=4)


@given(st.dictionaries(st.sampled_from(["sw", "yo", "zh", "en", "fr"]), loads, min_size=1))
def test_shares_are_shares_and_orders_lose_nobody(drawn):
    found = sharing(drawn)
    layer, order = found.layers[0], expert_sharing.by_similarity(found)
    asked = layer.choices > 0
    np.testing.assert_allclose(layer.load_share.sum(axis=1), asked)
    assert ((layer.distance >= 0) & (layer.distance <= 1)).all()
    assert sorted(order) == list(range(len(drawn)))
    assert sorted(expert_sharing.experts_along(layer, order)) == [0, 1, 2, 3]


def test_users_of_the_same_experts_are_neighbours_and_experts_stand_by_them():
    found = sharing({"en": [9, 0], "fr": [0, 9], "sw": [9, 1], "yo": [1, 9]})
    names = [found.languages[at] for at in expert_sharing.by_similarity(found)]
    assert {frozenset(names[:2]), frozenset(names[2:])} == {
        frozenset({"en", "sw"}),
        frozenset({"fr", "yo"}),
    }
    shown = expert.shares(found)
    shares = np.array(shown["layers"][0]["shares"])
    assert shares[:2, 0].min() > 0.8  # a block along the diagonal
    assert shares[2:, 1].min() > 0.8


def test_json_has_every_share():
    read = json.loads(json.dumps(expert_sharing.to_json(sharing()), allow_nan=False))
    assert (read["run"], read["step"]) == ("Switch, seed 0", 7)
    assert read["layers"][1]["languages"]["yo"] == {
        "tokens": 8,
        "load_share": [0.75, 0.25],
        "dropped_share": 0.375,
        "entropy_nats": 0.5,
        "distance_from_all_languages": pytest.approx(2 / 12),
    }


def test_unusable_files_are_refused_with_a_sentence():
    whole = table()
    with pytest.raises(DataError, match="lacks the columns load"):
        expert_sharing.from_table(whole.drop(["load"]), run="", step=0, origin="here")
    with pytest.raises(DataError, match="says nothing of zh in the decoder's layer 2"):
        expert_sharing.from_table(whole.slice(0, 5), run="", step=0, origin="here")
