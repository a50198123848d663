"""Standard errors of estimates from held-out pages and runs, in closed form.

An estimate (a gain, a speed-up) is a smooth function of sums over pages. To first order it differs
from its true value by a sum of contributions, one per run and page. Three variances add up:

* pages: the linearised variance of a ratio in its jackknife form, (P − 1) ÷ P × Σ (c ÷ (1 − w))². A
  page of share w that is left out moves a loss by exactly c ÷ (1 − w), c being its contribution.
  Contributions are means over runs. Pages of all sides are the same, so they are paired.
* pages that say the same in several languages are one cluster. Their summands c ÷ (1 − w) are added
  up before they are squared, so that they count as one draw. Degrees of freedom are the number of
  clusters, less one for each group of languages that share clusters.
* runs of each side: the variance of its runs' sums ÷ its number of runs, minus the part that pages
  explain: the interaction of runs and pages, from the two-way analysis of variance. The first
  variance counts that part already. A side with one run has no such variance, so its interval is
  over pages only.

Degrees of freedom. The variances of both sides' runs are combined as by Satterthwaite (1946):
1 ÷ Σ share² ÷ freedom. For pages and runs together the exponent is 3/2. With 2, intervals cover
too little where the runs' variance, of one to three degrees of freedom, is as large as that of
pages: it often appears small by chance, and the degrees of freedom then appear to be those of
pages. Coverage: benchmarks/results/coverage.json. There is no random number here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from scipy import stats
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

CONFIDENCE_LEVEL = 0.95
TAIL = (1 - CONFIDENCE_LEVEL) / 2
EXPONENT = 3 / 2


@dataclass(frozen=True)
class Contributions:
    """One side's contributions to an estimate.

    Attributes:
        values: contribution per run and page; their sum over pages and mean over runs is 0.
        shares: share of a run's effect that a page carries; sums to 1 over the pages of a language.
        languages: number of each page's language, from 0 on.
        clusters: number of each page's cluster, from 0 on, where pages of several languages say
            the same; None where each page is a cluster of its own.
    """

    values: Float[np.ndarray, "runs pages"]
    shares: Float[np.ndarray, " pages"]
    languages: Int[np.ndarray, " pages"]
    clusters: Int[np.ndarray, " pages"] | None = None

    def times(self, factor: float) -> "Contributions":
        """Returns the contributions to a multiple of the estimate."""
        return replace(self, values=factor * self.values)


@dataclass(frozen=True)
class StandardError:
    """The standard error of an estimate.

    Attributes:
        variance: variance of the estimate.
        degrees_of_freedom: degrees of freedom of Student's t.
    """

    variance: float
    degrees_of_freedom: float

    @property
    def half_width(self) -> float:
        """Half the width of the confidence interval."""
        return self.quantile * self.variance**0.5

    @property
    def quantile(self) -> float:
        """Quantile of Student's t for the confidence level."""
        return float(stats.t.isf(TAIL, self.degrees_of_freedom))

    def p_value(self, estimate: float) -> float:
        """Returns the two-sided p-value of an estimate whose true value is 0."""
        if self.variance == 0:  # all pages and runs agree to the last bit
            return 1.0 if estimate == 0 else 0.0
        return float(2 * stats.t.sf(abs(estimate) / self.variance**0.5, self.degrees_of_freedom))


def standard_error(sides: Sequence[Contributions]) -> StandardError | None:
    """Returns the standard error of an estimate; None if a language has a single page.

    Args:
        sides: contributions of each side, on the same pages.
    """
    languages = sides[0].languages
    pages = np.bincount(languages)
    if pages.min(initial=2) < 2:
        return None
    of_pages = _variance_of_pages(sides)
    of_runs = [(_variance_of_runs(side), len(side.values) - 1.0) for side in sides]
    return combined(of_pages, _degrees_of_freedom(sides[0]), of_runs)


def combined(
    of_pages: float, freedom: float, of_runs: Sequence[tuple[float, float]]
) -> StandardError:
    """Returns the standard error from the variances of pages and of each side's runs.

    Args:
        of_pages: variance over pages.
        freedom: its degrees of freedom.
        of_runs: variance and degrees of freedom of each side's mean over runs.
    """
    parts = [part for part in of_runs if part[0] > 0]
    runs = sum(variance for variance, _ in parts)
    total = of_pages + runs
    if total == 0:
        return StandardError(0.0, freedom)
    inverse = (of_pages / total) ** EXPONENT / freedom
    if parts:
        inverse_of_runs = sum(variance**2 / free for variance, free in parts) / runs**2
        inverse += (runs / total) ** EXPONENT * inverse_of_runs
    return StandardError(total, 1 / inverse)


def _degrees_of_freedom(side: Contributions) -> float:
    """Returns the number of clusters, less one for each group of languages that share them."""
    if side.clusters is None:
        return float((np.bincount(side.languages) - 1).sum())
    pages, clusters = side.languages.size, np.unique(side.clusters).size
    offset = side.clusters.max() + 1
    edges = (np.ones(pages), (side.clusters, offset + side.languages))
    size = offset + side.languages.max() + 1
    groups = connected_components(coo_array(edges, shape=(size, size)), directed=False)[0]
    unused = offset - clusters  # numbers without a page are components of their own
    return float(clusters - (groups - unused))


def _variance_of_pages(sides: Sequence[Contributions]) -> float:
    """Returns the variance over pages of the mean over runs."""
    moved = [side.values.mean(axis=0) / (1 - side.shares) for side in sides]
    return _sum_of_squares(np.sum(moved, axis=0)[None], sides[0])


def _variance_of_runs(side: Contributions) -> float:
    """Returns the variance of the mean over runs without the interaction; 0 for one run."""
    runs = len(side.values)
    if runs == 1:
        return 0.0
    centred = side.values - side.values.mean(axis=0)
    effects = np.stack([np.bincount(side.languages, run) for run in centred])
    rest = centred - effects[:, side.languages] * side.shares
    interaction = _sum_of_squares(rest / (1 - side.shares), side) / (runs - 1)
    between = float(effects.sum(axis=1).var(ddof=1))
    return max(between - interaction, 0.0) / runs


def _sum_of_squares(rows: np.ndarray, side: Contributions) -> float:
    """Returns the sum of squares over clusters, (P − 1) ÷ P of each for a language of P pages."""
    pages = np.bincount(side.languages)
    factors = ((pages - 1) / pages)[side.languages]
    if side.clusters is None:
        return float((rows**2 * factors).sum())
    sums = [np.bincount(side.clusters, row * factors**0.5) for row in rows]
    return float(np.square(sums).sum())
