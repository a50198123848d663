"""Routing statistics as sums over real tokens, by switch layer and row or language.

Switch layers are numbered from the encoder's first to the decoder's last. Whoever reads the sums
computes means and shares: a language's dropped share is the sum of its rows' dropped assignments
divided by the sum of their assignments.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from model.switch.switch_layer import Routing


class RowRouting(NamedTuple):
    """Sums over the real tokens of each row.

    Attributes:
        load: assignments per expert, before capacity.
        dropped: assignments over capacity.
        entropy_nats: entropy of the router's distribution.
        tokens: number of real tokens.
        gate: gates of each expert's assignments, 0 for dropped ones.
    """

    load: Int[Array, "layers batch experts"]
    dropped: Int[Array, "layers batch"]
    entropy_nats: Num[Array, "layers batch"]
    tokens: Int[Array, "layers batch"]
    gate: Float[Array, "layers batch experts"]


class LanguageRouting(NamedTuple):
    """`RowRouting`, summed over the rows of each language."""

    load: Int[Array, "layers languages experts"]
    dropped: Int[Array, "layers languages"]
    entropy_nats: Num[Array, "layers languages"]
    tokens: Int[Array, "layers languages"]
    gate: Float[Array, "layers languages experts"]


class LayerRouting(NamedTuple):
    """Sums over the real tokens of a batch.

    Attributes:
        load, dropped, entropy_nats, tokens: as in `RowRouting`.
        expert_slots: capacity summed over experts and pools of groups.
        wasted: expert slots that stayed empty.
    """

    load: Int[Array, "layers experts"]
    dropped: Int[Array, " layers"]
    entropy_nats: Num[Array, " layers"]
    tokens: Int[Array, " layers"]
    expert_slots: Int[Array, " layers"]
    wasted: Int[Array, " layers"]


def row_routing(
    routing: Routing, is_token: Bool[Array, "batch length"], experts: int
) -> RowRouting:
    """Returns the sums of one stack, whose routing has a leading dimension of layers."""
    real = is_token[None, ..., None]
    # Compared, not scattered: a reduction stays on its device and is never materialized.
    is_assigned = (routing.expert_index[..., None] == jnp.arange(experts)) & real[..., None]
    return RowRouting(
        load=jnp.sum(is_assigned, axis=(2, 3)),
        dropped=jnp.sum(real & ~routing.kept, axis=(2, 3)),
        entropy_nats=jnp.sum(routing.entropy_nats * is_token, axis=2),
        tokens=jnp.broadcast_to(jnp.sum(is_token, axis=-1), routing.kept.shape[:2]),
        gate=jnp.sum(jnp.where(is_assigned, routing.gate[..., None], 0.0), axis=(2, 3)),
    )


def language_routing(
    rows: RowRouting, language: Int[Array, " batch"], languages: int
) -> LanguageRouting:
    """Returns the sums over the rows of each language.

    Args:
        rows: sums of each row. Those of all rows are never gathered: Switch-C's are 0.9 GiB.
        language: number of each row's language; one below 0 counts nowhere.
        languages: number of languages.
    """
    is_of = language[:, None] == jnp.arange(languages)

    def summed(part: Num[Array, "layers batch *rest"]) -> Num[Array, "layers languages *rest"]:
        here = is_of.reshape(1, *is_of.shape, *(1,) * (part.ndim - 2))
        return jnp.sum(jnp.where(here, part[:, :, None], 0), axis=1)

    return LanguageRouting(*map(summed, rows))


def layer_routing(rows: RowRouting, expert_slots: Int[Array, " layers"]) -> LayerRouting:
    """Returns the sums over all rows."""
    load, dropped, entropy, tokens, _ = (jnp.sum(part, axis=1) for part in rows)
    return LayerRouting(
        load=load,
        dropped=dropped,
        entropy_nats=entropy,
        tokens=tokens,
        expert_slots=expert_slots,
        wasted=expert_slots - (jnp.sum(load, axis=-1) - dropped),
    )
