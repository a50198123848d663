"""Charts of text: how certain the identifier was of each language's pages, and bytes per token.

One bar per language holds 100% of its kept pages, divided into bins of the identifier's
probability; the least certain languages come first. Bins below 0.95 are orange, stronger where less
certain, so the orange part of a bar is the share of uncertain pages. A line at one half shows
whether the median is among them. The last bin is grey.
"""

from collections.abc import Mapping
from typing import Any

import altair as alt

from eval.charts.parts import (
    FEWEST_COLUMNS,
    ROW_PIXELS,
    Picture,
    language_tooltip,
    line_at,
    names_across,
    names_down,
)
from eval.funnel import LAST_BIN, PROBABILITY_BINS, Funnel, FunnelRow, rows_by_certainty
from eval.gains import LanguageGain

_LIGHTEST = 0.3  # opacity of the bin below the last one


def probability_pictures(funnel: Funnel | None) -> dict[str, Picture]:
    """Returns the bars for wide and narrow screens; nothing if no histogram is recorded."""
    rows = () if funnel is None else rows_by_certainty(funnel)
    if not rows:
        return {}
    tall = _tall(rows)
    wide = tall if len(rows) < FEWEST_COLUMNS else _wide(rows)
    return {"language-probability-wide": wide, "language-probability-tall": tall}


def _wide(rows: tuple[FunnelRow, ...]) -> Picture:
    """Returns the chart with one column per language, least certain first."""
    share = alt.Y("from:Q", title="↓ surer · share of kept pages", scale=alt.Scale(domain=[0, 1]))
    bars = _bars(rows).encode(
        x=names_across(row.name for row in rows), y=share.axis(format=".0%", tickCount=4), y2="to:Q"
    )
    return alt.layer(bars, line_at(0.5, "y", strokeDash=[3, 3])).properties(
        width="container", height=240
    )


def _tall(rows: tuple[FunnelRow, ...]) -> Picture:
    """Returns the chart with one row per language, least certain first."""
    share = alt.X("from:Q", title="← surer · share of kept pages", scale=alt.Scale(domain=[0, 1]))
    axis = alt.Axis(format=".0%", tickCount=4, orient="top")
    bars = _bars(rows).encode(y=names_down(row.name for row in rows), x=share.axis(axis), x2="to:Q")
    return alt.layer(bars, line_at(0.5, "x", strokeDash=[3, 3])).properties(
        width="container", height=ROW_PIXELS * len(rows)
    )


def segments(rows: tuple[FunnelRow, ...]) -> list[dict[str, Any]]:
    """Returns one datum per language and bin with pages: its place in the bar of the language."""
    segments = []
    for row in rows:
        kept, below = sum(row.confidence), 0
        for step, pages in enumerate(row.confidence):
            if not pages:
                continue
            lower, upper = step / PROBABILITY_BINS, (step + 1) / PROBABILITY_BINS
            begin, end = below / kept, (below + pages) / kept
            segments.append(
                {
                    "name": row.name,
                    "step": lower,
                    "steps": f"{lower:.2f} to {upper:.2f}",
                    "from": round(begin, 5),
                    "to": round(end, 5),
                    "share": round(end - begin, 5),
                    "pages": pages,
                    "kept": kept,
                }
            )
            below += pages
    return segments


def _bars(rows: tuple[FunnelRow, ...]) -> alt.Chart:
    unsure = f"datum.step < {LAST_BIN}"
    colour = alt.condition(unsure, alt.value("var(--baseline)"), alt.value("var(--quiet)"))
    shade = alt.FillOpacity("step:Q", legend=None).scale(domain=[0, LAST_BIN], range=[1, _LIGHTEST])
    tooltip = language_tooltip(
        alt.Tooltip("steps:N", title="probability"),
        alt.Tooltip("share:Q", title="share of kept pages", format=".1%"),
        alt.Tooltip("pages:Q", format=",.0f"),
        alt.Tooltip("kept:Q", title="kept pages", format=",.0f"),
    )
    bars = alt.Chart(alt.Data(values=segments(rows))).mark_bar()
    return bars.encode(fill=colour, fillOpacity=shade, tooltip=tooltip)


def fertility_chart(gains: Mapping[str, LanguageGain]) -> Picture:
    """Returns bytes per token of each language, one row per script."""
    rows = [
        {"name": gain.name, "script": gain.language.script}
        | {"bytes": gain.text.bytes_per_token, "page": gain.text.tokens_per_page}
        for gain in gains.values()
        if gain.text.bytes_per_token
    ]
    order = sorted({row["script"] for row in rows})
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_point(filled=True, size=55, opacity=0.7, color="var(--candidate)")
        .encode(
            x=alt.X("bytes:Q", title=["UTF-8 bytes per token", "→ fewer tokens for the same bytes"])
            .axis(tickCount=6)
            .scale(zero=False, nice=False, padding=14),
            y=alt.Y("script:N", sort=order, title=None).axis(grid=True, ticks=False),
            tooltip=language_tooltip(
                alt.Tooltip("bytes:Q", title="bytes per token", format=".2f"),
                alt.Tooltip("page:Q", title="tokens per page", format=",.0f"),
            ),
        )
        .properties(width="container", height=ROW_PIXELS * len(order))
    )
