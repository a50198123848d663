"""The arguments of fused attention, as both kinds of device take them."""

from typing import Literal, NamedTuple

from jaxtyping import Array, Float, Int

Platform = Literal["tpu", "gpu"]
MASKED = -1e9  # score of a masked key, as in `model/layers/plain_attention.py`
PADDING = -1  # example number of a masked key: no query has it


class Numbers(NamedTuple):
    """Example numbers, by which keys are masked: a query sees the keys with its number.

    Attributes:
        queries: number of each query; None if all are 0.
        keys: number of each key, `PADDING` if it is masked; None if every query sees every key.
    """

    queries: Int[Array, "batch queries"] | None
    keys: Int[Array, "batch keys"] | None


class Arguments(NamedTuple):
    """Arrays; in gradients, the gradient of each."""

    query: Float[Array, "batch queries width"]
    keys: Float[Array, "batch keys width"]
    values: Float[Array, "batch keys width"]
    table: Float[Array, "buckets heads"] | None
    numbers: Numbers


class Setting(NamedTuple):
    """What is known before the kernel is compiled."""

    heads: int
    bidirectional: bool
    causal: bool
    platform: Platform
    interpret: bool
