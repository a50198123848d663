"""Gain kept against compression: students with intervals, and table 7 of the paper as a line."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from eval.charts.parts import INK, Picture
from eval.distillation import PAPER, Student

_KEPT = "↑ better · share of the teacher’s gain kept"
_X = (
    alt.X("compression:Q", title="compression →")
    .scale(zero=False, padding=24)
    .axis(format=".0%", tickCount=6, grid=False)
)
_Y = alt.Y("kept:Q", title=_KEPT).axis(format=".0%", tickCount=6)
_TOOLTIP = [
    alt.Tooltip("name:N", title="student"),
    alt.Tooltip("compression:Q", format=".1%"),
    alt.Tooltip("kept:Q", title="gain kept", format=".1%"),
    alt.Tooltip("low:Q", title="interval from", format=".1%"),
    alt.Tooltip("high:Q", title="to", format=".1%"),
]


def picture(students: Sequence[Student]) -> dict[str, Picture]:
    """Returns the chart; nothing if no student has both numbers."""
    rows = [
        {
            "name": one.name,
            "compression": one.compression,
            "kept": one.overall.gain_retained,
            "low": one.overall.gain_retained_low,
            "high": one.overall.gain_retained_high,
        }
        for one in students
        if one.compression is not None and one.overall.gain_retained is not None
    ]
    if not rows:
        return {}
    layers = alt.layer(*_paper(), *_students(rows))
    return {"distillation": layers.properties(width="container", height=300)}


def _paper() -> list[alt.Chart]:
    """Returns the line of the paper, its points, and its name at the first one."""
    rows = [{"name": "the paper", "compression": smaller, "kept": kept} for smaller, kept in PAPER]
    paper = alt.Chart(alt.Data(values=rows)).encode(x=_X, y=_Y, tooltip=_TOOLTIP[:3])
    first = paper.transform_filter(f"datum.compression === {PAPER[0][0]}")
    return [
        paper.mark_line(color="var(--quiet)", strokeDash=[4, 3]),
        paper.mark_point(color="var(--quiet)", filled=True, shape="diamond", size=60),
        first.mark_text(align="left", dx=6, dy=-10, **INK, text="the paper, table 7"),
    ]


def _students(rows: list[dict[str, Any]]) -> list[alt.Chart]:
    """Returns the students' intervals, points and names."""
    ours = alt.Chart(alt.Data(values=rows)).encode(x=_X, tooltip=_TOOLTIP)
    return [
        ours.mark_rule(color="var(--candidate)", strokeWidth=2, opacity=0.5).encode(
            y=alt.Y("low:Q", title=_KEPT), y2="high:Q"
        ),
        ours.mark_point(color="var(--candidate)", filled=True, size=70).encode(y=_Y),
        ours.mark_text(align="right", dx=-8, **INK).encode(y=_Y, text="name:N"),
    ]
