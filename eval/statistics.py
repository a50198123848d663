"""Statistics in closed form: intervals over held-out pages and runs, and many languages at once.

Gain is baseline minus candidate: positive means that the candidate is better. The loss of a side is
an amount (nats or bits) over a size (target tokens or hidden bytes), both summed over pages. There
is no random number here, so every interval and verdict can be recomputed.

Units of sampling. A unit is the held-out *page*, which was drawn from the web; tokens of one page
are not independent. Where a side has several runs, the run is a second unit. A page too short to
hide a token has no loss and is not counted. With one run per side the interval is over pages only.

Variances. An estimate (a gain, a speed-up) is a smooth function of sums over pages. To first order
it differs from its true value by a sum of contributions, one per run and page. Three variances add
up:

* pages: the linearised variance of a ratio in its jackknife form, (P − 1) ÷ P × Σ (c ÷ (1 − w))². A
  page of share w that is left out moves a loss by exactly c ÷ (1 − w), c being its contribution.
  Contributions are means over runs. Pages of all sides are the same, so they are paired.
* pages that say the same in several languages are one cluster. Their summands c ÷ (1 − w) are added
  up before they are squared, so that they count as one draw. Languages that share clusters,
  directly or through others, are one group; otherwise each language is a group of its own.
* runs of each side: the variance of its runs' sums ÷ its number of runs, minus the part that pages
  explain: the interaction of runs and pages, from the two-way analysis of variance. The first
  variance counts that part already. A side with one run has no such variance.

Degrees of freedom. The variance of each group of languages has the number of its clusters less one.
The groups, and both sides' runs, are combined as by Satterthwaite (1946): 1 ÷ Σ share² ÷ freedom. A
language with few pages has the greatest share and the least freedom. With the sum of all degrees of
freedom, intervals of a mean over languages of 2, 100 and 100 pages covered 0.75, and these 0.87; of
3, 60 and 60 pages 0.85 and 0.92. For pages and runs together the exponent is 3/2. With 2, intervals
cover too little where the runs' variance, of one to three degrees of freedom, is as large as that
of pages: it often appears small by chance, and the degrees of freedom then appear to be those of
pages. Coverage: benchmarks/results/coverage.json.

Many languages. The correction of Benjamini and Hochberg (1995) bounds the expected share of false
findings among those called "beyond noise" at 5%. A seed moves many languages together, so false
findings come in crowds.

Ratios. Reference: Fieller 1954, "Some problems in interval estimation". A ratio r is in the set
where numerator − r × denominator is no further from 0 than its own interval:

    (n − r d)² ≤ t² Var(n − r d)

This is a quadratic inequality in r. Where the denominator's own interval is away from 0, the set is
an interval. Otherwise it is unbounded: the whole line, or all but an interval.

SciPy is imported where it computes: it takes over a second to load, which a command that only
refuses its arguments does not have.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

CONFIDENCE_LEVEL = 0.95
TAIL = (1 - CONFIDENCE_LEVEL) / 2
EXPONENT = 3 / 2  # of the shares of pages and runs in degrees of freedom
FALSE_DISCOVERY_RATE = 0.05


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

    @property
    def draws(self) -> int:
        """Number of pages, or of clusters where pages of several languages say the same."""
        return self.languages.size if self.clusters is None else np.unique(self.clusters).size

    def times(self, factor: float) -> "Contributions":
        """Returns the contributions to a multiple of the estimate."""
        return replace(self, values=factor * self.values)

    def of_languages(self, chosen: Bool[np.ndarray, " languages"]) -> "Contributions":
        """Returns the contributions to the mean over some of the languages.

        Pages of one language are clusters of their own.
        """
        pages, count = chosen[self.languages], int(np.count_nonzero(chosen))
        return Contributions(
            self.values[:, pages] / count,
            self.shares[pages],
            (np.cumsum(chosen) - 1)[self.languages[pages]],
            None if self.clusters is None or count == 1 else self.clusters[pages],
        )


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
        from scipy import stats

        return float(stats.t.isf(TAIL, self.degrees_of_freedom))

    def around(self, estimate: float) -> tuple[float, float]:
        """Returns the ends of an estimate's interval."""
        half = self.half_width
        return estimate - half, estimate + half

    def p_value(self, estimate: float) -> float:
        """Returns the two-sided p-value of an estimate whose true value is 0."""
        if self.variance == 0:  # all pages and runs agree to the last bit
            return 1.0 if estimate == 0 else 0.0
        from scipy import stats

        return float(2 * stats.t.sf(abs(estimate) / self.variance**0.5, self.degrees_of_freedom))


def standard_error(sides: Sequence[Contributions]) -> StandardError | None:
    """Returns the standard error of an estimate; None if a language has a single page, or none.

    Args:
        sides: contributions of each side, on the same pages.
    """
    languages = sides[0].languages
    pages = np.bincount(languages)
    if min(pages, default=0) < 2:
        return None
    of_pages, freedom = _variances_of_pages(sides)
    of_runs = [(_variance_of_runs(side), len(side.values) - 1.0) for side in sides]
    return combine_variances(float(of_pages.sum()), freedom_of_sum(of_pages, freedom), of_runs)


