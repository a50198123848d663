"""Histogram of step speed-ups, as figure 8 of the paper, with one bar for "not reached".

All bars have one round width. A few far outliers of noisy curves would leave almost all bars empty,
so every speed-up above three times the median shares the last bar. The paper's mean is a line in
the bar that contains it; above all bars, only its label stands at the right end.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np

from eval import step_speedup
from eval.language_gain import LanguageGain

_INK: dict[str, Any] = {"color": "var(--ink-soft)", "fontSize": 11}
_NOT_REACHED = "not reached"
_MOST_BINS = 14
_OUTLIER = 3.0  # times the median speed-up
_ABOVE = -10  # pixels from the top of the chart
_NICE_WIDTHS = (0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 100.0)
_PAPERS_MEAN = f"the paper’s mean: {step_speedup.PAPER_MEAN:.0f}×"


def histogram(gains: Mapping[str, LanguageGain]) -> alt.LayerChart | alt.FacetChart:
    """Returns the histogram."""
    rows = speedup_bins([gain.step_speedup for gain in gains.values()])
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("speedup:N", sort=None, title="step speed-up (→ faster)").axis(
            labelAngle=-45, labelOverlap=False, ticks=False
        ),
        y=alt.Y("languages:Q", title="languages")
        .axis(tickMinStep=1, tickCount=5)
        .scale(domainMax=1.15 * max(row["languages"] for row in rows)),
        tooltip=[alt.Tooltip("speedup:N", title="step speed-up"), "languages:Q"],
    )
    colour = alt.condition(
        f"datum.speedup === '{_NOT_REACHED}'",
        alt.value("var(--baseline)"),
        alt.value("var(--candidate)"),
    )
    bars = base.mark_bar(cornerRadiusTopLeft=2, cornerRadiusTopRight=2).encode(color=colour)
    counts = base.mark_text(dy=-7, color="var(--ink-soft)").encode(text="label:N")
    return alt.layer(bars, counts, *_papers_mean(rows)).properties(width="container", height=260)


def _papers_mean(rows: list[dict[str, Any]]) -> list[alt.Chart]:
    """Returns a line in the bar that contains the paper's mean, or a label at the right end."""
    at = [place for place, row in enumerate(rows) if row.get("holds_papers_mean")]
    if not at:
        end = alt.Chart(alt.Data(values=[{}]))
        text = f"{_PAPERS_MEAN} →"
        return [end.mark_text(align="right", x="width", y=_ABOVE, **_INK, text=text)]
    line = alt.Chart(alt.Data(values=[rows[at[0]]])).encode(x=alt.X("speedup:N", sort=None))
    towards_middle = (
        {"align": "left", "dx": 6} if at[0] < len(rows) / 2 else {"align": "right", "dx": -6}
    )
    return [
        line.mark_rule(color="var(--ink)", strokeDash=[4, 3]),
        line.mark_text(y=_ABOVE, **towards_middle, **_INK, text=_PAPERS_MEAN),
    ]


def speedup_bins(speedups: list[float | None]) -> list[dict[str, Any]]:
    """Returns a bar for None, then bars of one round width; far outliers share the last one."""
    reached = np.array([speedup for speedup in speedups if speedup is not None])
    bars = [(_NOT_REACHED, len(speedups) - len(reached), False)]
    if reached.size:
        most = min(reached.max(), _OUTLIER * float(np.median(reached)))
        spread = most - reached.min()
        width = next((w for w in _NICE_WIDTHS if spread / w <= _MOST_BINS), spread)
        first = np.floor(reached.min() / width)
        edges = (first + np.arange(np.floor(most / width) - first + 2)) * width
        counts, _ = np.histogram(np.minimum(reached, edges[-2]), edges)
        beyond = bool(reached.max() >= edges[-1])
        for place, ((low, high), count) in enumerate(
            zip(itertools.pairwise(edges), counts.tolist(), strict=True)
        ):
            last = beyond and place == len(counts) - 1
            name = f"{low:.4g} or more" if last else f"{low:.4g}–{high:.4g}"
            holds_mean = low <= step_speedup.PAPER_MEAN < (np.inf if last else high)
            bars.append((name, count, bool(holds_mean)))
    return [
        {"speedup": name, "languages": count, "label": str(count) if count else ""}
        | ({"holds_papers_mean": True} if holds_mean else {})
        for name, count, holds_mean in bars
    ]
