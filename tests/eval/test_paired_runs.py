import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.paired_runs import exact_tests, paired_error
from eval.statistics import Contributions, standard_error

LOSSES = st.lists(st.integers(-50, 50), min_size=2, max_size=5)


def slow_p_of_sides(baseline: np.ndarray, candidate: np.ndarray) -> float:
    """Counts divisions one by one; of two tails the smaller one counts twice."""
    runs = np.concatenate([baseline, candidate])
    seen = baseline.mean() - candidate.mean()
    found = []
    for chosen in itertools.combinations(range(runs.size), baseline.size):
        is_first = np.isin(np.arange(runs.size), chosen)
        found.append(runs[is_first].mean() - runs[~is_first].mean())
    above, below = (
        np.mean([sign * one >= sign * seen - 1e-9 for one in found]) for sign in (1, -1)
    )
    return min(1.0, 2 * min(above, below))


@given(LOSSES, LOSSES)
def test_the_test_of_sides_counts_every_division(baseline, candidate):
    first, second = np.array(baseline, float), np.array(candidate, float)
    of_sides, of_signs = exact_tests(first, second, paired=False)
    assert of_sides == pytest.approx(slow_p_of_sides(first, second))
    assert of_signs is None


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=6))
def test_the_test_of_signs_counts_every_exchange_within_pairs(differences):
    seen = np.array(differences, float)
    means = [(seen * signs).mean() for signs in itertools.product((1.0, -1.0), repeat=seen.size)]
    above, below = (
        np.mean([sign * one >= sign * seen.mean() - 1e-9 for one in means]) for sign in (1, -1)
    )
    _, of_signs = exact_tests(seen + 3.0, np.full(seen.size, 3.0), paired=True)
    assert of_signs == pytest.approx(min(1.0, 2 * min(above, below)))


def test_six_against_six_can_reach_two_in_924_and_six_pairs_two_in_64():
    tested = exact_tests(np.arange(6) + 10.0, np.arange(6.0), paired=True)
    assert tested == pytest.approx((2 / 924, 2 / 64))


def test_a_single_run_has_no_exact_test():
    assert exact_tests(np.array([1.0]), np.array([2.0]), paired=True) == (None, None)


def test_more_exchanges_than_can_be_counted_are_not_drawn():
    assert exact_tests(np.arange(20.0), np.arange(20.0) ** 2, paired=True) == (None, None)


def sides(generator: np.random.Generator, *, shared: float) -> tuple[Contributions, Contributions]:
    """Two sides of six runs on 40 pages of 4 languages, with a seed's effect on both."""
    languages = np.repeat(np.arange(4), 10)
    shares = np.full(40, 0.1)
    seeds = shared * generator.normal(size=(6, 1))
    drawn = []
    for sign in (1.0, -1.0):
        values = seeds + generator.normal(scale=0.1, size=(6, 40))
        means = np.stack([values[:, languages == code].mean() for code in range(4)])
        drawn.append(Contributions(sign * (values - means[languages]) / 40, shares, languages))
    return drawn[0], drawn[1]


def test_what_a_seed_does_to_both_sides_leaves_the_paired_interval_alone():
    """It is as if the seed's effect had not been; the unpaired variance grows with it."""
    alone, both = (sides(np.random.default_rng(1), shared=shared) for shared in (0.0, 5.0))
    errors = [paired_error(*pair) for pair in (alone, both)]
    assert errors[0] is not None
    assert errors[1] is not None
    assert errors[1].variance == pytest.approx(errors[0].variance, rel=1e-9)
    unpaired = standard_error(list(both))
    assert unpaired is not None
    assert unpaired.variance > 20 * errors[1].variance


@pytest.mark.simulation
@pytest.mark.parametrize("runs", [3, 6])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_paired_intervals_cover(correlation, runs):
    """95% intervals of three or six pairs cover in 93 to 98 % of draws, whatever pairs share."""
    generator, covered = np.random.default_rng(7), 0
    draws, pages, languages = 2_000, 12, 5
    of_page = np.repeat(np.arange(languages), pages)
    shares = np.full(of_page.size, 1 / pages)
    for _ in range(draws):
        shared = generator.normal(size=(runs, 1))
        page_effects = generator.normal(scale=0.5, size=of_page.size)
        both = []
        for _ in range(2):
            own = generator.normal(size=(runs, 1))
            seeds = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
            both.append(0.1 * seeds + generator.normal(scale=0.1, size=(runs, of_page.size)))
        both[0] += page_effects
        contributions = []
        for sign, values in zip((1.0, -1.0), both, strict=True):
            means = np.array([values[:, of_page == code].mean() for code in range(languages)])
            scaled = (values - means[of_page]) * shares / languages
            contributions.append(Contributions(sign * scaled, shares, of_page))
        error = paired_error(*contributions)
        assert error is not None
        gain = both[0].mean() - both[1].mean()
        covered += abs(gain) <= error.half_width  # the true gain is 0
    assert 0.93 <= covered / draws <= 0.98, covered / draws
