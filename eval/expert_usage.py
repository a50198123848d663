"""Which experts serve which languages: sums by switch layer and language, and their shares.

Everything is a sum over real tokens of held-out pages, so that languages, layers and runs can be
put together by adding. Shares and means come last.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num


class Usage(NamedTuple):
    """Sums over a language's tokens at a switch layer, the encoder's layers before the decoder's.

    Attributes:
        load: choices that asked for each expert, before capacity.
        dropped: choices that found no slot.
        entropy_nats: of the router's distribution.
        tokens: real tokens.
    """

    load: Num[np.ndarray, "layers languages experts"]
    dropped: Num[np.ndarray, "layers languages"]
    entropy_nats: Num[np.ndarray, "layers languages"]
    tokens: Num[np.ndarray, "layers languages"]


def by_language(
    rows: Sequence[Num[np.ndarray, "layers batch ..."]],
    language: Int[np.ndarray, " batch"],
    languages: int,
) -> Usage:
    """Adds up the rows of each language.

    Args:
        rows: `model.switch.routing_sums.RowRouting`, on the host.
        language: number of each row's language, or -1 for rows that do not count.
        languages: how many there are.
    """
    real = language >= 0
    sums = []
    for part in rows:
        out = np.zeros((part.shape[0], languages, *part.shape[2:]))
        by_row = np.moveaxis(np.asarray(part, np.float64), 1, 0)
        np.add.at(np.moveaxis(out, 1, 0), language[real], by_row[real])
        sums.append(out)
    return Usage(*sums)


def together(parts: Sequence[Usage]) -> Usage:
    """Adds up what several batches, or several runs, were counted to."""
    return Usage(*(np.sum(np.stack(one), axis=0) for one in zip(*parts, strict=True)))


def columns(usage: Usage, languages: Sequence[str], every: int) -> dict[str, list[Any]]:
    """Returns `evaluation/routing-step=N.parquet`: a row a switch layer and language.

    Args:
        usage: the sums.
        languages: their codes.
        every: every how many-th feed-forward of a stack is sparse.
    """
    layers = len(usage.load)
    places = [
        (stack, (number + 1) * every)
        for stack in ("encoder", "decoder")
        for number in range(layers // 2)
    ]
    return {
        "stack": [stack for stack, _ in places for _ in languages],
        "layer": [layer for _, layer in places for _ in languages],
        "language": list(languages) * layers,
        "tokens": _integers(usage.tokens),
        "choices": _integers(usage.load.sum(axis=-1)),
        "dropped": _integers(usage.dropped),
        "entropy_nats": usage.entropy_nats.reshape(-1).tolist(),
        "load": usage.load.reshape(-1, usage.load.shape[-1]).astype(np.int64).tolist(),
    }


def shares(usage: Usage) -> Float[np.ndarray, "layers languages experts"]:
    """Returns what share of a language's choices asked for each expert; 0 without any."""
    total = usage.load.sum(axis=-1, keepdims=True)
    return usage.load / np.maximum(total, 1)


def dropped_share(usage: Usage) -> Float[np.ndarray, "layers languages"]:
    """Returns what share of a language's choices found no slot."""
    return usage.dropped / np.maximum(usage.load.sum(axis=-1), 1)


def _integers(values: Num[np.ndarray, "layers languages"]) -> list[int]:
    return values.reshape(-1).astype(np.int64).tolist()
