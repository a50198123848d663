"""Heat maps of a run's switch layers: languages by experts, darker where a language asks more.

Colour says how many times an even share (1 ÷ experts) of a language's choices asked for the expert,
from none to four times. Languages stand in one order in all layers, similar users side by side;
each layer's experts stand by where along the languages their load lies, so that what belongs
together forms blocks. The page holds the shares once and hands the chosen layer's to the picture.
"""

from typing import Any

import altair as alt

from data.languages import get
from eval.expert_sharing import ExpertSharing, by_similarity, experts_along

DARKEST = 4.0  # times an even share
_HEIGHT_PIXELS = 260
_ROW_PIXELS = (3, 14)
_LABELLED = 32  # experts whose numbers can be read
_TALL_ROW_PIXELS = 12

_HEAT: dict[str, Any] = {
    "color": alt.value("var(--candidate)"),
    "fillOpacity": alt.FillOpacity("times:Q", legend=None).scale(
        domain=[0, DARKEST], range=[0.0, 1.0], clamp=True
    ),
    "tooltip": [
        alt.Tooltip("language:N"),
        alt.Tooltip("expert:N"),
        alt.Tooltip("share:Q", title="of its choices", format=".1%"),
        alt.Tooltip("times:Q", title="times an even share", format=".2f"),
    ],
}


def pictures(sharing: ExpertSharing | None) -> dict[str, alt.Chart]:
    """Returns the heat map for wide and for narrow screens; the page fills in a layer's rows."""
    if sharing is None:
        return {}
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
    ).properties(width="container", height=row * experts + 110)
    tall = heat.encode(
        y=alt.Y("language:N", sort=None, title=None).axis(labelFontSize=9, **languages),
        x=alt.X("expert:N", sort=None, title="expert").axis(
            orient="top", labelAngle=0, labelFontSize=9, **numbers
        ),
        **_HEAT,
    ).properties(width="container", height=_TALL_ROW_PIXELS * len(sharing.languages) + 50)
    return {"experts-wide": wide, "experts-tall": tall}


def shares(sharing: ExpertSharing) -> dict[str, Any]:
    """Returns what the page draws from: languages in order; of each layer experts and shares."""
    order = by_similarity(sharing)
    return {
        "languages": [get(sharing.languages[at]).name for at in order],
        "layers": [
            {
                "experts": (along := experts_along(layer, order)),
                "shares": layer.load_share[order][:, along].round(4).tolist(),
            }
            for layer in sharing.layers
        ],
    }
