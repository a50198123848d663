"""Which experts serve which languages: what one sparse run's routing file says, in shares.

A row of the file is a switch layer and a language: sums over the real tokens of its held-out pages.
Here they become, by layer, the share of a language's choices that asked for each expert (before
capacity), the share that found no slot, and the router's mean entropy in nats, ln(experts) where it
could not be less decided.

`distance` says how far a language's use of the experts is from the use of all languages together
(each language counted once): half the sum of absolute differences of shares, the part of its
choices that would have to go elsewhere to be like the others'. 0 is the same use, 1 experts of its
own. Few tokens make it larger by chance, by about sqrt(experts / (2π tokens)) at even use.

The number of an expert means nothing beyond its run and layer: another seed numbers them otherwise.
So runs are never averaged here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int
from scipy.cluster import hierarchy
from scipy.spatial import distance as metrics

from data.errors import DataError
from eval import expert_usage
from eval.expert_usage import Usage

COLUMNS = (
    "stack", "layer", "language", "tokens", "choices", "dropped", "entropy_nats", "load",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LayerSharing:
    """One switch layer; languages are those of `ExpertSharing`, in its order.

    Attributes:
        stack: `encoder` or `decoder`.
        layer: its place in the stack, counted from 1.
        load_share: of a language's choices, before capacity.
        dropped_share: of a language's choices, those that found no slot.
        entropy_nats: of the router's distribution, mean over tokens.
        distance: from the use of all languages together.
        tokens: real tokens.
        choices: of them.
        dropped: choices that found no slot.
    """

    stack: str
    layer: int
    load_share: Float[np.ndarray, "languages experts"]
    dropped_share: Float[np.ndarray, " languages"]
    entropy_nats: Float[np.ndarray, " languages"]
    distance: Float[np.ndarray, " languages"]
    tokens: Int[np.ndarray, " languages"]
    choices: Int[np.ndarray, " languages"]
    dropped: Int[np.ndarray, " languages"]

    @property
    def experts(self) -> int:
        """How many there are."""
        return self.load_share.shape[1]

    @property
    def name(self) -> str:
        """`encoder, layer 2`."""
        return f"{self.stack}, layer {self.layer}"

    @property
    def most_entropy_nats(self) -> float:
        """The entropy of a router that cannot decide: ln(experts)."""
        return float(np.log(self.experts))

    @property
    def load_of_all(self) -> Float[np.ndarray, " experts"]:
        """Returns each expert's share of the choices of all tokens."""
        asked = (self.load_share * self.choices[:, None]).sum(axis=0)
        return asked / max(asked.sum(), 1)

    @property
    def dropped_of_all(self) -> float:
        """The share of all choices that found no slot."""
        return float(self.dropped.sum() / max(self.choices.sum(), 1))

    @property
    def entropy_of_all(self) -> float:
        """The router's entropy in nats, mean over all tokens."""
        return float((self.entropy_nats * self.tokens).sum() / max(self.tokens.sum(), 1))


@dataclass(frozen=True, kw_only=True)
class ExpertSharing:
    """All switch layers of one run, the encoder's before the decoder's.

    Attributes:
        run: what the report calls the run.
        step: whose weights routed.
        languages: codes, sorted.
        layers: at least one.
    """

    run: str
    step: int
    languages: tuple[str, ...]
    layers: tuple[LayerSharing, ...]


def from_table(table: pa.Table, *, run: str, step: int, origin: str) -> ExpertSharing:
    """Returns what a routing file says.

    Raises:
        DataError: it is no routing file, or lacks a language in some layer.
    """
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing or table.num_rows == 0:
        found = f"lacks the columns {', '.join(missing)}" if missing else "holds no row"
        raise DataError(f"Routing was expected in {origin}, which {found}; evaluate again.")
    rows = table.select(COLUMNS).to_pylist()
    languages = tuple(sorted({row["language"] for row in rows}))
    places = dict.fromkeys((row["stack"], row["layer"]) for row in rows)
    by_place = {place: _in_order(rows, place, languages, origin) for place in places}
    layers = tuple(_layer(*place, found) for place, found in by_place.items())
    return ExpertSharing(run=run, step=step, languages=languages, layers=layers)


