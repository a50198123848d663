"""The pictures as Vega-Lite specifications: Altair writes them, the page's own bundle draws them.

Colours are CSS variables (`var(--candidate)`), which SVG resolves when it is drawn: the browser's
light or dark setting thus reaches the charts without a second specification. Blue and orange (Okabe
and Ito) stay apart for colour-blind readers, and no picture speaks by colour alone. Every value
axis says in which direction better lies. The key to the verdicts stands in the page, not here.
"""

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np

from eval.charts import distillation, expert, language_probability, speedup
from eval.language_gain import LanguageGain
from eval.report import ReportContents, speedup_text

Spec = dict[str, Any]
Picture = alt.Chart | alt.LayerChart | alt.FacetChart

_VERDICT_NAMES = {
    "better": "better beyond noise",
    "unclear": "within noise",
    "worse": "worse beyond noise",
}
_VERDICTS = list(_VERDICT_NAMES.values())
_COLOUR = alt.Color("verdict:N", legend=None).scale(
    domain=_VERDICTS, range=["var(--candidate)", "var(--quiet)", "var(--baseline)"]
)
_SHAPE = alt.Shape("verdict:N", legend=None).scale(
    domain=_VERDICTS, range=["circle", "circle", "diamond"]
)
_VERDICT = {"color": _COLOUR, "shape": _SHAPE}
_TOOLTIP = [
    alt.Tooltip("name:N", title="language"),
    alt.Tooltip("gain:Q", title="gain", format="+.4f"),
    alt.Tooltip("low:Q", title="interval from", format="+.4f"),
    alt.Tooltip("high:Q", title="to", format="+.4f"),
    alt.Tooltip("verdict:N"),
    alt.Tooltip("speedup:N", title="step speed-up"),
    alt.Tooltip("tokens:Q", title="training tokens", format=",.0f"),
    alt.Tooltip("pages:Q", title="held-out pages"),
]
_INTERVALS = alt.Chart().mark_rule(strokeWidth=2, opacity=0.45)
_DOTS = alt.Chart().mark_point(filled=True, size=44, opacity=1)
_ZERO = alt.Chart(alt.Data(values=[{}])).mark_rule(color="var(--ink)", strokeWidth=1)
# Measured on a canvas, which knows no CSS variables: so the names of the fonts stand here too.
_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif'
_INK: dict[str, Any] = {"color": "var(--ink-soft)", "fontSize": 11}
_ROW_PIXELS = 17
_NAMED_AT_EACH_END = 3


def charts(report: ReportContents) -> dict[str, Spec]:
    """Returns every picture by name."""
    gains = {code: gain for code, gain in report.gains.items() if not gain.script_variant}
    pictures: dict[str, Picture] = {
        "gains-wide": gains_wide(report, gains),
        "gains-tall": gains_tall(report, gains),
        "curves": curves(report),
    }
    if report.summary.median_step_speedup is not None:
        pictures["speedups"] = speedup.histogram(gains)
    if any(gain.training_tokens for gain in gains.values()):
        pictures["tokens"] = gain_by_tokens(report, gains)
    if any(gain.bytes_per_token for gain in gains.values()):
        pictures["fertility"] = fertility(gains)
    pictures |= language_probability.pictures(report.funnel)
    pictures |= expert.pictures(report.experts)
    pictures |= distillation.picture(report.students)
    return {name: _finished(chart) for name, chart in pictures.items()}


def gains_wide(report: ReportContents, gains: Mapping[str, LanguageGain]) -> Picture:
    """Returns the per-language picture for a wide screen: a language a column, best first."""
    names = alt.X("name:N", sort=None, title=None).axis(
        labelAngle=-90, labelFontSize=10, labelOverlap=False, labelLimit=120, ticks=False
    )
    title = f"↑ {report.candidate.name} better · gain, {report.unit.value}"
    layers = alt.layer(
        _INTERVALS.encode(x=names, y=alt.Y("low:Q", title=title), y2="high:Q", color=_COLOUR),
        _ZERO.encode(y=alt.datum(0)),
        _DOTS.encode(x=names, y=alt.Y("gain:Q", title=title), **_VERDICT, tooltip=_TOOLTIP),
        data=alt.Data(values=_gain_rows(gains)),
    )
    return layers.properties(width="container", height=360)


