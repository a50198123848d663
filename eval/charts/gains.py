"""Charts of gains per language with intervals: a list, against training text, by model, on tasks.

The key to the colours of the verdicts stands in the page, not in the charts. An arrow marks an end
of an interval that is cut. Few languages become rows on a wide screen too.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import altair as alt
import numpy as np

from data.languages import get
from eval.charts.parts import (
    FEWEST_COLUMNS,
    INK,
    ROW_PIXELS,
    Marks,
    Picture,
    gain_fields,
    gain_tooltip,
    interval_limits,
    language_tooltip,
    line_at,
    marks_across,
    marks_down,
    names_across,
    names_down,
)
from eval.gains import LanguageGain
from eval.paired_runs import mean_gain
from eval.report.contents import ReportContents, speedup_meaning, speedup_text
from eval.tasks.comparison import Compared, MetricScores, shown

VERDICTS = {
    "better": "better beyond noise",
    "uncorrected": "interval excludes 0, but not beyond noise among so many languages",
    "unclear": "within noise",
    "worse": "worse beyond noise",
}
_VERDICTS = list(VERDICTS.values())
_COLOUR = alt.Color("verdict:N", legend=None).scale(
    domain=_VERDICTS, range=["var(--candidate)", "var(--ink)", "var(--quiet)", "var(--baseline)"]
)
_RING = "M1,0A1,1,0,0,1,-1,0A1,1,0,0,1,1,0M.5,0A.5,.5,0,0,0,-.5,0A.5,.5,0,0,0,.5,0"
_SHAPE = alt.Shape("verdict:N", legend=None).scale(
    domain=_VERDICTS, range=["circle", _RING, "circle", "diamond"]
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
COLOURS = ("candidate", "further-0", "further-1", "further-2", "further-3")  # of modes of a task


def wide(report: ReportContents, gains: Mapping[str, LanguageGain]) -> Picture:
    """Returns the chart for a wide screen: one column per language, best first."""
    if len(gains) < FEWEST_COLUMNS:
        return tall(report, gains)
    title = f"↑ {report.candidate.name} better · gain, {report.unit.value}"
    layers = _layers(report, gains, "y", partial(alt.Y, title=title), x=names_across(_names(gains)))
    return layers.properties(width="container", height=280)


def tall(report: ReportContents, gains: Mapping[str, LanguageGain]) -> Picture:
    """Returns the chart for a phone: one row per language, best first."""
    title = f"gain, {report.unit.value} · {report.candidate.name} better →"
    axis = alt.Axis(orient="top", tickCount=4)
    value = partial(alt.X, title=title, axis=axis)
    layers = _layers(report, gains, "x", value, y=names_down(_names(gains)))
    return layers.properties(width="container", height=ROW_PIXELS * len(gains))


def _names(gains: Mapping[str, LanguageGain]) -> list[str]:
    return [gain.name for gain in gains.values()]


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
    known = any(row["from"] is not None for row in rows)  # Vega warns of a layer without values
    return alt.layer(
        *([_INTERVALS.encode(**names, **interval, color=_COLOUR)] if known else []),
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
        {
            "name": at_rank.name,
            "null": null,
            "of": f"{comparison.baseline.name} {comparison.candidate.seeds}",
        }
        for comparison in report.nulls
        for at_rank, null in zip(
            gains.values(),
            [gain.gain.value for gain in comparison.counted.values()],
            strict=True,
        )
    ]
    if not rows:
        return []
    line = alt.Chart(alt.Data(values=rows)).mark_line(
        color="var(--quiet)", strokeDash=[4, 3], strokeWidth=1.5, interpolate="monotone"
    )
    return [line.encode(**names, **{axis: value("null:Q")}, detail="of:N", order="null:Q")]


def by_length(report: ReportContents) -> Picture:
    """Returns the mean gain after each length, its interval, and how many languages gain."""
    languages = report.summary.languages
    rows = [
        {"steps": each.candidate.steps[-1]}
        | dict(zip(("gain", "low", "high"), mean.ends, strict=True))
        | {"better": f"{each.tally.better} of {languages}"}
        for each, runs in report.lengths
        if (mean := mean_gain(each, runs))
    ]
    tooltip = [alt.Tooltip("steps:Q", format=","), *gain_tooltip(digits=4)]
    tooltip.append(alt.Tooltip("better:N", title="better in"))
    drawn = alt.Chart().encode(
        x=alt.X("steps:Q", title="training steps, logarithmic →")
        .scale(type="log", nice=False, padding=40)
        .axis(
            values=[each.candidate.steps[-1] for each, _ in report.lengths if each.mean],
            format=",",
            grid=False,
        ),
        tooltip=tooltip,
    )
    title = f"↑ {report.candidate.name} better · mean gain"
    # Room for the words below a point.
    value: dict[str, Any] = {"y": alt.Y("gain:Q", title=title).scale(padding=16)}
    layers = alt.layer(
        line_at(0.0, "y"),
        drawn.mark_line(color="var(--candidate)", strokeWidth=1.5, opacity=0.6).encode(**value),
        drawn.mark_rule(color="var(--candidate)", strokeWidth=2, opacity=0.5).encode(
            y=alt.Y("low:Q", title=title), y2="high:Q"
        ),
        drawn.mark_point(color="var(--candidate)", filled=True, size=60, opacity=1).encode(**value),
        drawn.mark_text(align="left", dx=6, dy=11, **INK).encode(**value, text="better:N"),
        data=alt.Data(values=rows),
    )
    return layers.properties(width="container", height=170)


def by_tokens(report: ReportContents, gains: Mapping[str, LanguageGain]) -> Picture:
    """Returns gain against training tokens; the best and the worst languages are named."""
    rows = [row for row in _gain_rows(gains) if row["tokens"]]
    middle = float(np.median([row["tokens"] for row in rows]))
    for rank, row in enumerate(rows):  # best gain first
        at_an_end = min(rank, len(rows) - 1 - rank) < _NAMED_AT_EACH_END
        named = row["name"] if at_an_end and not _is_crowded(row, rows[:rank]) else ""
        row["right_of"], row["left_of"] = (named, "") if row["tokens"] < middle else ("", named)
    place = {
        "x": alt.X("tokens:Q", title=[report.training_tokens_are, "logarithmic →"])
        .scale(type="log", nice=False, padding=12)
        .axis(format="~s", tickCount=5, grid=False),
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
    return layers.properties(width="container", height=270)


def _is_crowded(row: dict[str, Any], before: list[dict[str, Any]]) -> bool:
    """Returns whether the name of this row would overlap one that is placed already."""
    named = [other for other in before if other["right_of"] or other["left_of"]]
    spread = max(abs(other["gain"]) for other in (row, *before))
    return any(
        abs(np.log(other["tokens"] / row["tokens"])) < 0.7
        and abs(other["gain"] - row["gain"]) < 0.08 * spread
        for other in named
    )


def _gain_rows(gains: Mapping[str, LanguageGain]) -> list[dict[str, Any]]:
    limits = interval_limits(gain.gain for gain in gains.values())
    return [
        {
            "code": code,
            "name": gain.name,
            **gain_fields(gain.gain, limits),
            "verdict": VERDICTS[gain.verdict],
            "speedup": speedup_meaning(gain) or speedup_text(gain),
            "tokens": gain.text.tokens,
            "pages": gain.gain.examples,
        }
        for code, gain in gains.items()
    ]


def pictures_of_models(report: ReportContents) -> dict[str, Picture]:
    """Returns the chart for a wide screen and that for a phone; nothing with two models only."""
    compared = models(report)
    if len(compared) < 2:
        return {}
    rows, marks = _rows_of_models(report, compared), _marks_of_models(report, compared)
    unit = f"gain, {report.unit.value}"
    better = f"better than {report.baseline.name}"
    tall = marks_down(rows, marks, f"{unit} · {better} →")
    is_wide = len(report.gains) >= FEWEST_COLUMNS
    wide = marks_across(rows, marks, f"↑ {better} · {unit}") if is_wide else tall
    return {"models-wide": wide, "models-tall": tall}


def models(report: ReportContents) -> dict[str, dict[str, LanguageGain]]:
    """Returns the gains of the candidate and of the further models in the report's unit."""
    return {
        compared.candidate.name: compared.counted
        for compared in report.comparisons
        if compared.unit is report.unit
    }


