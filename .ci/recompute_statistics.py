"""What every recomputation of a report shares: combined errors, corrected p-values, comparison."""

import math
import sys

import numpy as np
import pandas as pd


def put_together(
    of_pages: float, free: float, of_runs: list[tuple[float, float]]
) -> tuple[float, float]:
    """Returns standard error and degrees of freedom from the variances of pages and runs."""
    runs = sum(variance for variance, _ in of_runs)
    total = of_pages + runs
    if not total:
        return 0.0, free
    inverse = (of_pages / total) ** 1.5 / free
    if runs:
        parts = [variance**2 / freedom for variance, freedom in of_runs]
        inverse += (runs / total) ** 1.5 * sum(parts) / runs**2
    return math.sqrt(total), 1 / inverse


def freedom_of_sum(parts: list[tuple[float, float]]) -> float:
    """Returns the degrees of freedom of a sum of variances, each given with its own."""
    total = sum(variance for variance, _ in parts)
    if not total:
        return sum(free for _, free in parts)
    return total**2 / sum(variance**2 / free for variance, free in parts)


def adjusted(p_values: pd.Series) -> pd.Series:
    """Returns the p-values adjusted as by Benjamini and Hochberg."""
    ordered = p_values.sort_values(ascending=False)
    scaled = ordered * len(ordered) / np.arange(len(ordered), 0, -1)
    return scaled.cummin().clip(upper=1)


def same(name: str, shown: float | None, found: float | None) -> None:
    """Exits with a message unless the report shows the recomputed value."""
    if (shown is None) != (found is None) or (
        found is not None and not math.isclose(shown, found, rel_tol=1e-9, abs_tol=1e-12)
    ):
        sys.exit(f"{name}: the report shows {shown}, recomputed {found}")
