"""Expert use: which experts serve which languages, per switch layer, as shares of sums over tokens.

Everything is a sum over real tokens of held-out pages, so languages, layers and runs are combined
by adding. Shares and means are computed last. A row of the file holds one switch layer and one
language. From its sums follow:

* each expert's share of the language's assignments, before capacity;
* the share of its assignments that were dropped;
* the router's mean entropy in nats: ln(experts) where all experts are equally likely.

`distance` measures how far a language's use of the experts is from that of all languages together,
each language counted once. It is the total variation distance: half the sum of absolute differences
of shares, or the part of its assignments that would have to move to other experts. 0 is the same
use, 1 is experts of its own. Few tokens make it larger by chance, by about
sqrt(experts / (2π tokens)) at even use.

What the experts of a run are worth to some languages:

    importance = mean over the languages of (sum of an expert's gates / number of tokens)

The sum of gates is load times mean gate: how often an expert is used, and how much of its output
counts. Each language weighs the same, however many held-out tokens it has.

Experts are numbered otherwise in every run and layer, so runs are never averaged here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, Num

from data.errors import DataError, join_names

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


class Usage(NamedTuple):
    """Sums over a language's tokens per switch layer; encoder layers come before decoder layers.

    Attributes:
        load: assignments to each expert before capacity, one per token and choice of the top k.
        dropped: assignments over capacity.
        entropy_nats: entropy of the router's distribution, summed over tokens.
        tokens: number of real tokens.
        gate: gates of each expert's assignments, 0 for dropped ones.
    """

    load: Num[np.ndarray, "layers languages experts"]
    dropped: Num[np.ndarray, "layers languages"]
    entropy_nats: Num[np.ndarray, "layers languages"]
    tokens: Num[np.ndarray, "layers languages"]
    gate: Num[np.ndarray, "layers languages experts"]


def usage_by_language(
    rows: Sequence[Num[np.ndarray, "layers batch ..."]],
    language: Int[np.ndarray, " batch"],
    languages: int,
) -> Usage:
    """Returns the sums over the rows of each language.

    Args:
        rows: `model.switch.balancing.RoutingSums`, on the host.
        language: number of each row's language, or -1 for rows that do not count.
        languages: number of languages.
    """
    real = language >= 0
    sums = []
    for values in rows:
        by_language = np.zeros((values.shape[0], languages, *values.shape[2:]))
        by_row = np.moveaxis(np.asarray(values, np.float64), 1, 0)
        np.add.at(np.moveaxis(by_language, 1, 0), language[real], by_row[real])
        sums.append(by_language)
    return Usage(*sums)


def add_usage(before: Usage | None, more: Usage) -> Usage:
    """Returns the sums of two usages in float64."""
    if before is None:
        return Usage(*(np.asarray(values, np.float64) for values in more))
    return Usage(*(sums + values for sums, values in zip(before, more, strict=True)))


def routing_columns(usage: Usage, languages: Sequence[str], every: int) -> dict[str, list[Any]]:
    """Returns `evaluation/routing-step=N.parquet`: one row per switch layer and language.

    Args:
        usage: sums per switch layer and language.
        languages: language codes, in the order of `usage`.
        every: distance between sparse feed-forward layers of a stack; 2 is every second layer.
    """
    layers = len(usage.load)
    places = switch_layers(layers // 2, every)
    return {
        "stack": [stack for stack, _ in places for _ in languages],
        "layer": [layer for _, layer in places for _ in languages],
        "language": list(languages) * layers,
        "tokens": usage.tokens.reshape(-1).astype(np.int64).tolist(),
        "choices": usage.load.sum(axis=-1).reshape(-1).astype(np.int64).tolist(),
        "dropped": usage.dropped.reshape(-1).astype(np.int64).tolist(),
        "entropy_nats": usage.entropy_nats.reshape(-1).tolist(),
        "load": usage.load.reshape(-1, usage.load.shape[-1]).astype(np.int64).tolist(),
        "gate": usage.gate.reshape(-1, usage.gate.shape[-1]).tolist(),
    }


def switch_layers(number: int, every: int) -> list[tuple[str, int]]:
    """Returns stack and layer of each switch layer, of which a stack has this number."""
    return [
        (stack, position * every)
        for stack in ("encoder", "decoder")
        for position in range(1, number + 1)
    ]


def shares(load: Num[np.ndarray, "*places experts"]) -> Float[np.ndarray, "*places experts"]:
    """Returns each expert's share of the assignments before capacity; 0 without any."""
    return load / np.maximum(load.sum(axis=-1, keepdims=True), 1)


def share_dropped(
    load: Num[np.ndarray, "*places experts"], dropped: Num[np.ndarray, "*places"]
) -> Float[np.ndarray, "*places"]:
    """Returns the share of the assignments that are over capacity."""
    return dropped / np.maximum(load.sum(axis=-1), 1)


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


