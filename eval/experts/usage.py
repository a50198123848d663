"""Expert use per switch layer and language: sums over tokens, and shares made from them.

Everything is a sum over real tokens of held-out pages, so languages, layers and runs are combined
by adding. Shares and means are computed last.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num


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


def by_language(
    rows: Sequence[Num[np.ndarray, "layers batch ..."]],
    language: Int[np.ndarray, " batch"],
    languages: int,
) -> Usage:
    """Returns the sums over the rows of each language.

    Args:
        rows: `model.switch.balancing.RowRouting`, on the host.
        language: number of each row's language, or -1 for rows that do not count.
        languages: number of languages.
    """
    real = language >= 0
    sums = []
    for part in rows:
        out = np.zeros((part.shape[0], languages, *part.shape[2:]))
        by_row = np.moveaxis(np.asarray(part, np.float64), 1, 0)
        np.add.at(np.moveaxis(out, 1, 0), language[real], by_row[real])
        sums.append(out)
    return Usage(*sums)


def added(before: Usage | None, more: Usage) -> Usage:
    """Returns the sums of two usages in float64; batches are added one by one, and none is kept."""
    if before is None:
        return Usage(*(np.asarray(part, np.float64) for part in more))
    return Usage(*(sums + part for sums, part in zip(before, more, strict=True)))


def columns(usage: Usage, languages: Sequence[str], every: int) -> dict[str, list[Any]]:
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
        "tokens": _integers(usage.tokens),
        "choices": _integers(usage.load.sum(axis=-1)),
        "dropped": _integers(usage.dropped),
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


def dropped_share(
    load: Num[np.ndarray, "*places experts"], dropped: Num[np.ndarray, "*places"]
) -> Float[np.ndarray, "*places"]:
    """Returns the share of the assignments that are over capacity."""
    return dropped / np.maximum(load.sum(axis=-1), 1)


def _integers(values: Num[np.ndarray, "layers languages"]) -> list[int]:
    return values.reshape(-1).astype(np.int64).tolist()
