"""Confidence set of a ratio of two uncertain numbers, by Fieller.

Reference: Fieller 1954, "Some problems in interval estimation". A ratio r is in the set where
numerator − r × denominator is no further from 0 than its own interval:

    (n − r d)² ≤ t² Var(n − r d)

This is a quadratic inequality in r. Where the denominator's own interval is away from 0, the set is
an interval. Otherwise it is unbounded: the whole line, or all but an interval.
"""

from dataclasses import dataclass


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


def ratio_set(
    numerator: float,
    denominator: float,
    *,
    variances: tuple[float, float],
    covariance: float,
    quantile: float,
) -> RatioSet:
    """Returns Fieller's set.

    Args:
        numerator, denominator: the two estimates.
        variances: their variances.
        covariance: their covariance.
        quantile: quantile of Student's t.
    """
    squared = quantile**2
    return RatioSet(
        square=denominator**2 - squared * variances[1],
        middle=numerator * denominator - squared * covariance,
        constant=numerator**2 - squared * variances[0],
    )