def colours(report: ReportContents) -> dict[str, str]:
    """Returns the colour of each model of the report, as a CSS variable."""
    names = [model.name for model in report.models]
    further = (f"var(--further-{number})" for number in range(len(report.further)))
    return dict(zip(names, ("var(--baseline)", "var(--candidate)", *further), strict=True))


def _marks_of_models(report: ReportContents, compared: Mapping[str, Any]) -> Marks:
    tooltip = language_tooltip(alt.Tooltip("model:N"), *gain_tooltip(digits=4))
    by_model = colours(report)
    return Marks("model", {name: by_model[name] for name in compared}, tooltip)


def _rows_of_models(
    report: ReportContents, compared: Mapping[str, dict[str, LanguageGain]]
) -> list[dict[str, Any]]:
    """Returns one row per language and model, in the candidate's order of languages."""
    limits = [interval_limits(gain.gain for gain in gains.values()) for gains in compared.values()]
    widest = min(low for low, _ in limits), max(high for _, high in limits)
    return [
        {"code": code, "name": gain.name, "model": name}
        | gain_fields(compared[name][code].gain, widest)
        for code, gain in compared[report.candidate.name].items()
        for name in compared
    ]


def pictures_of_tasks(report: ReportContents) -> dict[str, Picture]:
    """Returns the chart of each task for a wide screen and for a phone."""
    pictures: dict[str, Picture] = {}
    for number, task in enumerate(report.tasks):
        by_mode = dict(list(task.by(task.labels[0]).items())[: len(COLOURS)])
        rows, marks = _rows_of_tasks(by_mode), _marks_of_tasks(list(by_mode))
        title = f"gain, points · {report.candidate.name} better →"
        tall = marks_down(rows, marks, title)
        is_wide = len({row["code"] for row in rows}) >= FEWEST_COLUMNS
        title = f"↑ {report.candidate.name} better · gain, points"
        pictures[f"task-{number}-tall"] = tall
        pictures[f"task-{number}-wide"] = marks_across(rows, marks, title) if is_wide else tall
    return pictures


