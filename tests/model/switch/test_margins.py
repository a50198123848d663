"""Counted margins and their quantiles against loops and sorted numbers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.switch.margins import BINS, SIDE, WIDTH, counted_margins, margin_quantile

GROUPS, TOKENS, EXPERTS, TOP_K = 3, 50, 6, 2
REACH = SIDE * WIDTH


@pytest.fixture
def drawn():
    """Scores, chosen experts, and which tokens are real; some margins are beyond the reach."""
    draw = np.random.default_rng(0)
    scores = draw.normal(scale=3, size=(GROUPS, TOKENS, EXPERTS)).astype(np.float32)
    index = np.argsort(-scores, axis=-1)[..., :TOP_K]
    return tuple(jnp.asarray(one) for one in (scores, index, draw.random((GROUPS, TOKENS)) < 0.8))


def margins_of(scores, is_token):
    """The margins of real tokens, per expert, one at a time."""
    found = [[] for _ in range(EXPERTS)]
    tokens = np.asarray(scores).reshape(-1, EXPERTS).tolist()
    for token, real in zip(tokens, np.ravel(is_token), strict=True):
        if real:
            next_best = sorted(token, reverse=True)[TOP_K]
            for expert, score in enumerate(token):
                found[expert].append(score - next_best)
    return found


def test_margins_are_counted_as_by_loops(drawn):
    scores, _, is_token = drawn
    expected = np.zeros((EXPERTS, BINS), int)
    for expert, margins in enumerate(margins_of(scores, is_token)):
        for margin in margins:
            at = math.floor(margin / WIDTH)
            at = SIDE if margin == 0 else SIDE + 1 + at if margin > 0 else SIDE + at
            expected[expert, min(max(at, 0), BINS - 1)] += 1
    np.testing.assert_array_equal(jax.jit(counted_margins)(*drawn), expected)


def test_counts_of_parts_add_up(drawn):
    parts = [counted_margins(*(one[group : group + 1] for one in drawn)) for group in range(GROUPS)]
    np.testing.assert_array_equal(sum(parts), counted_margins(*drawn))


@pytest.mark.parametrize("share", [1 / 3, 0.1, 0.9])
def test_a_share_exceeds_its_margin_to_the_width_of_a_bin(drawn, share):
    scores, index, is_token = drawn
    found = margin_quantile(share, counted_margins(scores, index, is_token))
    for expert, margins in enumerate(margins_of(scores, is_token)):
        inside = np.clip(np.sort(margins), -REACH, REACH)
        count = (1 - share) * len(inside)
        between = inside[math.ceil(count) - 1], inside[min(math.ceil(count), len(inside) - 1)]
        assert between[0] - WIDTH <= found[expert] <= between[1] + WIDTH


def test_without_tokens_all_experts_are_alike():
    nothing = margin_quantile(0.25, jnp.zeros((4, BINS), jnp.int32))
    np.testing.assert_array_equal(nothing, np.full(4, -REACH))
