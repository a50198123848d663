"""What several charts share: their names of languages, reference lines and intervals.

A few intervals that are much longer than most would flatten all gains. So an interval is drawn up
to two typical half widths beyond the range of the gains (`interval_limits`).
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import altair as alt
import numpy as np

Picture = alt.Chart | alt.LayerChart | alt.FacetChart

INK: dict[str, Any] = {"color": "var(--ink-soft)", "fontSize": 11}
ROW_PIXELS = 17  # of a language or a script
FEWEST_COLUMNS = 24  # fewer languages become rows: columns would stand too far apart
_HALF_WIDTHS = 2  # typical half widths beyond the gains up to which an interval is drawn
_NAMES: dict[str, Any] = {"labelOverlap": False, "labelLimit": 110, "ticks": False}


class Estimate(NamedTuple):
    """A gain with the ends of its interval; None for the ends over a single page."""

    gain: float
    low: float | None
    high: float | None

    def fields(self, limits: tuple[float, float]) -> dict[str, float | None]:
        """Returns the fields of a row, in which `from` and `to` are the ends that are drawn."""
        low = None if self.low is None else max(self.low, limits[0])
        high = None if self.high is None else min(self.high, limits[1])
        return {**self._asdict(), "from": low, "to": high}


def interval_limits(estimates: Iterable[Estimate]) -> tuple[float, float]:
    """Returns the values between which intervals are drawn; zero is between them."""
    estimates = list(estimates)
    known = [one for one in estimates if one.low is not None]
    every = [0.0, *(one.gain for one in estimates)]
    if not known:
        return min(every), max(every)
    ends = np.array(known, float)
    reach = _HALF_WIDTHS * float(np.median(ends[:, 2] - ends[:, 1])) / 2
    low, high = float(ends[:, 1].min()), float(ends[:, 2].max())
    return min(max(low, min(every) - reach), *every), max(min(high, max(every) + reach), *every)


def language_tooltip(*more: alt.Tooltip) -> list[alt.Tooltip]:
    """Returns what a mark of a language shows when it is pointed at."""
    return [alt.Tooltip("name:N", title="language"), *more]


def gain_tooltip(digits: int) -> list[alt.Tooltip]:
    """Returns the gain and the ends of its whole interval, as they are shown."""
    form = f"+.{digits}f"
    return [
        alt.Tooltip("gain:Q", title="gain", format=form),
        alt.Tooltip("low:Q", title="interval from", format=form),
        alt.Tooltip("high:Q", title="to", format=form),
    ]


def names_across() -> alt.X:
    """Returns the axis of a chart with one column per language, in the order of the rows."""
    axis: dict[str, Any] = _NAMES | {"labelAngle": -90, "labelFontSize": 10, "labelLimit": 120}
    return alt.X("name:N", sort=None, title=None).axis(**axis)


def names_down() -> alt.Y:
    """Returns the axis of a chart with one row per language, in their order."""
    return alt.Y("name:N", sort=None, title=None).axis(**_NAMES)


def line_at(value: float, axis: str, **look: Any) -> alt.Chart:
    """Returns a line across the chart at a value of the axis `x` or `y`."""
    rule = alt.Chart(alt.Data(values=[{}])).mark_rule(color="var(--ink)", **look)
    return rule.encode(**{axis: alt.datum(value)})
