"""Gains per language with their intervals, as a list and against training text.

The key to the colours of the verdicts stands in the page, not in the charts. An arrow marks an end
of an interval that is cut. Few languages become rows on a wide screen too.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import altair as alt
import numpy as np

from eval.charts.parts import (
    FEWEST_COLUMNS,
    INK,
    ROW_PIXELS,
    Estimate,
    Picture,
    gain_tooltip,
    interval_limits,
    language_tooltip,
    line_at,
    names_across,
    names_down,
)
from eval.language_gain import LanguageGain
from eval.report import ReportContents, speedup_meaning, speedup_text

VERDICTS = {
    "better": "better beyond noise",
    "unclear": "within noise",
    "worse": "worse beyond noise",
}
_VERDICTS = list(VERDICTS.values())
_COLOUR = alt.Color("verdict:N", legend=None).scale(
    domain=_VERDICTS, range=["var(--candidate)", "var(--quiet)", "var(--baseline)"]
)
_SHAPE = alt.Shape("verdict:N", legend=None).scale(
    domain=_VERDICTS, range=["circle", "circle", "diamond"]
)
_VERDICT = {"color": _COLOUR, "shape": _SHAPE}
_TOOLTIP = language_tooltip(
    *gain_tooltip(digits=4),
    alt.Tooltip("verdict:N"),
    alt.Tooltip("speedup:N", title="step speed-up"),
    alt.Tooltip("tokens:Q", title="training tokens", format=",.0f"),
    alt.Tooltip("pages:Q", title="held-out pages"),
)
_INTERVALS = alt.Chart().mark_rule(strokeWidth=2, opacity=0.45)
_DOTS = alt.Chart().mark_point(filled=True, size=44, opacity=1, cursor="pointer")
_NAMED_AT_EACH_END = 3


def estimates(gains: Mapping[str, LanguageGain]) -> list[Estimate]:
    """Returns the gains with the ends of their intervals."""
    return [Estimate(gain.gain, gain.low, gain.high) for gain in gains.values()]


def wide(report: ReportContents, gains: Mapping[str, LanguageGain]) -> Picture:
    """Returns the chart for a wide screen: one column per language, best first."""
    if len(gains) < FEWEST_COLUMNS:
        return tall(report, gains)
    title = f"↑ {report.candidate.name} better · gain, {report.unit.value}"
    layers = _layers(report, gains, "y", partial(alt.Y, title=title), x=names_across())
    return layers.properties(width="container", height=360)


def tall(report: ReportContents, gains: Mapping[str, LanguageGain]) -> Picture:
    """Returns the chart for a phone: one row per language, best first."""
    title = f"gain, {report.unit.value} · {report.candidate.name} better →"
    axis = alt.Axis(orient="top", tickCount=4)
    layers = _layers(report, gains, "x", partial(alt.X, title=title, axis=axis), y=names_down())
    return layers.properties(width="container", height=ROW_PIXELS * len(gains) + 60)


def _layers(
    report: ReportContents,
    gains: Mapping[str, LanguageGain],
    axis: str,
    value: Callable[[str], Any],
    **names: Any,
) -> Any:
    """Returns intervals and gains along an axis, a line at zero and one per null comparison."""
    rows = _gain_rows(gains)
    interval = {axis: value("from:Q"), f"{axis}2": "to:Q"}
    return alt.layer(
        _INTERVALS.encode(**names, **interval, color=_COLOUR),
        *_arrows(rows, axis, value, **names),
        line_at(0.0, axis),
        *_nulls(report, gains, axis, value, **names),
        _DOTS.encode(**names, **{axis: value("gain:Q")}, **_VERDICT, tooltip=_TOOLTIP),
        data=alt.Data(values=rows),
    )


def _arrows(
    rows: list[dict[str, Any]], axis: str, value: Callable[[str], Any], **names: Any
) -> list[alt.Chart]:
    """Returns an arrow at each end of an interval that is cut."""
    turned = {"y": ("triangle-down", "triangle-up"), "x": ("triangle-left", "triangle-right")}
    return [
        alt.Chart()
        .transform_filter(f"datum.{end} !== null && datum.{end} !== datum.{drawn}")
        .mark_point(filled=True, size=36, opacity=0.8, shape=shape)
        .encode(**names, **{axis: value(f"{drawn}:Q")}, color=_COLOUR, tooltip=_TOOLTIP)
        for end, drawn, shape in zip(("low", "high"), ("from", "to"), turned[axis], strict=True)
        if any(row[end] != row[drawn] for row in rows)  # Vega warns of a layer without rows
    ]


def _nulls(
    report: ReportContents,
    gains: Mapping[str, LanguageGain],
    axis: str,
    value: Callable[[str], Any],
    **names: Any,
) -> list[alt.Chart]:
    """Returns the sorted gains between seeds of one side, rank by rank; nothing without any."""
    rows = [
        {"name": at_rank.name, "null": null, "of": f"{one.name} {one.candidate_seeds}"}
        for one in report.nulls
        for at_rank, null in zip(
            gains.values(),
            [gain.gain for gain in one.gains.values() if not gain.script_variant],
            strict=True,
        )
    ]
    if not rows:
        return []
    line = alt.Chart(alt.Data(values=rows)).mark_line(
        color="var(--quiet)", strokeDash=[4, 3], strokeWidth=1.5, interpolate="monotone"
    )
    return [line.encode(**names, **{axis: value("null:Q")}, detail="of:N", order="null:Q")]


def by_tokens(report: ReportContents, gains: Mapping[str, LanguageGain]) -> Picture:
    """Returns gain against training tokens; the best and the worst languages are named."""
    rows = [row for row in _gain_rows(gains) if row["tokens"]]
    middle = float(np.median([row["tokens"] for row in rows]))
    for rank, row in enumerate(rows):  # best gain first
        at_an_end = min(rank, len(rows) - 1 - rank) < _NAMED_AT_EACH_END
        named = row["name"] if at_an_end and not _crowded(row, rows[:rank]) else ""
        row["right_of"], row["left_of"] = (named, "") if row["tokens"] < middle else ("", named)
    place = {
        "x": alt.X("tokens:Q", title=[report.training_tokens_are, "logarithmic →"])
        .scale(type="log", nice=False, padding=12)
        .axis(format="~s", tickCount=5, labelOverlap=True, labelFlush=True, grid=False),
        "y": alt.Y("gain:Q", title=f"↑ {report.candidate.name} better · gain, {report.unit.value}"),
    }
    names = alt.Chart().encode(**place)  # placed towards the middle, so that no name is cut
    layers = alt.layer(
        names.mark_text(align="left", dx=8, **INK).encode(text="right_of:N"),
        names.mark_text(align="right", dx=-8, **INK).encode(text="left_of:N"),
        line_at(0.0, "y"),
        _DOTS.encode(**place, **_VERDICT, tooltip=_TOOLTIP),
        data=alt.Data(values=rows),
    )
    return layers.properties(width="container", height=340)


def _crowded(row: dict[str, Any], before: list[dict[str, Any]]) -> bool:
    """Returns whether the name of this row would overlap one that is placed already."""
    named = [one for one in before if one["right_of"] or one["left_of"]]
    spread = max(abs(one["gain"]) for one in (row, *before))
    return any(
        abs(np.log(one["tokens"] / row["tokens"])) < 0.7
        and abs(one["gain"] - row["gain"]) < 0.08 * spread
        for one in named
    )


def _gain_rows(gains: Mapping[str, LanguageGain]) -> list[dict[str, Any]]:
    drawn = estimates(gains)
    limits = interval_limits(drawn)
    return [
        {
            "code": code,
            "name": gain.name,
            **estimate.fields(limits),
            "verdict": VERDICTS[gain.verdict],
            "speedup": speedup_meaning(gain) or speedup_text(gain),
            "tokens": gain.training_tokens,
            "pages": gain.held_out_pages,
        }
        for (code, gain), estimate in zip(gains.items(), drawn, strict=True)
    ]