def _marks_of_tasks(modes: list[str]) -> Marks:
    tooltip = language_tooltip(
        alt.Tooltip("mode:N", title="trained on"),
        alt.Tooltip("baseline:Q", format=".1f"),
        alt.Tooltip("candidate:Q", format=".1f"),
        *gain_tooltip(digits=1),
    )
    colours = (f"var(--{colour})" for colour in COLOURS)
    return Marks("mode", dict(zip(modes, colours, strict=False)), tooltip)


def _rows_of_tasks(by_mode: Mapping[str, MetricScores]) -> list[dict[str, Any]]:
    """Returns one row per language and mode, best gain of the first mode first."""
    first = next(iter(by_mode.values())).languages
    codes = {code: None for scores in by_mode.values() for code in scores.languages}
    order = sorted(codes, key=lambda code: -first[code].gain.value if code in first else 0.0)
    gains = [row.gain for scores in by_mode.values() for row in scores.languages.values()]
    limits = interval_limits(gains)
    return [
        _task_row(code, mode, shown(scores.languages[code]), limits)
        for code in order
        if not get(code).is_script_variant
        for mode, scores in by_mode.items()
        if code in scores.languages
    ]


def _task_row(
    code: str, mode: str, compared: Compared, limits: tuple[float, float]
) -> dict[str, Any]:
    """Returns a row, whose interval is drawn within the limits."""
    return {
        "code": code,
        "name": get(code).name,
        "mode": mode,
        "baseline": compared.baseline.value,
        "candidate": compared.candidate.value,
        **gain_fields(compared.gain, limits),
    }
