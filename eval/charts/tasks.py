"""Gains on a task, language by language, each with its interval; one mark per mode."""

from collections.abc import Mapping
from typing import Any

import altair as alt

from data.languages import get
from eval.charts.gains import FEWEST_COLUMNS, limits_of
from eval.charts.models import (
    LEAST_ROW_PIXELS,
    NARROWEST_PIXELS,
    ROW_PIXELS,
    SHAPES,
    legend_columns,
)
from eval.report import ReportContents
from eval.tasks.compared import Compared, Scores
from eval.tasks.words import shown

Picture = alt.Chart | alt.LayerChart | alt.FacetChart
LEGEND_AND_AXIS_PIXELS = 110
COLOURS = ("candidate", "further-0", "further-1", "further-2", "further-3")  # one per mark


def pictures(report: ReportContents) -> dict[str, Picture]:
    """Returns the chart of each task for a wide screen and for a phone."""
    found: dict[str, Picture] = {}
    for number, task in enumerate(report.tasks):
        by_mode = dict(list(task.by(task.labels[0]).items())[: len(COLOURS)])
        rows = _rows(by_mode)
        tall = _tall(rows, list(by_mode), f"gain, points · {report.candidate.name} better →")
        wide = f"↑ {report.candidate.name} better · gain, points"
        is_wide = len({row["code"] for row in rows}) >= FEWEST_COLUMNS
        found[f"task-{number}-tall"] = tall
        found[f"task-{number}-wide"] = _wide(rows, list(by_mode), wide) if is_wide else tall
    return found


def _wide(rows: list[dict[str, Any]], modes: list[str], title: str) -> Picture:
    place = {
        "x": alt.X("name:N", sort=None, title=None).axis(
            labelAngle=-90, labelFontSize=10, labelOverlap=False, labelLimit=120, ticks=False
        ),
        "xOffset": alt.XOffset("mode:N", sort=modes).scale(domain=modes),
    }
    ends = {"y": alt.Y("from:Q"), "y2": "to:Q"}
    layers = _layers(rows, modes, place, {"y": alt.Y("gain:Q", title=title)}, ends, "y")
    return layers.properties(width="container", height=360)


def _tall(rows: list[dict[str, Any]], modes: list[str], title: str) -> Picture:
    place = {
        "y": alt.Y("name:N", sort=None, title=None).axis(
            labelOverlap=False, labelLimit=110, ticks=False
        ),
        "yOffset": alt.YOffset("mode:N", sort=modes).scale(domain=modes),
    }
    x = alt.X("gain:Q", title=title, axis=alt.Axis(orient="top", tickCount=4))
    layers = _layers(rows, modes, place, {"x": x}, {"x": alt.X("from:Q"), "x2": "to:Q"}, "x")
    height = max(LEAST_ROW_PIXELS, ROW_PIXELS * len(modes)) * len({row["code"] for row in rows})
    return layers.properties(width="container", height=height + LEGEND_AND_AXIS_PIXELS)


def _layers(
    rows: list[dict[str, Any]],
    modes: list[str],
    place: dict[str, Any],
    value: dict[str, Any],
    interval: dict[str, Any],
    axis: str,
) -> Any:
    legend = alt.Legend(columns=legend_columns(modes), labelLimit=NARROWEST_PIXELS)
    colours = [f"var(--{COLOURS[at]})" for at in range(len(modes))]
    colour = alt.Color("mode:N", title=None, legend=legend).scale(domain=modes, range=colours)
    shapes = list(SHAPES[: len(modes)])
    shape = alt.Shape("mode:N", title=None).scale(domain=modes, range=shapes)
    tooltip = [
        alt.Tooltip("name:N", title="language"),
        alt.Tooltip("mode:N", title="trained on"),
        alt.Tooltip("baseline:Q", format=".1f"),
        alt.Tooltip("candidate:Q", format=".1f"),
        alt.Tooltip("gain:Q", format="+.1f"),
        alt.Tooltip("low:Q", title="interval from", format="+.1f"),
        alt.Tooltip("high:Q", title="to", format="+.1f"),
    ]
    marks = alt.Chart().encode(**place, color=colour, tooltip=tooltip)
    zero = alt.Chart(alt.Data(values=[{}])).mark_rule(color="var(--ink)", strokeWidth=1)
    return alt.layer(
        marks.mark_rule(strokeWidth=1.5, opacity=0.45).encode(**interval),
        zero.encode(**{axis: alt.datum(0)}),
        marks.mark_point(filled=True, size=26, opacity=1).encode(**value, shape=shape),
        data=alt.Data(values=rows),
    )


def _rows(by_mode: Mapping[str, Scores]) -> list[dict[str, Any]]:
    """Returns one row per language and mode, best gain of the first mode first."""
    first = next(iter(by_mode.values())).languages
    codes = {code: None for one in by_mode.values() for code in one.languages}
    order = sorted(codes, key=lambda code: -first[code].gain.value if code in first else 0.0)
    gains = [one.gain for scores in by_mode.values() for one in scores.languages.values()]
    limits = limits_of([(gain.value, gain.low, gain.high) for gain in gains])
    return [
        _row(code, mode, shown(one.languages[code]), limits)
        for code in order
        if not get(code).is_script_variant
        for mode, one in by_mode.items()
        if code in one.languages
    ]


def _row(code: str, mode: str, found: Compared, limits: tuple[float, float]) -> dict[str, Any]:
    """Returns a row, whose interval is drawn within the limits."""
    low, high = found.gain.low, found.gain.high
    return {
        "code": code,
        "name": get(code).name,
        "mode": mode,
        "baseline": found.baseline.value,
        "candidate": found.candidate.value,
        "gain": found.gain.value,
        "low": low,
        "high": high,
        "from": None if low is None else max(low, limits[0]),
        "to": None if high is None else min(high, limits[1]),
    }
