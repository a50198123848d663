"""Charts over training: a language's held-out loss, step speed-ups, and gain kept by students.

Step speed-ups are figure 8 of the paper. Lines in the histogram are the counts between seeds of one
side, and lines beside bars their ratios. All bars have one round width. Bars below 1, where the
candidate ends worse, have the baseline's colour. A few far outliers of noisy curves would leave
almost all bars empty, so every speed-up above three times the median shares the last bar. The
paper's mean is a line in the bar that contains it; above all bars, only its label stands at the
right end.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from eval import speed_up
from eval.charts import gains
from eval.charts.parts import (
    INK,
    NARROWEST_PIXELS,
    Picture,
    language_tooltip,
    legend_columns,
    line_at,
    names_down,
)
from eval.distillation import PAPER, Student
from eval.gains import Comparison, LanguageGain
from eval.losses import Unit
from eval.report.contents import ReportContents
from eval.sides import Side

DASHES = [[5, 3], [1, 0], [8, 3], [2, 2], [8, 3, 2, 3], [3, 6]]


def sides(report: ReportContents) -> list[Side]:
    """Returns the models whose losses have the unit of the report: both sides come first."""
    further = [
        group.side
        for group, compared in report.further
        if compared.unit is report.unit or report.unit is Unit.BITS_PER_BYTE
    ]
    return [*report.compared.sides, *further]


def curves_chart(report: ReportContents) -> Picture:
    """Returns held-out loss over steps; the page fills in the rows of the chosen language.

    Thick lines are means over the runs of a side. Thin lines are single runs, where there are
    several.
    """
    drawn = sides(report)
    names = [side.name for side in drawn]
    colour_of = gains.colours(report)
    scale = alt.Scale(domain=names, range=[colour_of[name] for name in names])
    lines = alt.Chart(alt.Data(name="curve")).encode(
        x=alt.X("step:Q", title="training step →")
        .axis(tickCount=6, grid=False)
        .scale(zero=False, nice=False),
        y=alt.Y("loss:Q", title=f"↓ better · held-out loss, {report.unit.value}").scale(zero=False),
        color=alt.Color("side:N", scale=scale, title=None).legend(
            symbolType="stroke",
            columns=legend_columns(names),
            labelLimit=NARROWEST_PIXELS,
        ),
        tooltip=["side:N", "step:Q", alt.Tooltip("loss:Q", format=".4f", title=report.unit.value)],
    )
    dashes = alt.StrokeDash("side:N", title=None).scale(domain=names, range=DASHES[: len(names)])
    reach = alt.Chart(alt.Data(name="reach"))
    target = reach.mark_rule(color="var(--ink-soft)", strokeDash=[2, 3]).encode(y="target:Q")
    moment = reach.mark_rule(color="var(--ink-soft)", strokeDash=[2, 3]).encode(
        x="step:Q", opacity=alt.condition("datum.reached", alt.value(1), alt.value(0))
    )
    runs = lines.transform_filter("isValid(datum.run)").mark_line(strokeWidth=1, opacity=0.4)
    means = lines.transform_filter("!isValid(datum.run)")
    several = any(len(side.runs) > 1 for side in drawn)
    # Without a run Vega would warn.
    thin = [runs.encode(detail="run:N", strokeDash=dashes)] if several else []
    return alt.layer(
        target,
        moment,
        *thin,
        means.mark_line(strokeWidth=2).encode(strokeDash=dashes),
        means.mark_point(size=26, filled=True, opacity=1),
    ).properties(width="container", height=240)


_COLOUR = alt.condition("datum.slower", alt.value("var(--baseline)"), alt.value("var(--candidate)"))
_MOST_BINS = 14
_FEWEST_IN_A_HISTOGRAM = 12  # fewer would share one bar or two
_ROW_PIXELS = 26
_BESIDE_THE_BAR: dict[bool, dict[str, Any]] = {  # by whether the candidate is slower
    False: {"align": "left", "dx": 6},
    True: {"align": "right", "dx": -6},
}
_OUTLIER = 3.0  # times the median speed-up
_ABOVE = -10  # pixels from the top of the chart
_NICE_WIDTHS = (0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 100.0)
_PAPERS_MEAN = f"the paper’s mean: {speed_up.PAPER_MEAN:.0f}×"


def speed_up_chart(gains: Mapping[str, LanguageGain], nulls: Sequence[Comparison]) -> Picture:
    """Returns the histogram, or a bar per language where they are few."""
    if len(gains) < _FEWEST_IN_A_HISTOGRAM:
        return _bars(gains, nulls)
    return _histogram(gains, nulls)


def _bars(gains: Mapping[str, LanguageGain], nulls: Sequence[Comparison]) -> Picture:
    """Returns one bar per language that begins at 1, on a logarithmic axis."""
    rows = [
        {"code": code, "name": gain.name, "speedup": gain.speedup.ratio, "from": 1.0}
        | {"slower": gain.speedup.ratio < 1, "label": f"{gain.speedup.ratio:.2f}"}
        for code, gain in gains.items()
        if gain.speedup is not None
    ]
    between_seeds = [
        {"name": gain.name, "null": between.ratio}
        for null in nulls
        for code, gain in gains.items()
        if (between := null.gains[code].speedup) is not None
    ]
    ends = [row["speedup"] for row in rows] + [row["null"] for row in between_seeds]
    domain = [min(0.8, *ends) / 1.1, max(1.25, *ends) * 1.1]  # numbers stand beyond the bars
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("speedup:Q", title="step speed-up, logarithmic (→ faster)")
        .scale(type="log", domain=domain, nice=False)
        .axis(format="~g", tickCount=6),
        y=(names := names_down(gain.name for gain in gains.values())),
        tooltip=language_tooltip(alt.Tooltip("speedup:Q", title="step speed-up", format=".3f")),
    )
    bars = base.mark_bar(cornerRadius=2, height=14, cursor="pointer").encode(
        x2="from:Q", color=_COLOUR
    )
    numbers = [
        base.transform_filter(("" if slower else "!") + "datum.slower")
        .mark_text(**INK, **place)
        .encode(text="label:N")
        for slower, place in _BESIDE_THE_BAR.items()
        if any(row["slower"] is slower for row in rows)  # Vega warns of a layer without rows
    ]
    ticks = alt.Chart(alt.Data(values=between_seeds)).mark_tick(thickness=2, color="var(--ink)")
    null = [ticks.encode(x="null:Q", y=names)] if between_seeds else []
    layers = [bars, line_at(1.0, "x"), *null, *numbers]
    return alt.layer(*layers).properties(width="container", height=_ROW_PIXELS * len(rows))


def _histogram(gains: Mapping[str, LanguageGain], nulls: Sequence[Comparison]) -> Picture:
    """Returns the histogram."""
    between_seeds = [_ratios(null.counted) for null in nulls]
    rows = speedup_bins(_ratios(gains), between_seeds)
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("speedup:N", sort=None, title="step speed-up (→ faster)").axis(
            labelAngle=-45, labelOverlap=False, ticks=False
        ),
        y=alt.Y("languages:Q", title="languages")
        .axis(tickMinStep=1, tickCount=5)
        .scale(domainMax=1.15 * max(max(row["languages"], row["null"]) for row in rows)),
        tooltip=[
            alt.Tooltip("speedup:N", title="step speed-up"),
            "languages:Q",
            alt.Tooltip("null:Q", title="between seeds", format=".1f"),
        ],
    )
    bars = base.mark_bar(cornerRadiusTopLeft=2, cornerRadiusTopRight=2).encode(color=_COLOUR)
    counts = base.mark_text(dy=-7, color="var(--ink-soft)").encode(text="label:N")
    null = base.mark_tick(thickness=2, color="var(--ink)").encode(y="null:Q")
    layers = [bars, *([null] if between_seeds else []), counts, *_papers_mean(rows)]
    return alt.layer(*layers).properties(width="container", height=190)


def _ratios(gains: Mapping[str, LanguageGain]) -> list[float]:
    return [gain.speedup.ratio for gain in gains.values() if gain.speedup is not None]


def _papers_mean(rows: list[dict[str, Any]]) -> list[alt.Chart]:
    """Returns a line in the bar that contains the paper's mean, or a label at the right end."""
    places = [place for place, row in enumerate(rows) if row.get("holds_papers_mean")]
    if not places:
        end = alt.Chart(alt.Data(values=[{}]))
        text = f"{_PAPERS_MEAN} →"
        return [end.mark_text(align="right", x="width", y=_ABOVE, **INK, text=text)]
    line = alt.Chart(alt.Data(values=[rows[places[0]]])).encode(x=alt.X("speedup:N", sort=None))
    towards_middle = (
        {"align": "left", "dx": 6} if places[0] < len(rows) / 2 else {"align": "right", "dx": -6}
    )
    return [
        line.mark_rule(color="var(--ink)", strokeDash=[4, 3]),
        line.mark_text(y=_ABOVE, **towards_middle, **INK, text=_PAPERS_MEAN),
    ]


