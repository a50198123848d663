"""Fewer experts per switch layer: which to keep, and a network's arrays without the others.

The experts of a layer that a language uses are few and differ by language (Koishekenov et al. 2023:
80 % of NLLB's experts can go). A dropped expert leaves with its column of the router. Its tokens go
to the most probable expert that is left, and gates are the softmax over those.

Arrays are named as in a checkpoint, so they are pruned one at a time: a network need not be in
memory twice.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import jax
import numpy as np
from jax.tree_util import keystr
from jaxtyping import Float, Int, Shaped

from model.config import ModelConfig
from model.dimensions import dimension_names, is_names
from model.transformer import Transformer

EXACT = 9  # decimals: 0.7 * 10 is 7.000000000000001 and means 7


def kept_count(experts: int, share: float) -> int:
    """Returns the number of experts of a layer that stay: a share of them, rounded up."""
    return max(math.ceil(round(share * experts, EXACT)), 1)


def most_important(
    importance: Float[np.ndarray, "layers experts"], count: int
) -> Int[np.ndarray, "layers kept"]:
    """Returns the most important experts of each layer, ascending; of equal ones the first.

    Args:
        importance: a number per expert; the encoder's layers before the decoder's.
        count: number of experts to keep per layer.
    """
    by_importance = np.argsort(-importance, axis=-1, kind="stable")
    return np.sort(by_importance[:, :count], axis=-1)


def of_stack(
    layers: Shaped[np.ndarray, "layers rest"], name: str
) -> Shaped[np.ndarray, "blocks rest"]:
    """Returns the rows for the layers of the stack to which the array with this name belongs."""
    encoder, decoder = np.split(layers, 2)
    return decoder if name.startswith(".decoder") else encoder


def pruned_config(config: ModelConfig, experts: int) -> ModelConfig:
    """Returns the configuration of a sparse network with fewer experts.

    Its dispatch is dropless: the languages that it is for load the experts unevenly, and a token
    over capacity would be lost. Where each token then has every expert, biases by quantiles leave:
    they chose experts and entered no gate.
    """
    assert config.switch is not None  # a sparse network
    rate = 0.0 if experts == config.switch.choices else config.switch.quantile_rate
    switch = replace(config.switch, experts=experts, dispatch="dropless", quantile_rate=rate)
    return replace(config, switch=switch)


def expert_axes(shapes: Transformer) -> dict[str, int]:
    """Returns the axis of the experts by name of array, of each array that has one."""
    names, _ = jax.tree_util.tree_flatten_with_path(dimension_names(shapes), is_leaf=is_names)
    return {keystr(path): of.index("experts") for path, of in names if "experts" in of}


def pruned_arrays(
    arrays: Mapping[str, Shaped[np.ndarray, "..."]],
    axes: Mapping[str, int],
    kept: Int[np.ndarray, "layers kept"],
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Returns arrays without the dropped experts, by name.

    Args:
        arrays: some arrays of a network, by name.
        axes: axis of the experts by name, as from `expert_axes`.
        kept: experts of each layer that stay; the encoder's layers before the decoder's.
    """
    return {
        name: _without_dropped(array, axes[name], of_stack(kept, name)) if name in axes else array
        for name, array in arrays.items()
    }


def _without_dropped(
    array: Shaped[np.ndarray, "blocks ..."], axis: int, kept: Int[np.ndarray, "blocks kept"]
) -> Shaped[np.ndarray, "blocks ..."]:
    parts = zip(array, kept, strict=True)
    return np.stack([np.take(part, experts, axis=axis - 1) for part, experts in parts])
