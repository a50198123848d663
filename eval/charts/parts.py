"""What several charts share: names of languages, reference lines, intervals, several marks per row.

A few intervals that are much longer than most would flatten all gains. So an interval is drawn up
to two typical half widths beyond the range of the gains (`interval_limits`).

Several marks of one language each have a colour and a shape of their own and stand a little beside
each other. A row has the fields `code`, `name` (of the language), `gain`, `from` and `to` (of the
drawn interval), and one that names its mark.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt
import numpy as np

from eval.compare import Estimate

Picture = alt.Chart | alt.LayerChart | alt.FacetChart

INK: dict[str, Any] = {"color": "var(--ink-soft)", "fontSize": 11}
ROW_PIXELS = 17  # of a language or a script
FEWEST_COLUMNS = 24  # fewer languages become rows: columns would stand too far apart
_HALF_WIDTHS = 2  # typical half widths beyond the gains up to which an interval is drawn
_NAMES: dict[str, Any] = {"labelOverlap": False, "labelLimit": 110, "ticks": False}


def gain_fields(gain: Estimate, limits: tuple[float, float]) -> dict[str, float | None]:
    """Returns the fields of a gain in a row; `from` and `to` are the ends that are drawn."""
    value, low, high = gain.ends
    return {
        "gain": value,
        "low": low,
        "high": high,
        "from": None if low is None else max(low, limits[0]),
        "to": None if high is None else min(high, limits[1]),
    }


def interval_limits(estimates: Iterable[Estimate]) -> tuple[float, float]:
    """Returns the values between which intervals are drawn; zero is between them."""
    estimates = list(estimates)
    gains = [0.0, *(estimate.value for estimate in estimates)]
    known = [estimate.ends for estimate in estimates if estimate.low is not None]
    if not known:
        return min(gains), max(gains)
    ends = np.array(known, float)
    reach = _HALF_WIDTHS * float(np.median(ends[:, 2] - ends[:, 1])) / 2
    low, high = float(ends[:, 1].min()), float(ends[:, 2].max())
    return min(max(low, min(gains) - reach), *gains), max(min(high, max(gains) + reach), *gains)


def language_tooltip(*more: alt.Tooltip) -> list[alt.Tooltip]:
    """Returns the tooltip of a language's mark."""
    return [alt.Tooltip("name:N", title="language"), *more]


def gain_tooltip(digits: int) -> list[alt.Tooltip]:
    """Returns the gain and the ends of its whole interval, as they are shown."""
    form = f"+.{digits}f"
    return [
        alt.Tooltip("gain:Q", title="gain", format=form),
        alt.Tooltip("low:Q", title="interval from", format=form),
        alt.Tooltip("high:Q", title="to", format=form),
    ]


def names_across(names: Iterable[str]) -> alt.X:
    """Returns the axis of a chart with one column per language, in this order.

    Without a stated order Vega-Lite lists a language after all others if the first layer leaves it
    out, as intervals leave out languages with a single page.
    """
    axis: dict[str, Any] = _NAMES | {"labelAngle": -90, "labelFontSize": 10, "labelLimit": 120}
    return alt.X("name:N", sort=list(dict.fromkeys(names)), title=None).axis(**axis)


def names_down(names: Iterable[str]) -> alt.Y:
    """Returns the axis of a chart with one row per language, in this order."""
    return alt.Y("name:N", sort=list(dict.fromkeys(names)), title=None).axis(**_NAMES)


def line_at(value: float, axis: str, **look: Any) -> alt.Chart:
    """Returns a line across the chart at a value of the axis `x` or `y`."""
    rule = alt.Chart(alt.Data(values=[{}])).mark_rule(color="var(--ink)", **look)
    return rule.encode(**{axis: alt.datum(value)})


SHAPES = ("circle", "square", "triangle-up", "cross", "triangle-down")
MARK_PIXELS = 9  # per mark and language
ENTRY_PIXELS, CHARACTER_PIXELS = 40, 7  # of a legend's entry, and of a character of its name
NARROWEST_PIXELS = 300  # for a legend beside the axis, on a screen of 390 pixels


class Marks(NamedTuple):
    """The marks of a picture.

    Attributes:
        field: field of a row that names its mark.
        colours: colour of each mark by name, in order.
        tooltip: what a mark shows when it is pointed at.
    """

    field: str
    colours: Mapping[str, str]
    tooltip: Sequence[alt.Tooltip]


def marks_across(rows: Sequence[Mapping[str, Any]], marks: Marks, title: str) -> Picture:
    """Returns the picture with a column per language."""
    place = {"x": names_across(row["name"] for row in rows), "xOffset": _offset(alt.XOffset, marks)}
    ends = {"y": alt.Y("from:Q"), "y2": "to:Q"}
    layers = _layers(rows, marks, place, {"y": alt.Y("gain:Q", title=title)}, ends, "y")
    return layers.properties(width="container", height=250)


def marks_down(rows: Sequence[Mapping[str, Any]], marks: Marks, title: str) -> Picture:
    """Returns the picture with a line per language, for a phone."""
    place = {"y": names_down(row["name"] for row in rows), "yOffset": _offset(alt.YOffset, marks)}
    x = alt.X("gain:Q", title=title, axis=alt.Axis(orient="top", tickCount=4))
    layers = _layers(rows, marks, place, {"x": x}, {"x": alt.X("from:Q"), "x2": "to:Q"}, "x")
    row_pixels = max(ROW_PIXELS, MARK_PIXELS * len(marks.colours))
    height = row_pixels * len({row["code"] for row in rows})
    return layers.properties(width="container", height=height)


def legend_columns(names: Sequence[str]) -> int:
    """Returns the columns of a legend: 0 for one line where that fits a phone, otherwise 1."""
    pixels = sum(ENTRY_PIXELS + CHARACTER_PIXELS * len(name) for name in names)
    return 0 if pixels <= NARROWEST_PIXELS else 1


def _offset(kind: Any, marks: Marks) -> Any:
    names = list(marks.colours)
    return kind(f"{marks.field}:N", sort=names).scale(domain=names)


def _layers(
    rows: Sequence[Mapping[str, Any]],
    marks: Marks,
    place: dict[str, Any],
    value: dict[str, Any],
    interval: dict[str, Any],
    axis: str,
) -> Any:
    field, names = f"{marks.field}:N", list(marks.colours)
    legend = alt.Legend(columns=legend_columns(names), labelLimit=NARROWEST_PIXELS)
    colours = list(marks.colours.values())
    colour = alt.Color(field, title=None, legend=legend).scale(domain=names, range=colours)
    shape = alt.Shape(field, title=None).scale(domain=names, range=list(SHAPES[: len(names)]))
    drawn = alt.Chart().encode(**place, color=colour, tooltip=list(marks.tooltip))
    return alt.layer(
        drawn.mark_rule(strokeWidth=1.5, opacity=0.45).encode(**interval),
        line_at(0.0, axis),
        drawn.mark_point(filled=True, size=26, opacity=1).encode(**value, shape=shape),
        data=alt.Data(values=list(rows)),
    )
