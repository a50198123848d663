"""Gains by language with their intervals, in which several marks share a language.

Each mark has a colour and a shape of its own and stands a little beside the others. A row has the
fields `code`, `name` (of the language), `gain`, `from` and `to` (of the drawn interval), and one
that names its mark.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt

from eval.charts.parts import ROW_PIXELS, Picture, line_at, names_across, names_down

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


def wide(rows: Sequence[Mapping[str, Any]], marks: Marks, title: str) -> Picture:
    """Returns the picture with a column per language."""
    place = {"x": names_across(), "xOffset": _offset(alt.XOffset, marks)}
    ends = {"y": alt.Y("from:Q"), "y2": "to:Q"}
    layers = _layers(rows, marks, place, {"y": alt.Y("gain:Q", title=title)}, ends, "y")
    return layers.properties(width="container", height=360)


def tall(rows: Sequence[Mapping[str, Any]], marks: Marks, title: str, around: int) -> Picture:
    """Returns the picture with a line per language, for a phone.

    Args:
        rows: the gains.
        marks: the marks.
        title: title of the axis.
        around: pixels of the legend and the axis.
    """
    place = {"y": names_down(), "yOffset": _offset(alt.YOffset, marks)}
    x = alt.X("gain:Q", title=title, axis=alt.Axis(orient="top", tickCount=4))
    layers = _layers(rows, marks, place, {"x": x}, {"x": alt.X("from:Q"), "x2": "to:Q"}, "x")
    row = max(ROW_PIXELS, MARK_PIXELS * len(marks.colours))
    height = row * len({one["code"] for one in rows}) + around
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
