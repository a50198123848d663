"""Step speed-ups: a histogram as figure 8 of the paper; of few languages, one bar each.

Lines in the histogram are the counts between seeds of one side, and lines beside bars their ratios.

All bars have one round width. Bars below 1, where the candidate ends worse, have the baseline's
colour. A few far outliers of noisy curves would leave almost all bars empty, so every speed-up
above three times the median shares the last bar. The paper's mean is a line in the bar that
contains it; above all bars, only its label stands at the right end.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from eval.charts.parts import INK, Picture, language_tooltip, line_at, names_down
from eval.language_gain import LanguageGain
from eval.statistics import step_speedup
from eval.statistics.null_comparison import NullComparison

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
_PAPERS_MEAN = f"the paper’s mean: {step_speedup.PAPER_MEAN:.0f}×"


def chart(gains: Mapping[str, LanguageGain], nulls: Sequence[NullComparison]) -> Picture:
    """Returns the histogram, or a bar per language where they are few."""
    if len(gains) < _FEWEST_IN_A_HISTOGRAM:
        return _bars(gains, nulls)
    return _histogram(gains, nulls)


def _bars(gains: Mapping[str, LanguageGain], nulls: Sequence[NullComparison]) -> Picture:
    """Returns one bar per language that begins at 1, on a logarithmic axis."""
    rows = [
        {"code": code, "name": gain.name, "speedup": gain.step_speedup, "from": 1.0}
        | {"slower": gain.step_speedup < 1, "label": f"{gain.step_speedup:.2f}"}
        for code, gain in gains.items()
        if gain.step_speedup is not None
    ]
    between_seeds = [
        {"name": gain.name, "null": found.step_speedup}
        for one in nulls
        for code, gain in gains.items()
        if (found := one.gains.get(code)) is not None and found.step_speedup is not None
    ]
    ends = [row["speedup"] for row in rows] + [row["null"] for row in between_seeds]
    domain = [min(0.8, *ends) / 1.1, max(1.25, *ends) * 1.1]  # numbers stand beyond the bars
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("speedup:Q", title="step speed-up, logarithmic (→ faster)")
        .scale(type="log", domain=domain, nice=False)
        .axis(format="~g", tickCount=6),
        y=names_down(),
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
    null = [ticks.encode(x="null:Q", y=names_down())] if between_seeds else []
    layers = [bars, line_at(1.0, "x"), *null, *numbers]
    return alt.layer(*layers).properties(width="container", height=_ROW_PIXELS * len(rows) + 20)


def _histogram(gains: Mapping[str, LanguageGain], nulls: Sequence[NullComparison]) -> Picture:
    """Returns the histogram."""
    between_seeds = [
        [gain.step_speedup for gain in one.gains.values() if not gain.script_variant]
        for one in nulls
    ]
    rows = speedup_bins(
        [gain.step_speedup for gain in gains.values() if gain.step_speedup is not None],
        [[ratio for ratio in one if ratio is not None] for one in between_seeds],
    )
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
    return alt.layer(*layers).properties(width="container", height=260)


def _papers_mean(rows: list[dict[str, Any]]) -> list[alt.Chart]:
    """Returns a line in the bar that contains the paper's mean, or a label at the right end."""
    at = [place for place, row in enumerate(rows) if row.get("holds_papers_mean")]
    if not at:
        end = alt.Chart(alt.Data(values=[{}]))
        text = f"{_PAPERS_MEAN} →"
        return [end.mark_text(align="right", x="width", y=_ABOVE, **INK, text=text)]
    line = alt.Chart(alt.Data(values=[rows[at[0]]])).encode(x=alt.X("speedup:N", sort=None))
    towards_middle = (
        {"align": "left", "dx": 6} if at[0] < len(rows) / 2 else {"align": "right", "dx": -6}
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
    every = np.concatenate([ratios, *nulls])
    most = min(every.max(), _OUTLIER * float(np.median(ratios)))
    least = min(every.min(), most)
    width = next((w for w in _NICE_WIDTHS if (most - least) / w <= _MOST_BINS), most - least)
    first = np.floor(least / width)
    edges = (first + np.arange(np.floor(most / width) - first + 2)) * width
    counts, null_counts = (
        np.histogram(np.minimum(values, edges[-2]), edges)[0]
        for values in (np.asarray(ratios), np.concatenate([[], *nulls]))
    )
    beyond = bool(every.max() >= edges[-1])
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
        if low <= step_speedup.PAPER_MEAN < (np.inf if last else high):
            bar["holds_papers_mean"] = True
        bars.append(bar)
    return bars
