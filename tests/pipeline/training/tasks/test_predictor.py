"""Loads of experts by language, against a count of the router's choices token by token."""

from collections import Counter

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import ROWS, SOURCE, TARGET, config, drawn, mesh_of

from model.batch import Batch, Call
from model.decoding.generation import never_dropping
from pipeline.training.tasks.predictor import row_routing, usage_columns

LANGUAGES = ["sw", "en", "sw", "yo", "en", "sw", "yo", "en", "sw", "yo", "en"]


@pytest.fixture(scope="module")
def model():
    """A network with decided routers, so that capacity would drop many tokens."""
    network = drawn(config("switch"))
    return eqx.tree_at(
        lambda m: [stack.blocks[0].feed_forward.router for stack in (m.encoder, m.decoder)],
        network,
        replace_fn=lambda router: 5 * router,
    )


@pytest.fixture(scope="module")
def rows():
    """Inputs and targets of two batches, of which the last rows are padding."""
    drawn_ids = np.random.default_rng(3).integers(2, 100, (2 * ROWS, SOURCE + TARGET))
    drawn_ids[:, [SOURCE - 3, SOURCE - 2, SOURCE - 1, -1]] = 0
    drawn_ids[len(LANGUAGES) :] = 0
    return np.split(drawn_ids.astype(np.int32), [SOURCE], axis=1)


def test_loads_are_the_choices_of_the_router_and_shares_sum_to_one(model, rows):
    program = jax.jit(lambda inputs, targets: row_routing(model, inputs, targets, mesh_of()))
    halves = [slice(0, ROWS), slice(ROWS, 2 * ROWS)]
    outputs = (jax.device_get(program(rows[0][half], rows[1][half])) for half in halves)
    found = usage_columns(outputs, LANGUAGES, every=1)
    assert list(zip(found["stack"], found["layer"], found["language"], strict=True)) == [
        (stack, 1, code) for stack in ("encoder", "decoder") for code in ("en", "sw", "yo")
    ]
    expected = counted(model, *rows)
    for at, place in enumerate(zip(found["stack"], found["language"], strict=True)):
        load = found["load"][at]
        assert load == [expected[*place, expert] for expert in range(8)], place
        assert sum(load) == found["tokens"][at] == found["choices"][at]
        assert found["dropped"][at] == 0


def counted(model, inputs, targets) -> Counter:
    """Counts tokens by stack, language and expert, one example after the other."""
    alone = never_dropping(model, SOURCE, TARGET)
    run = jax.jit(lambda x, y: alone(Batch(x, y, jnp.zeros(ROWS, jnp.int32)), Call(mesh_of())))
    found = Counter()
    for row, code in enumerate(LANGUAGES):
        ids = inputs[row], targets[row]
        output = run(*(np.tile(part, (ROWS, 1)) for part in ids))
        stacks = output.encoder_routing, output.decoder_routing
        for name, routing, tokens in zip(("encoder", "decoder"), stacks, ids, strict=True):
            for token, choice in zip(tokens, np.asarray(routing.expert_index)[0, 0], strict=True):
                if token:
                    found[name, code, int(choice[0])] += 1
    return found
