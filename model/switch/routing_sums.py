"""What routing did with real tokens, in sums: by switch layer and row, hence by language.

A switch layer is counted from the encoder's first to the decoder's last. Means and shares are for
whoever reads the sums: a language's dropped share is the sum of its rows' dropped choices over the
sum of their choices.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Num

from model.switch.switch_layer import Routing


class RowRouting(NamedTuple):
    """Sums over each row's real tokens.

    Attributes:
        load: choices that asked for each expert, before capacity.
        dropped: choices that found no slot.
        entropy_nats: of the router's distribution.
        tokens: real tokens.
    """

    load: Int[Array, "layers batch experts"]
    dropped: Int[Array, "layers batch"]
    entropy_nats: Num[Array, "layers batch"]
    tokens: Int[Array, "layers batch"]


class LayerRouting(NamedTuple):
    """Sums over a batch's real tokens.

    Attributes:
        load, dropped, entropy_nats, tokens: as in `RowRouting`.
        slots: of all experts.
        wasted: slots that stayed empty.
    """

    load: Int[Array, "layers experts"]
    dropped: Int[Array, " layers"]
    entropy_nats: Num[Array, " layers"]
    tokens: Int[Array, " layers"]
    slots: Int[Array, " layers"]
    wasted: Int[Array, " layers"]


def row_routing(
    routing: Routing, is_token: Bool[Array, "batch length"], experts: int
) -> RowRouting:
    """Returns the sums of one stack, whose routing has one leading dimension more, its layers."""
    real = is_token[None, ..., None]
    # Compared rather than scattered: a reduction stays on its device and is never materialised.
    asked = (routing.expert[..., None] == jnp.arange(experts)) & real[..., None]
    return RowRouting(
        load=jnp.sum(asked, axis=(2, 3)),
        dropped=jnp.sum(real & ~routing.kept, axis=(2, 3)),
        entropy_nats=jnp.sum(routing.entropy_nats * is_token, axis=2),
        tokens=jnp.broadcast_to(jnp.sum(is_token, axis=-1), routing.kept.shape[:2]),
    )


def layer_routing(rows: RowRouting, slots: Int[Array, " layers"]) -> LayerRouting:
    """Returns the sums over all rows."""
    load, dropped, entropy, tokens = (jnp.sum(part, axis=1) for part in rows)
    return LayerRouting(
        load=load,
        dropped=dropped,
        entropy_nats=entropy,
        tokens=tokens,
        slots=slots,
        wasted=slots - (jnp.sum(load, axis=-1) - dropped),
    )