def gains_tall(report: ReportContents, gains: Mapping[str, LanguageGain]) -> Picture:
    """Returns the per-language picture for a phone: a language a row, best first."""
    names = alt.Y("name:N", sort=None, title=None).axis(
        labelOverlap=False, labelLimit=110, ticks=False
    )
    title = f"gain, {report.unit.value} · {report.candidate.name} better →"
    axis = alt.Axis(orient="top", tickCount=4)
    layers = alt.layer(
        _INTERVALS.encode(
            y=names, x=alt.X("low:Q", title=title, axis=axis), x2="high:Q", color=_COLOUR
        ),
        _ZERO.encode(x=alt.datum(0)),
        _DOTS.encode(
            y=names, x=alt.X("gain:Q", title=title, axis=axis), **_VERDICT, tooltip=_TOOLTIP
        ),
        data=alt.Data(values=_gain_rows(gains)),
    )
    return layers.properties(width="container", height=_ROW_PIXELS * len(gains) + 60)


def curves(report: ReportContents) -> Picture:
    """Returns held-out loss over steps; the page fills in the rows of the language chosen.

    Thick lines are means over a side's runs, thin ones its runs where it has several.
    """
    names = [report.baseline.name, report.candidate.name]
    scale = alt.Scale(domain=names, range=["var(--baseline)", "var(--candidate)"])
    lines = alt.Chart(alt.Data(name="curve")).encode(
        x=alt.X("step:Q", title="training step →")
        .axis(tickCount=6, grid=False)
        .scale(zero=False, nice=False),
        y=alt.Y("loss:Q", title=f"↓ better · held-out loss, {report.unit.value}").scale(zero=False),
        color=alt.Color("side:N", scale=scale, title=None).legend(symbolType="stroke"),
        tooltip=["side:N", "step:Q", alt.Tooltip("loss:Q", format=".4f", title=report.unit.value)],
    )
    dashes = alt.StrokeDash("side:N", title=None).scale(domain=names, range=[[5, 3], [1, 0]])
    reach = alt.Chart(alt.Data(name="reach"))
    target = reach.mark_rule(color="var(--ink-soft)", strokeDash=[2, 3]).encode(y="target:Q")
    moment = reach.mark_rule(color="var(--ink-soft)", strokeDash=[2, 3]).encode(
        x="step:Q", opacity=alt.condition("datum.reached", alt.value(1), alt.value(0))
    )
    runs = lines.transform_filter("isValid(datum.run)").mark_line(strokeWidth=1, opacity=0.4)
    means = lines.transform_filter("!isValid(datum.run)")
    several = any(len(side.runs) > 1 for side in (report.baseline, report.candidate))
    thin = [runs.encode(detail="run:N", strokeDash=dashes)] if several else []  # Vega warns of none
    return alt.layer(
        target,
        moment,
        *thin,
        means.mark_line(strokeWidth=2).encode(strokeDash=dashes),
        means.mark_point(size=26, filled=True, opacity=1),
    ).properties(width="container", height=320)