def combine_variances(
    of_pages: float, freedom: float, of_runs: Sequence[tuple[float, float]]
) -> StandardError:
    """Returns the standard error from the variances of pages and of each side's runs.

    Args:
        of_pages: variance over pages.
        freedom: its degrees of freedom.
        of_runs: variance and degrees of freedom of each side's mean over runs.
    """
    varying = np.array([side for side in of_runs if side[0] > 0]).reshape(-1, 2)
    runs = float(varying[:, 0].sum())
    total = of_pages + runs
    if total == 0:
        return StandardError(0.0, freedom)
    inverse = (of_pages / total) ** EXPONENT / freedom
    if runs:
        inverse += (runs / total) ** EXPONENT / freedom_of_sum(*varying.T)
    return StandardError(total, 1 / inverse)


def freedom_of_sum(
    variances: Float[np.ndarray, " parts"], freedom: Float[np.ndarray, " parts"]
) -> float:
    """Returns the degrees of freedom of a sum of independent variances, as by Satterthwaite."""
    if (total := variances.sum()) == 0:
        return float(freedom.sum())
    return float(1 / ((variances / total) ** 2 / freedom).sum())


def _variances_of_pages(
    sides: Sequence[Contributions],
) -> tuple[Float[np.ndarray, " groups"], Float[np.ndarray, " groups"]]:
    """Returns each group's variance over pages of the mean over runs, and its freedom."""
    moved = [side.values.mean(axis=0) / (1 - side.shares) for side in sides]
    squares, groups = _squares(np.sum(moved, axis=0), sides[0]), _groups(sides[0])
    pages = np.bincount(_clusters(sides[0]), minlength=groups.size)
    freedom = np.bincount(groups, pages > 0) - 1.0
    several = freedom > 0  # the contributions to one cluster of a group sum to 0
    return np.bincount(groups, squares)[several], freedom[several]


def _clusters(side: Contributions) -> Int[np.ndarray, " pages"]:
    return np.arange(side.languages.size) if side.clusters is None else side.clusters


def _groups(side: Contributions) -> Int[np.ndarray, " clusters"]:
    """Returns the group of each cluster: languages that share clusters are in one."""
    if side.clusters is None:
        return side.languages
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pages, count = side.languages.size, side.clusters.max() + 1
    edges = (np.ones(pages), (side.clusters, count + side.languages))
    size = count + side.languages.max() + 1
    return connected_components(coo_array(edges, shape=(size, size)), directed=False)[1][:count]


def _variance_of_runs(side: Contributions) -> float:
    """Returns the variance of the mean over runs without the interaction; 0 for one run."""
    runs = len(side.values)
    if runs == 1:
        return 0.0
    centred = side.values - side.values.mean(axis=0)
    effects = np.stack([np.bincount(side.languages, run) for run in centred])
    rest = centred - effects[:, side.languages] * side.shares
    squares = math.fsum(float(_squares(row, side).sum()) for row in rest / (1 - side.shares))
    interaction = squares / (runs - 1)
    between = float(effects.sum(axis=1).var(ddof=1))
    return max(between - interaction, 0.0) / runs


def _squares(
    row: Float[np.ndarray, " pages"], side: Contributions
) -> Float[np.ndarray, " clusters"]:
    """Returns the square of each cluster's sum, (P − 1) ÷ P of it for a language of P pages."""
    pages = np.bincount(side.languages)
    factors = ((pages - 1) / pages)[side.languages]
    return np.bincount(_clusters(side), row * factors**0.5) ** 2


def adjusted_p_values(p_values: Sequence[float | None]) -> list[float | None]:
    """Returns the Benjamini-Hochberg adjusted p-values; None stays None and is not counted."""
    from scipy import stats

    known = [value for value in p_values if value is not None]
    adjusted = iter(stats.false_discovery_control(known, method="bh").tolist() if known else [])
    return [None if value is None else next(adjusted) for value in p_values]


@dataclass(frozen=True)
class RatioSet:
    """The set of all r with square r² − 2 middle r + constant ≤ 0."""

    square: float
    middle: float
    constant: float

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Ends of the set; None where it is unbounded."""
        if self.square <= 0:
            return None
        root = max(self.middle**2 - self.square * self.constant, 0.0) ** 0.5
        return (self.middle - root) / self.square, (self.middle + root) / self.square

    def holds(self, ratio: float) -> bool:
        """Returns whether a ratio is in the set, bounded or not."""
        return self.square * ratio**2 - 2 * self.middle * ratio + self.constant <= 0


def retained_set(sides: Sequence[Contributions], kept_gain: float, gain: float) -> RatioSet:
    """Returns Fieller's set of the gain kept, from at least two pages.

    The degrees of freedom are those of student's gain − ratio × teacher's gain, at the estimate.

    Args:
        sides: contributions to the loss, or to the score, of baseline, teacher and student.
        kept_gain: the student's gain.
        gain: the teacher's gain.
    """
    baseline, teacher, student = sides

    def error(ratio: float, of_student: float):
        """Returns the standard error of of_student × student's gain − ratio × teacher's gain."""
        sides = baseline.times(of_student - ratio), teacher.times(ratio), student.times(-of_student)
        difference = standard_error(sides)
        assert difference is not None  # there are two pages
        return difference

    of_student, of_teacher = error(0.0, 1.0).variance, error(1.0, 0.0).variance
    covariance = (of_student + of_teacher - error(1.0, 1.0).variance) / 2
    squared = error(kept_gain / gain, 1.0).quantile ** 2
    return RatioSet(
        square=gain**2 - squared * of_teacher,
        middle=kept_gain * gain - squared * covariance,
        constant=kept_gain**2 - squared * of_student,
    )
