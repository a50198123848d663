"""Where a step's numbers broke: which layer, which languages; from a few hundred floats a step.

The gradient norm is summed parameter by parameter and block by block anyway; kept apart, these sums
say where gradients stopped being finite, or grew. Backpropagation goes from the loss to the input:
what breaks in a layer's backward pass spoils that layer and all before it, so the layer to look at
is the last one that is spoiled. Where the loss itself is not finite, every gradient is spoiled, and
the forward pass is asked, which breaks the other way round: it is the first layer that some row did
not leave finite. The rows' own losses say which texts were in it.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from model.dimensions import dimension_names, is_names


class Trace(NamedTuple):
    """Of one step.

    Attributes:
        gradient_squares: sum of squares of each of `sites`.
        row_loss_nats: of each row of the batch.
        row_language: as in the batch.
        row_finite_layers: of each row, layers before the first that was not finite, the encoder's
            before the decoder's.
    """

    gradient_squares: Float[Array, " sites"]
    row_loss_nats: Float[Array, " batch"]
    row_language: Int[Array, " batch"]
    row_finite_layers: Int[Array, " batch"]


class GradientSite(NamedTuple):
    """A parameter of one layer.

    Attributes:
        depth: its order in the forward pass; parameters of a layer share it.
        layer: such as `decoder layer 3`, or the name of what is no layer.
        parameter: its name within the layer.
    """

    depth: tuple[int, int]
    layer: str
    parameter: str


def gradient_squares(gradients: eqx.Module) -> Float[Array, " sites"]:
    """Returns the sum of squares of each parameter, for each block of its own, in one vector."""

    def squares(names: tuple[str, ...], leaf: Array) -> Float[Array, " blocks"]:
        first = names[0] == "blocks"
        summed = tuple(range(int(first), leaf.ndim))
        return jnp.sum(jnp.square(leaf.astype(jnp.float32)), axis=summed).reshape(-1)

    names = dimension_names(gradients)
    vectors = jax.tree.map(squares, names, gradients, is_leaf=is_names)
    return jnp.concatenate(jax.tree.leaves(vectors))


def gradient_sites(shapes: eqx.Module, layers_per_block: int) -> list[GradientSite]:
    """Returns what each number of `gradient_squares` belongs to.

    Args:
        shapes: the model's arrays or their shapes.
        layers_per_block: layers that are scanned together.
    """
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
        return GradientSite((stage, layer), f"{top} layer {layer}", ".".join(rest[2:]))
    return GradientSite((stage, 10**6 if rest else 0), top, ".".join(rest) or top)


def skip_cause(trace: Trace, sites: list[GradientSite], limit: float) -> str:
    """Returns a phrase that says which layer a skipped step's trouble came from.

    Args:
        trace: of the step, on the host.
        sites: of the model.
        limit: the gradient norm that counts as exploded.
    """
    squares = np.asarray(trace.gradient_squares)
    spoiled = [site for site, square in zip(sites, squares, strict=True) if not square < np.inf]
    if len(spoiled) == len(sites):
        return _where_forward(int(np.min(trace.row_finite_layers)), sites)
    if spoiled:
        last = max(spoiled, key=lambda site: site.depth)
        return f"the gradient stopped being finite in {last.layer} ({last.parameter})"
    largest = int(np.argmax(squares))
    norm, site = np.sqrt(squares.sum()), sites[largest]
    share = squares[largest] / squares.sum()
    return (
        f"the gradient norm was {norm:.3g}, more than {limit:.3g}, and {share:.0%} of its square "
        f"came from {site.layer} ({site.parameter})"
    )


def _where_forward(finite_layers: int, sites: list[GradientSite]) -> str:
    """Returns the same where the loss itself was not finite.

    Args:
        finite_layers: of the row that broke first.
        sites: of the model, of which each layer has some.
    """
    order = sorted({(site.depth, site.layer) for site in sites if " layer " in site.layer})
    inside = [layer for _, layer in order]
    if finite_layers < len(inside):
        return f"the forward pass stopped being finite in {inside[finite_layers]}"
    return "every layer was finite in the forward pass and the loss was not"
