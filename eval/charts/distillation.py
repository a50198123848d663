"""Gain kept against compression: students with intervals, and table 7 of the paper as a line."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from eval.distillation import PAPER, Student

_INK: dict[str, Any] = {"color": "var(--ink-soft)", "fontSize": 11}


def picture(students: Sequence[Student]) -> dict[str, alt.LayerChart | alt.FacetChart]:
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
    x = alt.X("compression:Q", title="compression →")
    x = x.scale(zero=False, padding=24).axis(format=".0%", tickCount=6, grid=False)
    title = "↑ better · share of the teacher’s gain kept"
    y = alt.Y("kept:Q", title=title).axis(format=".0%", tickCount=6)
    tooltip = [
        alt.Tooltip("name:N", title="student"),
        alt.Tooltip("compression:Q", format=".1%"),
        alt.Tooltip("kept:Q", title="gain kept", format=".1%"),
        alt.Tooltip("low:Q", title="interval from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
    ]
    paper = alt.Chart(
        alt.Data(
            values=[
                {"name": "the paper", "compression": smaller, "kept": kept}
                for smaller, kept in PAPER
            ]
        )
    ).encode(x=x, y=y, tooltip=tooltip[:3])
    ours = alt.Chart(alt.Data(values=rows)).encode(x=x, tooltip=tooltip)
    first = paper.transform_filter(f"datum.compression === {PAPER[0][0]}")
    return {
        "distillation": alt.layer(
            paper.mark_line(color="var(--quiet)", strokeDash=[4, 3]),
            paper.mark_point(color="var(--quiet)", filled=True, shape="diamond", size=60),
            first.mark_text(align="left", dx=6, dy=-10, **_INK, text="the paper, table 7"),
            ours.mark_rule(color="var(--candidate)", strokeWidth=2, opacity=0.5).encode(
                y=alt.Y("low:Q", title=title), y2="high:Q"
            ),
            ours.mark_point(color="var(--candidate)", filled=True, size=70).encode(y=y),
            ours.mark_text(align="right", dx=-8, **_INK).encode(y=y, text="name:N"),
        ).properties(width="container", height=300)
    }
