"""Gains over the baseline of every model, language by language, each with its interval."""

from collections.abc import Mapping
from typing import Any

import altair as alt

from eval.charts import marks as marked
from eval.charts.gains import estimates
from eval.charts.marks import Marks
from eval.charts.parts import (
    FEWEST_COLUMNS,
    Picture,
    gain_tooltip,
    interval_limits,
    language_tooltip,
)
from eval.language_gain import LanguageGain
from eval.report import ReportContents

AROUND_PIXELS = 60  # of the legend and the axis


def pictures(report: ReportContents) -> dict[str, Picture]:
    """Returns the chart for a wide screen and that for a phone; nothing with two models only."""
    compared = models(report)
    if len(compared) < 2:
        return {}
    rows, marks = _rows(report, compared), _marks(report, compared)
    unit = f"gain, {report.unit.value}"
    better = f"better than {report.baseline.name}"
    tall = marked.tall(rows, marks, f"{unit} · {better} →", AROUND_PIXELS)
    is_wide = len(report.gains) >= FEWEST_COLUMNS
    wide = marked.wide(rows, marks, f"↑ {better} · {unit}") if is_wide else tall
    return {"models-wide": wide, "models-tall": tall}


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


def _marks(report: ReportContents, compared: Mapping[str, Any]) -> Marks:
    tooltip = language_tooltip(alt.Tooltip("model:N"), *gain_tooltip(digits=4))
    of = colours(report)
    return Marks("model", {name: of[name] for name in compared}, tooltip)


def _rows(
    report: ReportContents, compared: Mapping[str, dict[str, LanguageGain]]
) -> list[dict[str, Any]]:
    """Returns one row per language and model, in the candidate's order of languages."""
    drawn = {
        name: dict(zip(gains, estimates(gains), strict=True)) for name, gains in compared.items()
    }
    limits = [interval_limits(one.values()) for one in drawn.values()]
    widest = min(low for low, _ in limits), max(high for _, high in limits)
    return [
        {"code": code, "name": gain.name, "model": name, **drawn[name][code].fields(widest)}
        for code, gain in compared[report.candidate.name].items()
        for name in compared
    ]
