"""Orders of languages and experts in the heat maps."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from routing_tables import sharing

from eval.charts import experts

LOADS = st.lists(st.integers(0, 50), min_size=4, max_size=4)


@given(st.dictionaries(st.sampled_from(["sw", "yo", "zh", "en", "fr"]), LOADS, min_size=1))
def test_shares_sum_to_one_and_orders_are_permutations(drawn):
    found = sharing(drawn)
    layer, order = found.layers[0], experts.by_similarity(found)
    used = layer.choices > 0
    np.testing.assert_allclose(layer.load_share.sum(axis=1), used)
    assert ((layer.distance >= 0) & (layer.distance <= 1)).all()
    assert sorted(order) == list(range(len(drawn)))
    assert sorted(experts.experts_along(layer, order)) == [0, 1, 2, 3]


def test_languages_that_share_experts_are_neighbours_and_form_blocks():
    found = sharing({"en": [9, 0], "fr": [0, 9], "sw": [9, 1], "yo": [1, 9]})
    names = [found.languages[at] for at in experts.by_similarity(found)]
    assert {frozenset(names[:2]), frozenset(names[2:])} == {
        frozenset({"en", "sw"}),
        frozenset({"fr", "yo"}),
    }
    shown = experts.shares(found)
    shares = np.array(shown["layers"][0]["shares"])
    assert shares[:2, 0].min() > 0.8  # a block along the diagonal
    assert shares[2:, 1].min() > 0.8
