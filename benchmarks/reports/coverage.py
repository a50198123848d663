"""Coverage of the 95% intervals: how often they contain the truth, over many drawn data sets.

    python benchmarks/reports/coverage.py [--draws 2000]

A data set has pages of unequal lengths and runs on two sides (three for the gain that a student
keeps). A page's own gain spreads by 0.1 nats per token, a run on one page by 0.05, a run on all
pages by `spread`, and on the other sides by `ratio` times as much. Four parts:

* gains: runs per side x pages x spread x ratio;
* gain kept: Fieller's set, for a teacher's gain of many and of few standard errors;
* one_run: the interval over pages only, once without a spread of runs and once with one, which it
  does not know of;
* uneven: 12 pages, of which one or two have together `share` of all tokens.

The result is benchmarks/results/coverage.json. With 2,000 draws a coverage of 0.95 has a standard
error of 0.005.
"""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from eval.compare import Scores, estimate, ratios
from eval.statistics import retained_set

RESULT = Path("benchmarks/results/coverage.json")
OF_PAGES, OF_BOTH = 0.1, 0.05
GAIN, KEPT = 0.1, 0.3
PAGES = (6, 12, 60)
SPREADS = (0.0, 0.02, 0.05, 0.1, 0.3)
RATIOS = (1, 2, 4)


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """How many data sets are drawn."""

    draws: int = 2000
    """Data sets per cell."""


def scores(
    rng: np.random.Generator, gains: tuple[float, ...], spreads: tuple[float, ...],
    runs: int, pages: int, long: tuple[int, float] = (0, 0.0),
) -> list[Scores]:  # fmt: skip
    """Returns one data set: a side per gain, the first of them the baseline."""
    tokens = rng.integers(20, 300, pages)
    count, share = long
    if count:
        tokens[:count] = round(share / (1 - share) * tokens[count:].sum() / count)
    level, sides = rng.normal(3, 0.5, pages), []
    for gain, spread in zip(gains, spreads, strict=True):
        own = rng.normal(0, OF_PAGES / 2**0.5, pages)  # two sides differ by OF_PAGES
        loss = level - gain + own + rng.normal(0, OF_BOTH, (runs, pages))
        amounts = (loss + rng.normal(0, spread, (runs, 1))) * tokens
        sides.append(ratios(("all",), np.zeros(pages, np.int64), amounts, tokens, tokens > 0))
    return sides


def gain_covered(
    rng: np.random.Generator,
    runs: int,
    pages: int,
    spread: float,
    ratio: float,
    long: tuple[int, float] = (0, 0.0),
) -> bool:
    """Returns whether the interval of one data set contains the gain."""
    baseline, candidate = scores(rng, (0.0, GAIN), (spread, spread * ratio), runs, pages, long)
    found = estimate([(1.0, baseline), (-1.0, candidate)], ["all"])
    assert found.low is not None
    assert found.high is not None
    return found.low <= GAIN <= found.high


def kept_covered(
    rng: np.random.Generator, runs: int, pages: int, spread: float, gain: float
) -> tuple[bool, bool]:
    """Returns whether Fieller's set contains the gain kept, and whether it is bounded."""
    sides = scores(rng, (0.0, gain, KEPT * gain), (spread,) * 3, runs, pages)
    baseline, teacher, student = (float(side.values[0]) for side in sides)
    contributions = [side.contributions for side in sides]
    found = retained_set(contributions, baseline - student, baseline - teacher)
    return found.holds(KEPT), found.bounds is not None


def gains(draws: int) -> list[dict[str, float]]:
    """Returns the coverage of gains, one row per cell."""
    cells = itertools.product((2, 3, 4), PAGES, SPREADS, RATIOS)
    rows = []
    for cell in (cell for cell in cells if cell[2] or cell[3] == 1):
        rng = np.random.default_rng(0)
        covered = float(np.mean([gain_covered(rng, *cell) for _ in range(draws)]))
        rows.append(
            dict(
                zip(("runs", "pages", "spread", "ratio", "coverage"), (*cell, covered), strict=True)
            )
        )
    return rows


def kept(draws: int) -> list[dict[str, float]]:
    """Returns the coverage of gains kept, and how often the set is bounded."""
    rows = []
    for cell in itertools.product((1, 2, 3, 4), (12, 60), (0.0, 0.02, 0.05), (0.05, 0.5)):
        if cell[0] == 1 and cell[2]:
            continue
        rng = np.random.default_rng(0)
        found = np.mean([kept_covered(rng, *cell) for _ in range(draws)], axis=0).tolist()
        names = ("runs", "pages", "spread", "teachers_gain", "coverage", "bounded")
        rows.append(dict(zip(names, (*cell, *found), strict=True)))
    return rows


def one_run(draws: int) -> list[dict[str, float]]:
    """Returns the coverage with one run per side, whose interval is over pages only."""
    rows = []
    for pages, spread in itertools.product(PAGES, (0.0, 0.05)):
        rng = np.random.default_rng(0)
        covered = np.mean([gain_covered(rng, 1, pages, spread, 1) for _ in range(draws)])
        rows.append({"pages": pages, "spread": spread, "coverage": float(covered)})
    return rows


def uneven(draws: int) -> list[dict[str, float]]:
    """Returns the coverage where one or two long pages have a large share of the tokens."""
    rows = []
    for runs, *long in itertools.product((1, 2), (1, 2), (0.2, 0.4, 0.6, 0.8)):
        rng, cell = np.random.default_rng(0), (runs, 12, 0.02 * (runs - 1), 1, tuple(long))
        covered = float(np.mean([gain_covered(rng, *cell) for _ in range(draws)]))
        names = ("runs", "long_pages", "share", "coverage")
        rows.append(dict(zip(names, (runs, *long, covered), strict=True)))
    return rows


def main(arguments: Arguments) -> None:
    """Draws all cells, writes the result, and prints the least and greatest coverage."""
    result = {"draws": arguments.draws}
    result |= {part.__name__: part(arguments.draws) for part in (gains, kept, one_run, uneven)}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    for part, key in (("gains", "ratio"), ("kept", "spread")):
        groups = sorted({(row["runs"], row[key]) for row in result[part]})
        for runs, value in groups:
            found = [r["coverage"] for r in result[part] if (r["runs"], r[key]) == (runs, value)]
            print(f"{part}: runs {runs}, {key} {value}: {min(found):.3f} to {max(found):.3f}")
    for row in result["one_run"]:
        print("one run", row)
    for row in result["uneven"]:
        print("uneven", row)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
