"""Held-out loss over training, for the language that the reader chooses."""

import altair as alt

from eval.charts import models
from eval.charts.marks import NARROWEST_PIXELS, legend_columns
from eval.charts.parts import Picture
from eval.language_loss import Unit
from eval.report import ReportContents
from eval.side import Side

DASHES = [[5, 3], [1, 0], [8, 3], [2, 2], [8, 3, 2, 3], [3, 6]]


def sides(report: ReportContents) -> list[Side]:
    """Returns the models whose losses have the unit of the report: both sides come first."""
    further = [
        one.side
        for one in report.further
        if one.unit is report.unit or report.unit is Unit.BITS_PER_BYTE
    ]
    return [report.baseline, report.candidate, *further]


def chart(report: ReportContents) -> Picture:
    """Returns held-out loss over steps; the page fills in the rows of the chosen language.

    Thick lines are means over the runs of a side. Thin lines are single runs, where there are
    several.
    """
    drawn = sides(report)
    names = [one.name for one in drawn]
    colour_of = models.colours(report)
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
    ).properties(width="container", height=320)
