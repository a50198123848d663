"""Faults of routers, and none in chance."""

import numpy as np
import pytest

from pipeline.training.log.router_faults import LEAST_EVEN, WINDOW, RoutingWindow, router_faults

LAYERS = ("encoder layer 1", "decoder layer 3")
STEPS, EXPERTS, TOKENS = WINDOW, 16, 1_600


@pytest.fixture
def healthy():
    """Uneven loads of two layers: one expert at a tenth of an even load, one at twice as much."""
    shares = np.full(EXPERTS, (EXPERTS - 2.1) / (EXPERTS - 2))
    shares[3], shares[5] = 0.1, 2.0
    random = np.random.default_rng(0)
    load = random.multinomial(TOKENS, shares / EXPERTS, size=(STEPS, len(LAYERS)))
    moves = random.uniform(1e-9, 1e-3, size=(STEPS, len(LAYERS)))
    return RoutingWindow(load, moves, np.ones(STEPS, bool))


def test_uneven_loads_are_no_fault(healthy):
    assert router_faults(healthy, LAYERS) == []


def test_a_dead_expert_is_named_with_its_layer(healthy):
    healthy.load[:, 1, 7] = 0
    healthy.load[-1, 1, 7] = 2  # not quite dead: 2 of 5,000
    (fault,) = router_faults(healthy, LAYERS)
    assert fault == ("decoder layer 3", "dead experts", (7,))
    expected = "decoder layer 3: below 0.2% of an even load in 50 steps: expert 7"
    assert fault.sentence() == expected


def test_too_few_tokens_are_no_evidence_of_death(healthy):
    few = healthy.load * LEAST_EVEN // (TOKENS * STEPS // EXPERTS) // 2
    few[:, 1, 7] = 0
    assert router_faults(healthy._replace(load=few), LAYERS) == []


def test_one_expert_for_all_is_one_fault(healthy):
    healthy.load[:, 0] = 1
    healthy.load[:, 0, 11] = TOKENS
    assert router_faults(healthy, LAYERS) == [("encoder layer 1", "one expert for all", (11,))]


def test_a_router_that_does_not_move_is_frozen_if_updates_were_made(healthy):
    healthy.moves[:, 1] = 0
    assert router_faults(healthy, LAYERS) == [("decoder layer 3", "frozen router", ())]
    healthy.updated[:] = False  # at a rate of 0, or skipped
    assert router_faults(healthy, LAYERS) == []
    healthy.updated[:] = True
    healthy.moves[-1, 1] = 1e-12
    assert router_faults(healthy, LAYERS) == []


def test_weights_that_are_no_numbers_are_named_at_once(healthy):
    first = RoutingWindow(*(part[:1] for part in healthy))
    first.moves[0, 0] = np.nan
    assert router_faults(first, LAYERS) == [("encoder layer 1", "nan router", ())]


def test_half_a_window_tells_nothing_else(healthy):
    healthy.load[:, 0, 7] = 0
    half = RoutingWindow(*(part[: STEPS // 2] for part in healthy))
    assert router_faults(half, LAYERS) == []
