"""Slices of rows of varying number sent between devices of the expert axis, and back.

`lax.ragged_all_to_all` moves the rows that there are, where an all-to-all of buffers moves every
empty place too. TPUs and GPUs have it; XLA:CPU does not, so there each device reads its slices out
of all devices' rows. That emulation follows the operation's definition from the same offsets.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int

from model.remat import EXCHANGED
from model.sharding.layouts import EXPERT_AXES


class Ends(NamedTuple):
    """Where this device has one end of each slice; both ends of a slice have the same size.

    Attributes:
        start: first row on this device of each slice, ordered by the other device.
        at_other: first row of the slice on the other device.
        size: number of rows.
    """

    start: Int[Array, " slices"]
    at_other: Int[Array, " slices"]
    size: Int[Array, " slices"]


class Slices(NamedTuple):
    """Slices that leave this device's rows, and those that come to its places.

    Attributes:
        sent: ends of the slices of its own rows.
        received: ends of the slices that its places hold.
    """

    sent: Ends
    received: Ends

    @property
    def turned(self) -> "Slices":
        """The same slices on their way back."""
        return Slices(self.received, self.sent)


def exchange_slices(
    rows: Float[Array, "rows embed"], slices: Slices, places: int
) -> Float[Array, "places embed"]:
    """Returns what other devices of the expert axis sent; places that nothing is sent to are zero.

    The gradient takes the way back. JAX's own would exchange the offsets again.
    """
    return checkpoint_name(_exchanged(rows, slices, places, len(rows)), EXCHANGED)


def _value(rows: Array, slices: Slices, places: int, _: int) -> Array:
    (start, at_other, size), received = slices
    return jax.lax.platform_dependent(
        rows,
        jnp.zeros_like(rows, shape=(places, rows.shape[-1])),
        start,
        size,
        at_other,
        received.size,
        cpu=emulated,
        default=lambda *given: jax.lax.ragged_all_to_all(*given, axis_name=EXPERT_AXES),
    )


def _forward(rows: Array, slices: Slices, places: int, count: int) -> tuple[Array, Slices]:
    return _value(rows, slices, places, count), slices


def _backward(places: int, count: int, slices: Slices, cotangent: Array) -> tuple[Array, None]:
    return _value(cotangent, slices.turned, count, places), None


_exchanged: Any = jax.custom_vjp(_value, nondiff_argnums=(2, 3))
_exchanged.defvjp(_forward, _backward)


def emulated(
    rows: Float[Array, "rows embed"],
    places: Float[Array, "places embed"],
    start: Int[Array, " slices"],
    size: Int[Array, " slices"],
    at_other: Int[Array, " slices"],
    received_size: Int[Array, " slices"],
) -> Float[Array, "places embed"]:
    """Does what `lax.ragged_all_to_all` does, by reading from the rows of all devices.

    Args:
        rows: rows that slices are sent from.
        places: result before anything is received.
        start, size: slices of `rows`, as many for each device, in the order of devices.
        at_other: first place of each slice on the device that receives it.
        received_size: number of rows of each slice that this device receives.
    """

    def from_senders(sent: Int[Array, " slices"]) -> Int[Array, " slices"]:
        return jax.lax.all_to_all(sent, EXPERT_AXES, 0, 0, tiled=True)

    devices = jax.lax.axis_size(EXPERT_AXES)
    first = jnp.where(received_size > 0, from_senders(at_other), len(places))
    by_place = jnp.argsort(first)
    here = jnp.arange(len(places))
    at = by_place[jnp.searchsorted(first[by_place], here, side="right") - 1]
    sizes = jnp.minimum(received_size, from_senders(size))
    is_received = (here >= first[at]) & (here < first[at] + sizes[at])
    sender = at // (len(start) // devices)
    row = sender * len(rows) + from_senders(start)[at] + here - first[at]
    whole = jax.lax.all_gather(rows, EXPERT_AXES, tiled=True)
    return jnp.where(is_received[:, None], whole[row], places)
