"""Shares and distances of a routing file, against numbers counted by hand."""

import json
import math

import numpy as np
import pytest
from routing_tables import routing_table, sharing

from data.errors import DataError
from eval.experts import rows as expert_json
from eval.experts import sharing as expert_sharing


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
        expert_sharing.from_table(other, run="", step=0, origin="here")
    with pytest.raises(DataError, match="lacks zh in layer 2 of the decoder"):
        expert_sharing.from_table(whole.slice(0, 5), run="", step=0, origin="here")
