"""Degrees of freedom of a mean over languages, in which some have few pages."""

import numpy as np
import pytest

from eval.statistics.standard_error import Contributions, freedom_of_sum, standard_error


@pytest.mark.parametrize(
    ("pages", "coverage"), [((12, 12, 12), 0.952), ((5, 60, 60, 60), 0.943), ((3, 60, 60), 0.924)]
)
def test_a_language_of_few_pages_leaves_the_mean_its_coverage(pages, coverage):
    """With the sum of all degrees of freedom it was 0.952, 0.912 and 0.850 in 20,000 draws."""
    random, languages = np.random.default_rng(1), np.repeat(np.arange(len(pages)), pages)
    shares, draws = 1 / np.repeat(pages, pages), 3000
    covered = 0
    for values in random.normal(size=(draws, languages.size)):
        means = np.bincount(languages, values * shares)
        found = (values - means[languages]) * shares / len(pages)
        error = standard_error([Contributions(found[None], shares, languages)])
        covered += abs(means.mean()) <= error.half_width
    spread = (coverage * (1 - coverage) / draws) ** 0.5
    assert covered / draws == pytest.approx(coverage, abs=4 * spread)


def test_languages_that_share_clusters_are_one_group():
    """Each of these lists has the same pages; only who shares clusters with whom differs."""
    languages, shares = np.repeat(np.arange(3), 4), np.full(12, 0.25)
    values = np.random.default_rng(2).normal(size=(3, 4))
    values = (values - values.mean(axis=1, keepdims=True)).reshape(1, 12)

    def freedom(clusters):
        given = None if clusters is None else np.array(clusters)
        return standard_error([Contributions(values, shares, languages, given)]).degrees_of_freedom

    assert freedom([*range(4)] * 3) == pytest.approx(3)  # one group of four clusters
    assert freedom([*range(12)]) == pytest.approx(freedom(None))
    assert freedom(None) > 3
    spread = [*range(4), *range(4), 10, 11, 12, 13]  # the third language is apart
    both = [*range(4), *range(4), 10, 11, 12, 99]  # numbers without a page change nothing
    assert freedom(spread) == pytest.approx(freedom(both))
    assert 3 < freedom(spread) < 6 + 1e-9


def test_the_freedom_of_a_sum_lies_between_the_least_and_the_sum():
    assert freedom_of_sum(np.array([2.0, 2.0]), np.array([5.0, 5.0])) == pytest.approx(10)
    assert freedom_of_sum(np.array([2.0, 0.0]), np.array([5.0, 7.0])) == pytest.approx(5)
    assert freedom_of_sum(np.zeros(2), np.array([5.0, 7.0])) == 12  # nothing varies
