"""All charts of a report as Vega-Lite specifications.

Altair writes the specifications; the bundle inside the page draws them. Colours are CSS variables
(`var(--candidate)`), which SVG resolves when it is drawn, so the browser's light or dark setting
reaches the charts without a second specification. Blue and orange (Okabe and Ito) stay apart for
colour-blind readers, and no chart relies on colour alone. Every value axis states which direction
is better.
"""

from typing import Any

from eval.charts import (
    curves,
    distillation,
    expert,
    fertility,
    gains,
    language_probability,
    models,
    speedup,
    tasks,
)
from eval.charts.parts import Picture
from eval.report import ReportContents

Spec = dict[str, Any]

# Vega measures text on a canvas, without CSS variables: so the fonts are named here too.
_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif'


def specs(report: ReportContents) -> dict[str, Spec]:
    """Returns every chart by name."""
    languages = {code: gain for code, gain in report.gains.items() if not gain.script_variant}
    pictures: dict[str, Picture] = {
        "gains-wide": gains.wide(report, languages),
        "gains-tall": gains.tall(report, languages),
        "curves": curves.chart(report),
    }
    if report.summary.mean_step_speedup is not None:
        pictures["speedups"] = speedup.chart(languages, report.nulls)
    if any(gain.training_tokens for gain in languages.values()):
        pictures["tokens"] = gains.by_tokens(report, languages)
    if any(gain.bytes_per_token for gain in languages.values()):
        pictures["fertility"] = fertility.chart(languages)
    pictures |= language_probability.pictures(report.funnel)
    pictures |= expert.pictures(report)
    pictures |= distillation.picture(report.students)
    pictures |= models.pictures(report)
    pictures |= tasks.pictures(report)
    return {name: _finished(chart) for name, chart in pictures.items()}


def _finished(chart: Picture) -> Spec:
    """Returns the specification with the fonts and colours of the page."""
    axis = {
        "labelColor": "var(--ink-soft)", "titleColor": "var(--ink-soft)", "domain": False,
        "gridColor": "var(--line)", "tickColor": "var(--line)", "labelFontSize": 11,
        "titleFontSize": 12, "titleFontWeight": "normal", "titlePadding": 10,
    }  # fmt: skip
    legend = {
        "orient": "top", "labelColor": "var(--ink-soft)", "labelFontSize": 12, "symbolSize": 70,
        "symbolOpacity": 1, "columnPadding": 24,
    }  # fmt: skip
    config = {"font": _FONT, "axis": axis, "legend": legend, "view": {"stroke": None}}
    spec = chart.to_dict()
    return spec | {
        "config": config,
        "background": None,
        "autosize": {"type": "fit", "contains": "padding"},
    }
