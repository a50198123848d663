"""Tokenizer fertility: bytes per token of each language, by script."""

from collections.abc import Mapping

import altair as alt

from eval.charts.parts import ROW_PIXELS, Picture, language_tooltip
from eval.language_gain import LanguageGain


def chart(gains: Mapping[str, LanguageGain]) -> Picture:
    """Returns bytes per token of each language, one row per script."""
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
            x=alt.X("bytes:Q", title=["UTF-8 bytes per token", "→ fewer tokens for the same bytes"])
            .axis(tickCount=6)
            .scale(zero=False, nice=False, padding=14),
            y=alt.Y("script:N", sort=order, title=None).axis(grid=True, ticks=False),
            tooltip=language_tooltip(
                alt.Tooltip("bytes:Q", title="bytes per token", format=".2f"),
                alt.Tooltip("page:Q", title="tokens per page", format=",.0f"),
            ),
        )
        .properties(width="container", height=ROW_PIXELS * len(order) + 20)
    )
