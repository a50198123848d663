"""Which layer and languages nonfinite numbers came from; a few hundred floats per step.

The gradient norm is a sum over parameters and blocks anyway. Kept apart, these sums show where
gradients became nonfinite or exploded. Backpropagation runs from the loss to the input: a nonfinite
value in a layer's backward pass spreads to all earlier layers, so its origin is the last layer with
a nonfinite gradient. If the loss itself is nonfinite, all gradients are. Then the forward pass
decides: its origin is the first layer with nonfinite output in any row. The losses of the rows show
which texts were involved.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from model.dimensions import dimension_names, is_names
from model.switch.balancing import without_expert_biases


class Trace(NamedTuple):
    """Numbers of one step from which the cause of a skipped update follows.

    Attributes:
        gradient_squares: sum of squares of the gradient at each of `gradient_sites`.
        row_loss_nats: loss of each row of the batch.
        row_language: language of each row, as in the batch.
        row_finite_layers: number of each row's layers before the first with nonfinite output.
    """

    gradient_squares: Float[Array, " sites"]
    row_loss_nats: Float[Array, " batch"]
    row_language: Int[Array, " batch"]
    row_finite_layers: Int[Array, " batch"]


class GradientSite(NamedTuple):
    """One parameter of one layer.

    Attributes:
        depth: position in the forward pass, the same for all parameters of a layer.
        layer: name such as `decoder layer 3`, counted from 1 within the stack as in a report, or
            `embedding` outside of layers.
        parameter: name within the layer.
    """

    depth: tuple[int, int]
    layer: str
    parameter: str


def gradient_squares(gradients: eqx.Module) -> Float[Array, " sites"]:
    """Returns the sums of squares of each parameter, one per block, in one vector."""

    def squares(names: tuple[str, ...], leaf: Array) -> Float[Array, " blocks"]:
        first = names[0] == "blocks"
        summed = tuple(range(int(first), leaf.ndim))
        return jnp.sum(jnp.square(leaf.astype(jnp.float32)), axis=summed).reshape(-1)

    names = dimension_names(gradients)
    vectors = jax.tree.map(squares, names, gradients, is_leaf=is_names)
    return jnp.concatenate(jax.tree.leaves(vectors))


def gradient_sites(shapes: eqx.Module, layers_per_block: int) -> list[GradientSite]:
    """Returns the site of each number in `gradient_squares`.

    Args:
        shapes: arrays of the model or their shapes.
        layers_per_block: layers per scanned block.
    """
    shapes = without_expert_biases(shapes)
    names = jax.tree.leaves(dimension_names(shapes), is_leaf=is_names)
    leaves, _ = jax.tree_util.tree_flatten_with_path(shapes)
    return [
        _site(path, block, layers_per_block)
        for (path, leaf), dimensions in zip(leaves, names, strict=True)
        for block in range(leaf.shape[0] if dimensions[0] == "blocks" else 1)
    ]


STAGES = ("embedding", "encoder", "decoder", "logits")


def _site(path: tuple, block: int, layers_per_block: int) -> GradientSite:
    top, *rest = (str(getattr(key, "name", getattr(key, "idx", key))) for key in path)
    stage = STAGES.index(top)
    if len(rest) > 2 and rest[0] == "blocks":
        layer = block * layers_per_block + int(rest[1])
        return GradientSite((stage, layer), f"{top} layer {layer + 1}", ".".join(rest[2:]))
    # Gradients of a stack's biases are sums over its layers: a fault in any layer reaches them.
    depth = 10**6 if rest and rest[0] != "position_bias" else -1
    return GradientSite((stage, depth), top, ".".join(rest) or top)


def skip_cause(trace: Trace, sites: list[GradientSite], limit: float) -> str:
    """Returns a phrase that names the layer because of which a step was skipped.

    Args:
        trace: trace of the step, on the host.
        sites: gradient sites of the model.
        limit: gradient norm above which gradients count as exploded.
    """
    squares = np.asarray(trace.gradient_squares)
    nonfinite = [site for site, square in zip(sites, squares, strict=True) if not square < np.inf]
    lost = not np.isfinite(trace.row_loss_nats).all()  # a wrong target has a finite gradient
    broken = _broken_layer(int(np.min(trace.row_finite_layers)), sites)
    if len(nonfinite) in (0, len(sites)) and (lost or (nonfinite and broken)):
        if broken:
            return f"the forward pass stopped being finite in {broken}"
        return "every layer was finite in the forward pass and the loss was not"
    if nonfinite:
        last = max(nonfinite, key=lambda site: site.depth)
        return f"the gradient stopped being finite in {last.layer} ({last.parameter})"
    largest = int(np.argmax(squares))
    norm, site = np.sqrt(squares.sum()), sites[largest]
    share = squares[largest] / squares.sum()
    return (
        f"the gradient norm was {norm:.3g}, more than {limit:.3g}, and {share:.0%} of its square "
        f"came from {site.layer} ({site.parameter})"
    )


def _broken_layer(finite_layers: int, sites: list[GradientSite]) -> str | None:
    """Returns the first layer with nonfinite output; None if all layers are finite.

    Args:
        finite_layers: smallest number of finite layers of any row.
        sites: gradient sites of the model; each layer has some.
    """
    order = sorted({(site.depth, site.layer) for site in sites if " layer " in site.layer})
    return order[finite_layers][1] if finite_layers < len(order) else None
