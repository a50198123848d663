"""How far each router moved in a step, and the layers of those numbers.

A router that gets no gradient stays where it is; one that is not a number cannot be compared with
itself. Both are invisible in the loss for a long time.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from model.nonfinite import GradientSite

ROUTER = "router"


def router_moves(before: eqx.Module, after: eqx.Module) -> Float[Array, " routers"]:
    """Returns the squared distance that each layer's router moved; NaN if a weight is not a number.

    The order is that of `of_routers`; empty for a dense network.
    """
    moves = [
        jnp.sum(jnp.square(new - old), axis=(-2, -1)).reshape(-1)
        for old, new in zip(_routers(before), _routers(after), strict=True)
    ]
    return jnp.concatenate(moves) if moves else jnp.zeros(0)


def of_routers(sites: Sequence[GradientSite]) -> list[GradientSite]:
    """Returns the sites of a network that are routers, in the order of `router_moves`."""
    return [site for site in sites if site.parameter.split(".")[-1] == ROUTER]


def _routers(arrays: eqx.Module) -> list[Array]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(arrays)
    return [leaf for path, leaf in leaves if getattr(path[-1], "name", None) == ROUTER]
