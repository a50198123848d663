"""Is a language's gain more than noise? Paired bootstrap over pages, corrected for many languages.

Gain is in nats per target token: baseline minus candidate, so positive means that the candidate is
better. What is resampled is the held-out *page*, the unit that was drawn from the web; tokens of
one page are not independent. Baseline and candidate are scored on the same pages, so a resample
takes the same pages on both sides (paired), and where a side has several runs it resamples the runs
too. With one run a side the interval does not know how another seed would have fallen: it then
speaks about pages only. With few runs the spread between seeds is understated.

The interval is the bootstrap's percentiles (95 %). The p-value takes the bootstrap's standard error
to Student's t with pages - 1 degrees of freedom, which stays careful where a language has few pages
and resolves p-values that counting resamples could not. Over all languages Benjamini and Hochberg
(1995) bound the share of false findings among those called "beyond noise" at 5 %.

The seed is fixed and every language starts from it: an interval depends on its own pages only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

CONFIDENCE = 0.95
FALSE_DISCOVERY_RATE = 0.05
RESAMPLES = 2_000
SEED = 0
_CELLS = 4_000_000  # resamples x pages drawn at once: 32 MB


@dataclass(frozen=True)
class GainInterval:
    """A gain in nats per target token with its interval; None where one page says nothing."""

    gain_nats: float
    low: float | None
    high: float | None
    p_value: float | None


def gain_interval(
    baseline_nats: Float[np.ndarray, "baseline_runs pages"],
    candidate_nats: Float[np.ndarray, "candidate_runs pages"],
    target_tokens: Int[np.ndarray, " pages"],
) -> GainInterval:
    """Returns one language's gain and interval from its pages' summed losses."""
    difference = baseline_nats.mean(axis=0) - candidate_nats.mean(axis=0)
    gain = float(difference.sum() / target_tokens.sum())
    pages = target_tokens.size
    if pages < 2:
        return GainInterval(gain, None, None, None)
    gains = resampled_gains(baseline_nats, candidate_nats, target_tokens)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(gains, [tail, 1 - tail])
    standard_error = float(gains.std(ddof=1)) * (pages / (pages - 1)) ** 0.5
    return GainInterval(gain, float(low), float(high), _p_value(gain, standard_error, pages))


def resampled_gains(
    baseline_nats: Float[np.ndarray, "baseline_runs pages"],
    candidate_nats: Float[np.ndarray, "candidate_runs pages"],
    target_tokens: Int[np.ndarray, " pages"],
) -> Float[np.ndarray, " resamples"]:
    """Returns the gain in each resample of pages (the same on both sides) and of runs."""
    rng = np.random.default_rng(SEED)
    pages = target_tokens.size
    columns = np.concatenate([baseline_nats, candidate_nats, target_tokens[None]]).T
    batch = max(1, _CELLS // pages)
    sums = np.concatenate(
        [
            _page_counts(rng, min(batch, RESAMPLES - start), pages) @ columns
            for start in range(0, RESAMPLES, batch)
        ]
    )
    runs = len(baseline_nats)
    return (
        _mean_of_drawn_runs(rng, sums[:, :runs]) - _mean_of_drawn_runs(rng, sums[:, runs:-1])
    ) / sums[:, -1]


def adjusted_p_values(p_values: Sequence[float | None]) -> list[float | None]:
    """Returns Benjamini and Hochberg's adjusted p-values; None stays None and is no comparison."""
    known = [value for value in p_values if value is not None]
    adjusted = iter(stats.false_discovery_control(known, method="bh").tolist() if known else [])
    return [None if value is None else next(adjusted) for value in p_values]


def _page_counts(rng: np.random.Generator, resamples: int, pages: int) -> np.ndarray:
    """Draws with replacement: how often each page occurs in each resample."""
    drawn = rng.integers(pages, size=(resamples, pages)) + np.arange(resamples)[:, None] * pages
    counts = np.bincount(drawn.ravel(), minlength=resamples * pages)
    return counts.reshape(resamples, pages).astype(np.float64)


def _mean_of_drawn_runs(rng: np.random.Generator, sums: np.ndarray) -> np.ndarray:
    resamples, runs = sums.shape
    drawn = rng.integers(runs, size=(resamples, runs))
    return np.take_along_axis(sums, drawn, axis=1).mean(axis=1)


def _p_value(gain: float, standard_error: float, pages: int) -> float:
    if standard_error == 0:  # all pages agree to the last bit
        return 1.0 if gain == 0 else 0.0
    return float(2 * stats.t.sf(abs(gain) / standard_error, pages - 1))
