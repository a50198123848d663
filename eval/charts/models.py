"""Gains over the baseline of every model, language by language, each with its interval.

A model has a colour and a mark of its own. Its mark stands a little beside those of the others.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from eval.charts.gains import FEWEST_COLUMNS, interval_limits
from eval.language_gain import LanguageGain
from eval.report import ReportContents

Picture = alt.Chart | alt.LayerChart | alt.FacetChart

SHAPES = ("circle", "square", "triangle-up", "cross", "triangle-down")
ROW_PIXELS = 9  # per model and language
LEAST_ROW_PIXELS = 17
ENTRY_PIXELS, CHARACTER_PIXELS = 40, 7  # of a legend's entry, and of a character of its name
NARROWEST_PIXELS = 300  # for a legend beside the axis, on a screen of 390 pixels


def pictures(report: ReportContents) -> dict[str, Picture]:
    """Returns the chart for a wide screen and that for a phone; nothing with two models only."""
    compared = models(report)
    if len(compared) < 2:
        return {}
    return {"models-wide": _wide(report, compared), "models-tall": _tall(report, compared)}


def models(report: ReportContents) -> dict[str, dict[str, LanguageGain]]:
    """Returns the gains of the candidate and of the further models in the report's unit."""
    found = {report.candidate.name: report.gains}
    found |= {one.name: one.gains for one in report.further if one.unit is report.unit}
    return {
        name: {code: gain for code, gain in gains.items() if not gain.script_variant}
        for name, gains in found.items()
    }


def colours(report: ReportContents) -> dict[str, str]:
    """Returns the colour of each model of the report, as a CSS variable."""
    names = [one.name for one in report.models]
    further = (f"var(--further-{number})" for number in range(len(report.further)))
    return dict(zip(names, ("var(--baseline)", "var(--candidate)", *further), strict=True))


def legend_columns(names: Sequence[str]) -> int:
    """Returns the columns of a legend: 0 for one line where that fits a phone, otherwise 1."""
    pixels = sum(ENTRY_PIXELS + CHARACTER_PIXELS * len(name) for name in names)
    return 0 if pixels <= NARROWEST_PIXELS else 1


def _wide(report: ReportContents, compared: Mapping[str, dict[str, LanguageGain]]) -> Picture:
    if len(report.gains) < FEWEST_COLUMNS:
        return _tall(report, compared)
    place = {
        "x": alt.X("name:N", sort=None, title=None).axis(
            labelAngle=-90, labelFontSize=10, labelOverlap=False, labelLimit=120, ticks=False
        ),
        "xOffset": _offset("xOffset", compared),
    }
    title = f"↑ better than {report.baseline.name} · gain, {report.unit.value}"
    y = alt.Y("gain:Q", title=title)
    layers = _layers(report, compared, place, {"y": y}, {"y": alt.Y("from:Q"), "y2": "to:Q"}, "y")
    return layers.properties(width="container", height=360)


def _tall(report: ReportContents, compared: Mapping[str, dict[str, LanguageGain]]) -> Picture:
    place = {
        "y": alt.Y("name:N", sort=None, title=None).axis(
            labelOverlap=False, labelLimit=110, ticks=False
        ),
        "yOffset": _offset("yOffset", compared),
    }
    title = f"gain, {report.unit.value} · better than {report.baseline.name} →"
    x = alt.X("gain:Q", title=title, axis=alt.Axis(orient="top", tickCount=4))
    layers = _layers(report, compared, place, {"x": x}, {"x": alt.X("from:Q"), "x2": "to:Q"}, "x")
    row = max(LEAST_ROW_PIXELS, ROW_PIXELS * len(compared))
    languages = len(compared[report.candidate.name])
    return layers.properties(width="container", height=row * languages + 60)


def _offset(channel: str, compared: Mapping[str, Any]) -> Any:
    kind = alt.XOffset if channel == "xOffset" else alt.YOffset
    return kind("model:N", sort=list(compared)).scale(domain=list(compared))


def _layers(
    report: ReportContents,
    compared: Mapping[str, dict[str, LanguageGain]],
    place: dict[str, Any],
    value: dict[str, Any],
    interval: dict[str, Any],
    axis: str,
) -> Any:
    names, colour_of = list(compared), colours(report)
    legend = alt.Legend(columns=legend_columns(names), labelLimit=NARROWEST_PIXELS)
    colour = alt.Color("model:N", title=None, legend=legend).scale(
        domain=names, range=[colour_of[name] for name in names]
    )
    shape = alt.Shape("model:N", title=None).scale(domain=names, range=list(SHAPES[: len(names)]))
    tooltip = [
        alt.Tooltip("name:N", title="language"),
        alt.Tooltip("model:N"),
        alt.Tooltip("gain:Q", format="+.4f"),
        alt.Tooltip("low:Q", title="interval from", format="+.4f"),
        alt.Tooltip("high:Q", title="to", format="+.4f"),
    ]
    rows = alt.Chart().encode(**place, color=colour, tooltip=tooltip)
    zero = alt.Chart(alt.Data(values=[{}])).mark_rule(color="var(--ink)", strokeWidth=1)
    return alt.layer(
        rows.mark_rule(strokeWidth=1.5, opacity=0.45).encode(**interval),
        zero.encode(**{axis: alt.datum(0)}),
        rows.mark_point(filled=True, size=26, opacity=1).encode(**value, shape=shape),
        data=alt.Data(values=_rows(report, compared)),
    )


def _rows(
    report: ReportContents, compared: Mapping[str, dict[str, LanguageGain]]
) -> list[dict[str, Any]]:
    """Returns one row per language and model, in the candidate's order of languages."""
    limits = [interval_limits(gains) for gains in compared.values()]
    low, high = min(one[0] for one in limits), max(one[1] for one in limits)
    return [
        {
            "code": code,
            "name": gain.name,
            "model": name,
            "gain": gain.gain,
            "low": gain.low,
            "high": gain.high,
            "from": None if gain.low is None else max(gain.low, low),
            "to": None if gain.high is None else min(gain.high, high),
        }
        for code in compared[report.candidate.name]
        for name, gains in compared.items()
        for gain in (gains[code],)
    ]
