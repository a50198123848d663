"""Probes on inputs to count by hand, and on a network that attends everywhere alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import drawn, mesh_of

from experiments import probes
from model.batch import Batch, Call
from model.config import MeshShape, ModelConfig

SENTINEL = 127  # <extra_id_0>; the next ones are the ids below it
BATCH = Batch(
    inputs=jnp.array([[10, 127, 11, 12, 13, 14, 126, 1], [20, 21, 127, 22, 23, 126, 24, 1]]),
    targets=jnp.array([[127, 5, 6, 126, 7], [127, 8, 126, 9, 3]]),
    language=jnp.zeros(2, jnp.int32),
)
CONFIG = ModelConfig(
    vocabulary_rows=128, embed=8, heads=2, head=4, mlp=8, layers=2, activation_dtype="float32"
)


def test_each_token_belongs_to_the_gap_of_the_sentinel_before_it():
    gaps = probes.gaps_of(BATCH, SENTINEL)
    assert gaps.within.tolist() == [[0, 1, 1, 0, 1], [0, 1, 0, 1, 1]]
    assert (gaps.within & gaps.first).tolist() == [[0, 1, 0, 0, 1], [0, 1, 0, 1, 0]]
    assert gaps.place.tolist() == [[1, 1, 1, 6, 6], [2, 2, 5, 5, 5]]


def test_sentinels_change_places_and_come_back():
    changed = probes.exchanged(BATCH.inputs, SENTINEL)
    assert changed[0].tolist() == [10, 126, 11, 12, 13, 14, 127, 1]
    np.testing.assert_array_equal(probes.exchanged(changed, SENTINEL), BATCH.inputs)


def test_near_and_far_text_are_all_text():
    changed = probes.changed_inputs(BATCH, SENTINEL)
    near, far, all_of_it = (
        np.asarray(changed[name] != BATCH.inputs) for name in ("no_near", "no_far", "other_row")
    )
    assert near[0].tolist() == [1, 0, 0, 1, 1, 0, 0, 0]  # where the other row has a sentinel, none
    assert far.sum() == 0
    np.testing.assert_array_equal(near | far, all_of_it)


@pytest.mark.slow
def test_a_network_of_zeros_attends_everywhere_alike():
    model = jax.tree.map(jnp.zeros_like, drawn(CONFIG))
    call = Call(mesh_of(MeshShape()))
    found = probes.attention_of(model, BATCH, probes.gaps_of(BATCH, SENTINEL), call)
    assert found["at_gap"] == pytest.approx(3 / 8)
    assert found["beside"] == pytest.approx((6 * 2 + 2 * 1) / 8 / 8)
    places = [1, 2, 4, 1, 3, 4]  # of tokens of gaps, which attend to one more position than that
    assert found["before"] == pytest.approx(np.mean([1 / (place + 1) for place in places]))


@pytest.mark.slow
def test_a_network_of_zeros_needs_no_inputs():
    model = jax.tree.map(jnp.zeros_like, drawn(CONFIG))
    found = probes.probes_of(lambda _: model, Call(mesh_of(MeshShape())), SENTINEL)((), BATCH)
    assert found["loss"] == pytest.approx(np.log(128), rel=1e-6)
    assert found["other_row"] == found["other_gap"] == 0
