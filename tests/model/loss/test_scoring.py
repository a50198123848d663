"""Scores in parts are the scores of the batch at once."""

from dataclasses import replace

import equinox as eqx
import jax
import pytest
from small_networks import ROWS, SOURCE, SWITCH, TARGET, assert_close, batch, config, drawn, mesh_of

from model.batch import Call
from model.config import MeshShape
from model.loss import scoring
from model.loss.scoring import part_count, score
from model.sharding.layouts import batch_sharding, parameter_shardings


@pytest.mark.parametrize("kind", ["dense", "switch"])
@pytest.mark.parametrize(
    "shape",
    [pytest.param(MeshShape(), marks=pytest.mark.slow), MeshShape(data=2, expert=2)],
    ids=str,
)
def test_scores_do_not_depend_on_the_parts(kind, shape, monkeypatch):
    """Parts of two rows on one device or of one row on each of four."""
    arrays, static = eqx.partition(drawn(config(kind)), eqx.is_array)
    mesh = mesh_of(shape)
    call = Call(mesh)
    arrays = jax.device_put(arrays, parameter_shardings(arrays, mesh))
    rows = jax.device_put(batch(), batch_sharding(mesh))

    def scores(least):
        monkeypatch.setattr(scoring, "LEAST_TOKENS", least)
        run = jax.jit(
            lambda arrays, rows: score(eqx.combine(arrays, static), rows, call, languages=3)
        )
        return run.lower(arrays, rows).as_text().count("stablehlo.while"), run(arrays, rows)

    least = 2 * SOURCE if shape == MeshShape() else SOURCE
    (loops, whole), (more, parts) = scores(ROWS * SOURCE), scores(least)
    assert more > loops
    assert_close(whole, parts, rtol=5e-6)  # a part of another size is summed in another order


def test_parts_are_whole_groups_and_no_larger_than_a_microbatch():
    """Groups are one row here. 8,192 inputs are the least, unless a microbatch has fewer."""
    dense, switch = config("dense"), config("switch")
    assert part_count(dense, 1024, 1024, 229, 1) == 128
    assert part_count(dense, 12, 1024, 229, 1) == 1  # 6 rows are too few
    assert part_count(dense, 24, 1024, 229, 1) == 3
    assert part_count(dense, ROWS, SOURCE, TARGET, 1) == 1
    assert part_count(switch, ROWS, SOURCE, TARGET, 4) == 4
    pairs = replace(switch, switch=replace(SWITCH, decoder_group_tokens=2 * TARGET))
    assert part_count(pairs, ROWS, SOURCE, TARGET, 4) == 4
    assert part_count(pairs, ROWS, SOURCE, TARGET, 8) == 4
    pools = replace(switch, switch=replace(SWITCH, encoder_pooled_groups=2))
    assert part_count(pools, ROWS, SOURCE, TARGET, 8) == 4
    assert part_count(pools, 1, SOURCE, TARGET, 1) == 1  # a pool on several devices


def test_without_capacity_groups_do_not_bound_parts(monkeypatch):
    """A group is the batch here, so parts of a row are scored only where rows share nothing."""
    network = drawn(config("switch"))
    whole = {"encoder_group_tokens": ROWS * SOURCE, "decoder_group_tokens": ROWS * TARGET}
    call = Call(mesh_of(MeshShape()))
    monkeypatch.setattr(scoring, "LEAST_TOKENS", SOURCE)

    def loops_and_scores(dispatch, **groups):
        switch = replace(SWITCH, dispatch=dispatch, **groups)
        arrays, static = eqx.partition(with_switch(network, switch), eqx.is_array)
        run = jax.jit(
            lambda arrays, rows: score(eqx.combine(arrays, static), rows, call, languages=3)
        )
        lowered = run.lower(arrays, batch())
        return lowered.as_text().count("stablehlo.while"), run(arrays, batch())

    at_once, _ = loops_and_scores(SWITCH.dispatch, **whole)
    loops, scores = loops_and_scores("dropless", **whole)
    of_rows, expected = loops_and_scores("dropless")
    assert loops == of_rows > at_once
    assert_close(scores, expected, rtol=5e-6)


def with_switch(model, switch):
    return replace(
        model,
        encoder=replace(model.encoder, switch=switch),
        decoder=replace(model.decoder, switch=switch),
        config=replace(model.config, switch=switch),
    )