def speedup_bins(
    ratios: Sequence[float], nulls: Sequence[Sequence[float]] = ()
) -> list[dict[str, Any]]:
    """Returns bars of one round width; far outliers share the last one.

    Args:
        ratios: speed-ups.
        nulls: speed-ups between seeds, per division; `null` of a bar is their mean count.
    """
    all_ratios = np.concatenate([ratios, *nulls])
    most = min(all_ratios.max(), _OUTLIER * float(np.median(ratios)))
    least = min(all_ratios.min(), most)
    width = next((w for w in _NICE_WIDTHS if (most - least) / w <= _MOST_BINS), most - least)
    first = np.floor(least / width)
    edges = (first + np.arange(np.floor(most / width) - first + 2)) * width
    counts, null_counts = (
        np.histogram(np.minimum(values, edges[-2]), edges)[0]
        for values in (np.asarray(ratios), np.concatenate([[], *nulls]))
    )
    beyond = bool(all_ratios.max() >= edges[-1])
    bars = []
    for place, (low, high) in enumerate(itertools.pairwise(edges.tolist())):
        last = beyond and place == len(counts) - 1
        bar = {
            "speedup": f"{low:.4g} or more" if last else f"{low:.4g}–{high:.4g}",
            "languages": int(counts[place]),
            "label": str(counts[place]) if counts[place] else "",
            "null": float(null_counts[place]) / max(len(nulls), 1),
            "slower": high <= 1 + 1e-9 and not last,
        }
        if low <= speed_up.PAPER_MEAN < (np.inf if last else high):
            bar["holds_papers_mean"] = True
        bars.append(bar)
    return bars


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


def distillation_picture(students: Sequence[Student]) -> dict[str, Picture]:
    """Returns the chart; nothing if no student has both numbers."""
    rows = [
        {
            "name": student.name,
            "compression": student.compression,
            "kept": student.overall.gain_retained,
            "low": student.overall.gain_retained_low,
            "high": student.overall.gain_retained_high,
        }
        for student in students
        if student.compression is not None and student.overall.gain_retained is not None
    ]
    if not rows:
        return {}
    layers = alt.layer(*_paper(), *_students(rows))
    return {"distillation": layers.properties(width="container", height=240)}


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
