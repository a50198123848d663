"""Is a language's gain more than noise? Paired bootstrap over pages, corrected for many languages.

Gain is baseline minus candidate: positive means that the candidate is better. The loss of a side is
an amount (nats or bits) over a size (target tokens or hidden bytes), both summed over pages.

Resampling. The unit is the held-out *page*, which was drawn from the web; tokens of one page are
not independent. A resample takes the same pages on both sides (paired), and resamples the runs of a
side that has several. A page too short to hide a token has no loss and is not drawn. With one run
per side the interval covers pages only, not seeds.

Standard error. Resamples of n items have only (n - 1) / n of their variance, and two or four runs
are few. So the standard error is the sum of three variances without that loss: of pages, and of
each side's mean over runs. Its degrees of freedom follow Welch and Satterthwaite (1946) and are
near those of the largest part. The p-value comes from Student's t, which resolves smaller values
than 2,000 resamples could. The interval is the 95% percentile interval of the resamples, stretched
to the width that this t implies.

Many languages. The correction of Benjamini and Hochberg (1995) bounds the expected share of false
findings among those called "beyond noise" at 5%. A seed moves many languages together, so false
findings come in crowds.

The random seed is fixed and the same for every language, so an interval depends on its own pages
only.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

CONFIDENCE_LEVEL = 0.95
TAIL = (1 - CONFIDENCE_LEVEL) / 2
FALSE_DISCOVERY_RATE = 0.05
RESAMPLES = 2_000
SEED = 0
_CELLS = 4_000_000  # resamples x pages per batch: 32 MB


@dataclass(frozen=True)
class GainInterval:
    """A gain with its interval and its number of scored pages; no interval for a single page."""

    gain: float
    pages: int
    low: float | None
    high: float | None
    p_value: float | None


@dataclass(frozen=True)
class Scores:
    """The scores of one side on the pages of one language.

    Attributes:
        amounts: loss per run and page, summed over the page, in nats or bits.
        sizes: target tokens or hidden bytes per page, equal for all runs.
    """

    amounts: Float[np.ndarray, "runs pages"]
    sizes: Int[np.ndarray, " pages"]

    def loss(self) -> float:
        """Returns the loss over all pages, mean over runs."""
        return float(self.amounts.mean(axis=0).sum() / self.sizes.sum())

    def variance_of_mean(self) -> float:
        """Returns the variance of the mean over runs, from the spread of runs; 0 for one run."""
        runs = len(self.amounts)
        losses = self.amounts.sum(axis=1) / self.sizes.sum()
        return float(losses.var(ddof=1)) / runs if runs > 1 else 0.0


def gain_interval(baseline: Scores, candidate: Scores) -> GainInterval:
    """Returns the gain of one language and its interval, from the losses of its pages."""
    gain = baseline.loss() - candidate.loss()
    baseline, candidate = scored((baseline, candidate))
    pages = candidate.sizes.size
    if pages < 2:
        return GainInterval(gain, pages, None, None, None)
    gains = resampled_gains(baseline, candidate)
    error = standard_error((baseline, candidate), float(gains.var(ddof=1)))
    low, high = gain + error.stretch * (np.quantile(gains, [TAIL, 1 - TAIL]) - gain)
    return GainInterval(gain, pages, float(low), float(high), error.p_value(gain))


class StandardError(NamedTuple):
    """The standard error of a gain.

    Attributes:
        size: standard error.
        degrees_of_freedom: degrees of freedom of Student's t.
        resampled: standard deviation of the gain among resamples.
    """

    size: float
    degrees_of_freedom: float
    resampled: float

    @property
    def stretch(self) -> float:
        """Factor by which the distances of the percentiles from the gain are multiplied."""
        if self.resampled == 0:
            return 1.0
        wider = stats.t.isf(TAIL, self.degrees_of_freedom) / stats.norm.isf(TAIL)
        return float(wider) * self.size / self.resampled

    def p_value(self, gain: float) -> float:
        """Returns the two-sided p-value of a gain."""
        if self.size == 0:  # all pages and runs agree to the last bit
            return 1.0 if gain == 0 else 0.0
        return float(2 * stats.t.sf(abs(gain) / self.size, self.degrees_of_freedom))


def standard_error(sides: Sequence[Scores], resampled_variance: float) -> StandardError:
    """Returns the standard error of the difference between two sides.

    Args:
        sides: scores of both sides, with at least two pages.
        resampled_variance: variance of the gain among resamples of pages and runs. The part that
            runs do not explain is that of pages.
    """
    pages = sides[0].sizes.size
    runs = [(side.variance_of_mean(), len(side.amounts)) for side in sides]
    of_runs = sum(variance * (count - 1) / count for variance, count in runs)
    of_pages = max(resampled_variance - of_runs, 0.0) * pages / (pages - 1)
    parts = [(of_pages, pages - 1), *((variance, max(count - 1, 1)) for variance, count in runs)]
    total = sum(variance for variance, _ in parts)
    spread = sum(variance**2 / freedom for variance, freedom in parts)
    freedom = total**2 / spread if spread else pages - 1
    return StandardError(total**0.5, freedom, resampled_variance**0.5)


def scored(sides: Sequence[Scores]) -> list[Scores]:
    """Returns the sides, reduced to the pages on which each has a scored token.

    A resample of only other pages would be 0 / 0.
    """
    pages = np.all([side.sizes > 0 for side in sides], axis=0)
    return [Scores(side.amounts[:, pages], side.sizes[pages]) for side in sides]


def resampled_gains(baseline: Scores, candidate: Scores) -> Float[np.ndarray, " resamples"]:
    """Returns the gain in each resample of pages (the same on both sides) and of runs."""
    losses = resampled_losses((baseline, candidate))
    return losses[0] - losses[1]


def resampled_losses(sides: Sequence[Scores]) -> Float[np.ndarray, "sides resamples"]:
    """Returns the loss per side and resample; all sides share the resampled pages."""
    amounts = [side.amounts for side in sides]
    columns = np.concatenate([*amounts, [side.sizes for side in sides]]).T
    sums = np.concatenate([counts @ columns for counts in _page_counts(len(columns))])
    ends = np.cumsum([len(runs) for runs in amounts])
    *by_side, sizes = np.split(sums, ends, axis=1)
    rng = np.random.default_rng([SEED, 1])
    drawn = [_mean_of_drawn_runs(rng, runs) for runs in by_side]
    return np.stack(drawn) / sizes.T


def adjusted_p_values(p_values: Sequence[float | None]) -> list[float | None]:
    """Returns the Benjamini-Hochberg adjusted p-values; None stays None and is not counted."""
    known = [value for value in p_values if value is not None]
    adjusted = iter(stats.false_discovery_control(known, method="bh").tolist() if known else [])
    return [None if value is None else next(adjusted) for value in p_values]


def _page_counts(pages: int) -> Iterable[np.ndarray]:
    """Yields how often each page occurs in each resample, drawn with replacement."""
    if RESAMPLES * pages <= _CELLS:
        yield _cached_counts(pages)  # languages with equal numbers of pages share their draws
        return
    rng, batch = np.random.default_rng(SEED), max(1, _CELLS // pages)
    for start in range(0, RESAMPLES, batch):
        yield _drawn(rng, min(batch, RESAMPLES - start), pages)


@functools.lru_cache(maxsize=4)
def _cached_counts(pages: int) -> np.ndarray:
    return _drawn(np.random.default_rng(SEED), RESAMPLES, pages)


def _drawn(rng: np.random.Generator, resamples: int, pages: int) -> np.ndarray:
    drawn = rng.integers(pages, size=(resamples, pages)) + np.arange(resamples)[:, None] * pages
    counts = np.bincount(drawn.ravel(), minlength=resamples * pages)
    return counts.reshape(resamples, pages).astype(np.float64)


def _mean_of_drawn_runs(rng: np.random.Generator, sums: np.ndarray) -> np.ndarray:
    resamples, runs = sums.shape
    drawn = rng.integers(runs, size=(resamples, runs))
    return np.take_along_axis(sums, drawn, axis=1).mean(axis=1)
