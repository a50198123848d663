"""Which experts serve which languages: the routing file of one sparse run, as shares.

A row of the file holds one switch layer and one language: sums over the real tokens of its held-out
pages. From these follow, per layer and language:

* each expert's share of the language's assignments, before capacity;
* the share of its assignments that were dropped;
* the router's mean entropy in nats: ln(experts) where all experts are equally likely.

`distance` measures how far a language's use of the experts is from that of all languages together,
each language counted once. It is the total variation distance: half the sum of absolute differences
of shares, or the part of its assignments that would have to move to other experts. 0 is the same
use, 1 is experts of its own. Few tokens make it larger by chance, by about
sqrt(experts / (2π tokens)) at even use.

Experts are numbered otherwise in every run and layer, so runs are never averaged here.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from data.errors import DataError
from eval.experts import usage as expert_usage

SCHEMA = pa.schema(
    [
        ("stack", pa.string()),
        ("layer", pa.int32()),
        ("language", pa.string()),
        ("tokens", pa.int64()),
        ("choices", pa.int64()),
        ("dropped", pa.int64()),
        ("entropy_nats", pa.float64()),
        ("load", pa.list_(pa.int64())),
    ]
)  # what a report reads of a routing file
WRITTEN = SCHEMA.append(pa.field("gate", pa.list_(pa.float64())))  # and `prune`


@dataclass(frozen=True, kw_only=True)
class LayerSharing:
    """One switch layer; its languages are those of `ExpertSharing`, in the same order.

    Attributes:
        stack: `encoder` or `decoder`.
        layer: position in the stack, counted from 1.
        load_share: each expert's share of a language's assignments, before capacity.
        dropped_share: share of a language's assignments that were dropped.
        entropy_nats: entropy of the router's distribution, mean over tokens.
        distance: distance from the use of all languages together.
        tokens: number of real tokens.
        choices: number of assignments: tokens times top-k.
        dropped: number of dropped assignments.
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
        """Number of experts."""
        return self.load_share.shape[1]

    @property
    def name(self) -> str:
        """`encoder, layer 2`."""
        return f"{self.stack}, layer {self.layer}"

    @property
    def most_entropy_nats(self) -> float:
        """Entropy of a uniform router: ln(experts)."""
        return float(np.log(self.experts))

    @property
    def load_of_all(self) -> Float[np.ndarray, " experts"]:
        """Each expert's share of the assignments of all tokens."""
        load = (self.load_share * self.choices[:, None]).sum(axis=0)
        return load / max(load.sum(), 1)

    @property
    def dropped_of_all(self) -> float:
        """Share of all assignments that were dropped."""
        return float(self.dropped.sum() / max(self.choices.sum(), 1))

    @property
    def entropy_of_all(self) -> float:
        """Entropy of the router in nats, mean over all tokens."""
        return float((self.entropy_nats * self.tokens).sum() / max(self.tokens.sum(), 1))


@dataclass(frozen=True, kw_only=True)
class ExpertSharing:
    """All switch layers of one run; encoder layers come before decoder layers.

    Attributes:
        run: name of the run in the report.
        step: training step of the weights.
        languages: language codes, sorted.
        layers: switch layers, at least one.
    """

    run: str
    step: int
    languages: tuple[str, ...]
    layers: tuple[LayerSharing, ...]


def from_table(table: pa.Table, *, run: str, step: int, origin: str) -> ExpertSharing:
    """Returns the shares of a routing file.

    Raises:
        DataError: if there is no row, a layer lacks a language, or languages differ in experts.
    """
    rows = table.select(SCHEMA.names).to_pylist()
    if not rows:
        raise DataError(f"Routing was expected in {origin}, which holds no row; evaluate again.")
    languages = tuple(sorted({row["language"] for row in rows}))
    places = dict.fromkeys((row["stack"], row["layer"]) for row in rows)
    by_place = {place: _in_order(rows, place, languages, origin) for place in places}
    layers = tuple(_layer(*place, found) for place, found in by_place.items())
    return ExpertSharing(run=run, step=step, languages=languages, layers=layers)


@dataclass(frozen=True, kw_only=True)
class StackUse:
    """One language's use of the experts of one stack, over all its switch layers.

    Attributes:
        tokens: number of real tokens, each counted once.
        distance: distance from the use of all languages together, mean over layers.
        entropy_nats: entropy of the router, mean over tokens and layers.
        dropped_share: share of the assignments of all layers that were dropped.
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


def _in_order(
    rows: list[dict[str, Any]], place: tuple[str, int], languages: tuple[str, ...], origin: str
) -> list[dict[str, Any]]:
    found = {row["language"]: row for row in rows if (row["stack"], row["layer"]) == place}
    if missing := [code for code in languages if code not in found]:
        raise DataError(
            f"{origin} lacks {', '.join(missing)} in layer {place[1]} of the {place[0]}; "
            "evaluate again."
        )
    ordered = [found[code] for code in languages]
    if len({len(row["load"] or ()) for row in ordered}) != 1 or not ordered[0]["load"]:
        raise DataError(
            f"{origin} should have one load per expert and language in layer {place[1]} of the "
            f"{place[0]}, and does not; evaluate again."
        )
    return ordered


def _layer(stack: str, layer: int, rows: list[dict[str, Any]]) -> LayerSharing:
    load = np.array([row["load"] for row in rows], np.float64)
    tokens, choices, dropped = (
        np.array([row[name] for row in rows], np.int64) for name in ("tokens", "choices", "dropped")
    )
    entropy = np.array([row["entropy_nats"] for row in rows], np.float64)
    share, dropped_share = expert_usage.shares(load), expert_usage.dropped_share(load, dropped)
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