def gain_by_tokens(report: ReportContents, gains: Mapping[str, LanguageGain]) -> Picture:
    """Returns gain against training tokens; the languages at both ends are named."""
    rows = [row for row in _gain_rows(gains) if row["tokens"]]
    middle = float(np.median([row["tokens"] for row in rows]))
    for rank, row in enumerate(rows):  # best gain first
        at_an_end = min(rank, len(rows) - 1 - rank) < _NAMED_AT_EACH_END
        named = row["name"] if at_an_end and not _crowded(row, rows[:rank]) else ""
        row["right_of"], row["left_of"] = (named, "") if row["tokens"] < middle else ("", named)
    place = {
        "x": alt.X("tokens:Q", title=f"{report.training_tokens_are}, logarithmic →")
        .scale(type="log", nice=False, padding=12)
        .axis(format="~s", tickCount=5, labelOverlap=True, grid=False),
        "y": alt.Y("gain:Q", title=f"↑ {report.candidate.name} better · gain, {report.unit.value}"),
    }
    names = alt.Chart().encode(**place)  # towards the middle, so that none leaves the picture
    layers = alt.layer(
        names.mark_text(align="left", dx=8, **_INK).encode(text="right_of:N"),
        names.mark_text(align="right", dx=-8, **_INK).encode(text="left_of:N"),
        _ZERO.encode(y=alt.datum(0)),
        _DOTS.encode(**place, **_VERDICT, tooltip=_TOOLTIP),
        data=alt.Data(values=rows),
    )
    return layers.properties(width="container", height=340)


def _crowded(row: dict[str, Any], before: list[dict[str, Any]]) -> bool:
    """Says whether a name that is written already would stand in the way of this one."""
    named = [one for one in before if one["right_of"] or one["left_of"]]
    spread = max(abs(one["gain"]) for one in (row, *before))
    return any(
        abs(np.log(one["tokens"] / row["tokens"])) < 0.7
        and abs(one["gain"] - row["gain"]) < 0.08 * spread
        for one in named
    )


def fertility(gains: Mapping[str, LanguageGain]) -> Picture:
    """Returns bytes per token of each language, a row a script."""
    rows = [
        {"name": g.name, "script": g.script, "bytes": g.bytes_per_token, "page": g.tokens_per_page}
        for g in gains.values()
        if g.bytes_per_token
    ]
    order = sorted({row["script"] for row in rows})
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_point(filled=True, size=55, opacity=0.7, color="var(--candidate)")
        .encode(
            x=alt.X("bytes:Q", title="UTF-8 bytes per token (→ fewer tokens for the same bytes)")
            .axis(tickCount=6)
            .scale(zero=False, nice=False, padding=14),
            y=alt.Y("script:N", sort=order, title=None).axis(grid=True, ticks=False),
            tooltip=[
                alt.Tooltip("name:N", title="language"),
                alt.Tooltip("bytes:Q", title="bytes per token", format=".2f"),
                alt.Tooltip("page:Q", title="tokens per page", format=",.0f"),
            ],
        )
        .properties(width="container", height=_ROW_PIXELS * len(order) + 20)
    )


def _gain_rows(gains: Mapping[str, LanguageGain]) -> list[dict[str, Any]]:
    return [
        {
            "name": gain.name,
            "gain": gain.gain,
            "low": gain.low,
            "high": gain.high,
            "verdict": _VERDICT_NAMES[gain.verdict],
            "speedup": speedup_text(gain),
            "tokens": gain.training_tokens,
            "pages": gain.held_out_pages,
        }
        for gain in gains.values()
    ]


def _finished(chart: Picture) -> Spec:
    """Returns the specification in the page's type and ink."""
    axis = {
        "labelColor": "var(--ink-soft)",
        "titleColor": "var(--ink-soft)",
        "gridColor": "var(--line)",
        "domain": False,
        "tickColor": "var(--line)",
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 10,
    }
    legend = {
        "orient": "top",
        "labelColor": "var(--ink-soft)",
        "labelFontSize": 12,
        "symbolSize": 70,
        "symbolOpacity": 1,
        "columnPadding": 24,
    }
    config = {"font": _FONT, "axis": axis, "legend": legend, "view": {"stroke": None}}
    spec = chart.to_dict()
    return spec | {
        "config": config,
        "background": None,
        "autosize": {"type": "fit", "contains": "padding"},
    }