def expert_sharing(table: pa.Table, *, run: str, step: int, origin: str) -> ExpertSharing:
    """Returns the shares of a routing file.

    Raises:
        DataError: if there is no row, a layer lacks a language, or languages differ in experts.
    """
    rows = table.select(SCHEMA.names).to_pylist()
    if not rows:
        raise DataError(f"Routing was expected in {origin}, which holds no row; evaluate again.")
    languages = tuple(sorted({row["language"] for row in rows}))
    places = dict.fromkeys((row["stack"], row["layer"]) for row in rows)
    layers = tuple(
        _layer_sharing(*place, _rows_of_layer(rows, place, languages, origin)) for place in places
    )
    return ExpertSharing(run=run, step=step, languages=languages, layers=layers)


def _rows_of_layer(
    rows: list[dict[str, Any]], place: tuple[str, int], languages: tuple[str, ...], origin: str
) -> list[dict[str, Any]]:
    by_language = {row["language"]: row for row in rows if (row["stack"], row["layer"]) == place}
    if missing := [code for code in languages if code not in by_language]:
        raise DataError(
            f"{origin} lacks {join_names(missing)} in layer {place[1]} of the "
            f"{join_names(place[:1])}; evaluate again."
        )
    ordered = [by_language[code] for code in languages]
    if len({len(row["load"] or ()) for row in ordered}) != 1 or not ordered[0]["load"]:
        raise DataError(
            f"{origin} should have one load per expert and language in layer {place[1]} of the "
            f"{join_names(place[:1])}, and does not; evaluate again."
        )
    return ordered


def _layer_sharing(stack: str, layer: int, rows: list[dict[str, Any]]) -> LayerSharing:
    load = np.array([row["load"] for row in rows], np.float64)
    tokens, choices, dropped = (
        np.array([row[name] for row in rows], np.int64) for name in ("tokens", "choices", "dropped")
    )
    entropy = np.array([row["entropy_nats"] for row in rows], np.float64)
    share = shares(load)
    return LayerSharing(
        stack=stack,
        layer=layer,
        load_share=share,
        dropped_share=share_dropped(load, dropped),
        entropy_nats=entropy / np.maximum(tokens, 1),
        distance=np.abs(share - share.mean(axis=0)).sum(axis=1) / 2,
        tokens=tokens,
        choices=choices,
        dropped=dropped,
    )


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
    use = {}
    for stack in dict.fromkeys(layer.stack for layer in sharing.layers):
        layers = [layer for layer in sharing.layers if layer.stack == stack]
        dropped, choices = (
            np.sum([getattr(layer, name) for layer in layers], axis=0)
            for name in ("dropped", "choices")
        )
        use[stack] = {
            code: StackUse(
                tokens=int(layers[0].tokens[at]),
                distance=float(np.mean([layer.distance[at] for layer in layers])),
                entropy_nats=float(np.mean([layer.entropy_nats[at] for layer in layers])),
                dropped_share=float(dropped[at] / max(choices[at], 1)),
            )
            for at, code in enumerate(sharing.languages)
        }
    return use


class ExpertUse(NamedTuple):
    """The use of each expert per token of the languages, encoder layers before decoder layers.

    Attributes:
        load: number of assignments per token.
        gate: sum of their gates per token, which is the expert's importance.
    """

    load: Float[np.ndarray, "layers experts"]
    gate: Float[np.ndarray, "layers experts"]


def expert_use(
    table: pa.Table,
    languages: Sequence[str],
    layers: Sequence[tuple[str, int]],
    experts: int,
    origin: str,
) -> ExpertUse:
    """Returns the mean use of the experts by languages.

    Args:
        table: a routing file, with gates.
        languages: codes of the languages.
        layers: stack and layer of each switch layer of the run's network.
        experts: number of experts in each of them.
        origin: name of the file, for messages.

    Raises:
        DataError: if a language has no held-out token in a layer, or the file is of another
            network.
    """
    rows = table.select(WRITTEN.names).to_pylist()
    places = dict.fromkeys((row["stack"], row["layer"]) for row in rows)
    if places.keys() not in (set(), set(layers)):
        raise DataError(
            f"{origin} should have the {len(layers)} switch layers of the run's network and has "
            f"{len(places)}, or others; evaluate the run again."
        )
    counted = {
        (row["stack"], row["layer"], row["language"]): row for row in rows if row["tokens"] > 0
    }
    missing = [code for code in languages if any((*place, code) not in counted for place in layers)]
    if missing:
        raise DataError(
            f"The experts of {', '.join(missing)} were asked for, and {origin} has no "
            f"tokens of {'it' if len(missing) == 1 else 'them'}; name languages with held-out "
            "pages, or evaluate such pages."
        )
    by_layer = [[counted[*place, code] for code in languages] for place in layers]
    return ExpertUse(
        *(
            np.array([_mean_per_token(rows, name, experts, origin) for rows in by_layer])
            for name in ("load", "gate")
        )
    )


def _mean_per_token(
    rows: Sequence[dict[str, Any]], name: str, experts: int, origin: str
) -> Float[np.ndarray, " experts"]:
    sums = [np.array(row[name], np.float64) for row in rows]
    if not all(s.shape == (experts,) and np.isfinite(s).all() and min(s) >= 0 for s in sums):
        raise DataError(
            f"{origin} should have a number of at least 0 in {name} for each of the run's "
            f"{experts} experts and has not; evaluate the run again."
        )
    return np.mean([s / row["tokens"] for s, row in zip(sums, rows, strict=True)], axis=0)