def by_similarity(sharing: ExpertSharing) -> list[int]:
    """Returns the numbers of the languages, such that similar users of experts are neighbours."""
    if len(sharing.languages) < 3:
        return list(range(len(sharing.languages)))
    shares = np.concatenate([layer.load_share for layer in sharing.layers], axis=1)
    distances = metrics.pdist(shares, "cityblock")
    tree = hierarchy.linkage(distances, "average", optimal_ordering=True)
    return hierarchy.leaves_list(tree).tolist()


def experts_along(layer: LayerSharing, order: list[int]) -> list[int]:
    """Returns the experts by where along the languages their load lies, so that blocks show."""
    shares = layer.load_share[order]
    places = (shares * np.arange(len(order))[:, None]).sum(axis=0)
    return np.argsort(places / np.maximum(shares.sum(axis=0), 1e-12), kind="stable").tolist()


@dataclass(frozen=True, kw_only=True)
class StackUse:
    """One language in one stack, its switch layers together.

    Attributes:
        tokens: real tokens, each counted once.
        distance: mean over layers.
        entropy_nats: mean over tokens and layers.
        dropped_share: of the choices of all layers.
    """

    tokens: int
    distance: float
    entropy_nats: float
    dropped_share: float


def by_stack(sharing: ExpertSharing) -> dict[str, dict[str, StackUse]]:
    """Returns each language's use of each stack that has switch layers."""
    found = {}
    for stack in dict.fromkeys(layer.stack for layer in sharing.layers):
        layers = [layer for layer in sharing.layers if layer.stack == stack]
        dropped, choices = (
            np.sum([getattr(layer, name) for layer in layers], axis=0)
            for name in ("dropped", "choices")
        )
        found[stack] = {
            code: StackUse(
                tokens=int(layers[0].tokens[at]),
                distance=float(np.mean([layer.distance[at] for layer in layers])),
                entropy_nats=float(np.mean([layer.entropy_nats[at] for layer in layers])),
                dropped_share=float(dropped[at] / max(choices[at], 1)),
            )
            for at, code in enumerate(sharing.languages)
        }
    return found


def to_json(sharing: ExpertSharing) -> dict[str, Any]:
    """Returns what `report.json` holds of it."""
    return {
        "run": sharing.run,
        "step": sharing.step,
        "layers": [_layer_as_json(layer, sharing.languages) for layer in sharing.layers],
    }


def _layer_as_json(layer: LayerSharing, languages: Iterable[str]) -> dict[str, Any]:
    return {
        "stack": layer.stack,
        "layer": layer.layer,
        "experts": layer.experts,
        "load_share": layer.load_of_all.round(5).tolist(),
        "dropped_share": layer.dropped_of_all,
        "entropy_nats": layer.entropy_of_all,
        "languages": {
            code: {
                "tokens": int(layer.tokens[at]),
                "load_share": layer.load_share[at].round(5).tolist(),
                "dropped_share": float(layer.dropped_share[at]),
                "entropy_nats": float(layer.entropy_nats[at]),
                "distance_from_all_languages": float(layer.distance[at]),
            }
            for at, code in enumerate(languages)
        },
    }


def _in_order(
    rows: list[dict[str, Any]], place: tuple[str, int], languages: tuple[str, ...], origin: str
) -> list[dict[str, Any]]:
    found = {row["language"]: row for row in rows if (row["stack"], row["layer"]) == place}
    if missing := [code for code in languages if code not in found]:
        raise DataError(
            f"{origin} says nothing of {', '.join(missing)} in the {place[0]}'s layer {place[1]}; "
            "evaluate again."
        )
    return [found[code] for code in languages]


def _layer(stack: str, layer: int, rows: list[dict[str, Any]]) -> LayerSharing:
    load = np.array([row["load"] for row in rows], np.float64)
    tokens, choices, dropped = (
        np.array([row[name] for row in rows], np.int64) for name in ("tokens", "choices", "dropped")
    )
    entropy = np.array([row["entropy_nats"] for row in rows], np.float64)
    usage = Usage(*(one[None] for one in (load, dropped, entropy, tokens)))
    (share,), (dropped_share,) = expert_usage.shares(usage), expert_usage.dropped_share(usage)
    return LayerSharing(
        stack=stack,
        layer=layer,
        load_share=share,
        dropped_share=dropped_share,
        entropy_nats=entropy / np.maximum(tokens, 1),
        distance=np.abs(share - share.mean(axis=0)).sum(axis=1) / 2,
        tokens=tokens,
        choices=choices,
        dropped=dropped,
    )
