"""Gains on a task, language by language, each with its interval; one mark per mode."""

from collections.abc import Mapping
from typing import Any

import altair as alt

from data.languages import get
from eval.charts import marks as marked
from eval.charts.marks import Marks
from eval.charts.parts import (
    FEWEST_COLUMNS,
    Estimate,
    Picture,
    gain_tooltip,
    interval_limits,
    language_tooltip,
)
from eval.report import ReportContents
from eval.tasks.compared import Compared, Scores
from eval.tasks.words import shown

LEGEND_AND_AXIS_PIXELS = 110
COLOURS = ("candidate", "further-0", "further-1", "further-2", "further-3")  # one per mark


def pictures(report: ReportContents) -> dict[str, Picture]:
    """Returns the chart of each task for a wide screen and for a phone."""
    found: dict[str, Picture] = {}
    for number, task in enumerate(report.tasks):
        by_mode = dict(list(task.by(task.labels[0]).items())[: len(COLOURS)])
        rows, marks = _rows(by_mode), _marks(list(by_mode))
        title = f"gain, points · {report.candidate.name} better →"
        tall = marked.tall(rows, marks, title, LEGEND_AND_AXIS_PIXELS)
        is_wide = len({row["code"] for row in rows}) >= FEWEST_COLUMNS
        title = f"↑ {report.candidate.name} better · gain, points"
        found[f"task-{number}-tall"] = tall
        found[f"task-{number}-wide"] = marked.wide(rows, marks, title) if is_wide else tall
    return found


def _marks(modes: list[str]) -> Marks:
    tooltip = language_tooltip(
        alt.Tooltip("mode:N", title="trained on"),
        alt.Tooltip("baseline:Q", format=".1f"),
        alt.Tooltip("candidate:Q", format=".1f"),
        *gain_tooltip(digits=1),
    )
    colours = (f"var(--{one})" for one in COLOURS)
    return Marks("mode", dict(zip(modes, colours, strict=False)), tooltip)


def _rows(by_mode: Mapping[str, Scores]) -> list[dict[str, Any]]:
    """Returns one row per language and mode, best gain of the first mode first."""
    first = next(iter(by_mode.values())).languages
    codes = {code: None for one in by_mode.values() for code in one.languages}
    order = sorted(codes, key=lambda code: -first[code].gain.value if code in first else 0.0)
    gains = [one.gain for scores in by_mode.values() for one in scores.languages.values()]
    limits = interval_limits(Estimate(gain.value, gain.low, gain.high) for gain in gains)
    return [
        _row(code, mode, shown(one.languages[code]), limits)
        for code in order
        if not get(code).is_script_variant
        for mode, one in by_mode.items()
        if code in one.languages
    ]


def _row(code: str, mode: str, found: Compared, limits: tuple[float, float]) -> dict[str, Any]:
    """Returns a row, whose interval is drawn within the limits."""
    return {
        "code": code,
        "name": get(code).name,
        "mode": mode,
        "baseline": found.baseline.value,
        "candidate": found.candidate.value,
        **Estimate(found.gain.value, found.gain.low, found.gain.high).fields(limits),
    }
