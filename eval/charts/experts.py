"""Heat maps of a run's switch layers: languages by experts, on held-out pages and on tasks.

The colour is the expert's share of a language's assignments, from 0 to four times an even share
(1 ÷ experts). Languages have the same order in all layers, and similar languages are neighbours.
The experts of a layer are ordered by the centre of their load along the languages, so languages
that share experts form blocks. The page holds the shares once and hands those of one layer to the
chart.
"""

from typing import Any

import altair as alt
import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist

from data.languages import get
from eval.experts import ExpertSharing, LayerSharing
from eval.report.contents import ReportContents

DARKEST = 4.0  # times an even share
_HEIGHT_PIXELS = 260
_ROW_PIXELS = (3, 14)
_LABELLED = 32  # more experts than these have no legible numbers
_TALL_ROW_PIXELS = 12

_HEAT: dict[str, Any] = {
    "color": alt.value("var(--candidate)"),
    "fillOpacity": alt.FillOpacity("times:Q", legend=None).scale(
        domain=[0, DARKEST], range=[0.0, 1.0], clamp=True
    ),
    "tooltip": [
        alt.Tooltip("language:N"),
        alt.Tooltip("expert:N"),
        alt.Tooltip("share:Q", title="share of its assignments", format=".1%"),
        alt.Tooltip("times:Q", title="times an even share", format=".2f"),
    ],
}


def sharings(report: ReportContents) -> dict[str, ExpertSharing]:
    """Returns every expert use of a report by its key in the page."""
    by_key = {"experts": report.experts}
    by_key |= {f"task-{n}-experts": task.experts for n, task in enumerate(report.tasks)}
    return {key: sharing for key, sharing in by_key.items() if sharing is not None}


def pictures(report: ReportContents) -> dict[str, alt.Chart]:
    """Returns the heat maps for wide and narrow screens; the page fills in one layer's rows."""
    return {
        f"{key}-{width}": chart
        for key, sharing in sharings(report).items()
        for width, chart in _pictures(sharing).items()
    }


def _pictures(sharing: ExpertSharing) -> dict[str, alt.Chart]:
    experts = max(layer.experts for layer in sharing.layers)
    least, most = _ROW_PIXELS
    row = max(least, min(most, _HEIGHT_PIXELS // experts))
    numbers: dict[str, Any] = {
        "labels": experts <= _LABELLED,
        "ticks": False,
        "labelOverlap": False,
    }
    languages: dict[str, Any] = {"ticks": False, "labelOverlap": False, "labelLimit": 110}
    heat = alt.Chart(alt.Data(name="heat")).mark_rect()
    wide = heat.encode(
        x=alt.X("language:N", sort=None, title=None).axis(
            labelAngle=-90, labelFontSize=10, **languages
        ),
        y=alt.Y("expert:N", sort=None, title="expert").axis(labelFontSize=10, **numbers),
        **_HEAT,
    ).properties(width="container", height=row * experts)
    tall = heat.encode(
        y=alt.Y("language:N", sort=None, title=None).axis(labelFontSize=9, **languages),
        x=alt.X("expert:N", sort=None, title="expert").axis(
            orient="top", labelAngle=0, labelFontSize=9, **numbers
        ),
        **_HEAT,
    ).properties(width="container", height=_TALL_ROW_PIXELS * len(sharing.languages))
    return {"wide": wide, "tall": tall}


def shares(sharing: ExpertSharing) -> dict[str, Any]:
    """Returns the data of the heat maps: ordered languages; experts and shares per layer."""
    order = by_similarity(sharing)
    return {
        "languages": [get(sharing.languages[number]).name for number in order],
        "layers": [
            {
                "experts": (along := experts_along(layer, order)),
                "shares": layer.load_share[order][:, along].round(4).tolist(),
            }
            for layer in sharing.layers
        ],
    }


def by_similarity(sharing: ExpertSharing) -> list[int]:
    """Returns the indices of the languages, ordered so that similar ones are neighbours."""
    if len(sharing.languages) < 3:
        return list(range(len(sharing.languages)))
    shares = np.concatenate([layer.load_share for layer in sharing.layers], axis=1)
    distances = pdist(shares, "cityblock")
    tree = hierarchy.linkage(distances, "average", optimal_ordering=True)
    return hierarchy.leaves_list(tree).tolist()


def experts_along(layer: LayerSharing, order: list[int]) -> list[int]:
    """Returns the experts, ordered by the centre of their load along the ordered languages."""
    shares = layer.load_share[order]
    centres = (shares * np.arange(len(order))[:, None]).sum(axis=0)
    return np.argsort(centres / np.maximum(shares.sum(axis=0), 1e-12), kind="stable").tolist()
