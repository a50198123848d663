"""Loss against a cost: a point per run, and the frontier of each side as a line.

The page fills in the rows of the chosen script, so a picture per cost serves all scripts.
"""

from typing import Any

import altair as alt

from eval.charts.parts import NARROWEST_PIXELS, Picture, legend_columns
from eval.frontier import COSTS
from eval.report.contents import ReportContents

NARROW = 4  # ticks of an axis of costs: seven fit no phone


def costs_known(report: ReportContents) -> list[str]:
    """Returns the costs that a run has."""
    return [name for name in COSTS if any(point.cost(name) is not None for point in report.points)]


def pictures(report: ReportContents) -> dict[str, Picture]:
    """Returns the picture of each cost that is known."""
    return {f"trade-{name}": _picture(report, name) for name in costs_known(report)}


def _picture(report: ReportContents, cost: str) -> Picture:
    names = [side[0].side for side in report.networks]
    colour = (
        alt.Color("side:N", title=None)
        .scale(domain=names, range=["var(--baseline)", "var(--candidate)"])
        .legend(columns=legend_columns(names), labelLimit=NARROWEST_PIXELS)
    )
    shape = alt.Shape("side:N", title=None).scale(domain=names, range=["circle", "square"])
    unit = report.trade_unit.value
    place: dict[str, Any] = {
        "x": alt.X("cost:Q", title=f"← {COSTS[cost]}, log scale")
        .scale(type="log", nice=False, padding=24)
        .axis(format=".3~s", tickCount=NARROW, grid=False),
        "y": alt.Y("loss:Q", title=f"↓ better · loss, {unit}").scale(zero=False, padding=8),
    }
    tooltip = [
        alt.Tooltip("network:N"),
        alt.Tooltip("seeds:N", title="seed"),
        alt.Tooltip("steps:Q", format=","),
        alt.Tooltip("cost:Q", title=COSTS[cost], format=",.4~g"),
        alt.Tooltip("loss:Q", title=unit, format=".4f"),
    ]
    drawn = alt.Chart().encode(**place, color=colour, tooltip=tooltip)
    runs, best = alt.Data(name="runs"), alt.Data(name="frontier")
    layers = alt.layer(
        drawn.properties(data=best).mark_line(strokeWidth=1.5, interpolate="step-after"),
        drawn.properties(data=best).mark_point(size=90, strokeWidth=1.5).encode(shape=shape),
        drawn.properties(data=runs)
        .mark_point(filled=True, size=26, opacity=0.7)
        .encode(shape=shape),
    )
    return layers.properties(width="container", height=260)


def rows(report: ReportContents) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns the rows of each picture, by mean over languages: runs and frontiers."""
    return {
        f"trade-{cost}": {
            name: {
                "runs": [_row(point, cost, name) for point in report.points if point.cost(cost)],
                "frontier": [
                    _row(point, cost, name)
                    for side in report.networks
                    for point in report.frontier(side[0].side, cost, name)
                ],
            }
            for name in report.points[0].losses
        }
        for cost in costs_known(report)
    }


def _row(point: Any, cost: str, languages: str) -> dict[str, Any]:
    return {
        "network": point.network,
        "side": point.side,
        "seeds": ", ".join(map(str, point.seeds)),
        "steps": point.steps,
        "cost": point.cost(cost),
        "loss": round(point.losses[languages], 6),
    }
