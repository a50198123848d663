"""Networks that fit each other's weights: a run and its start, a dense run and its Switch."""

from dataclasses import asdict
from typing import Any

import jax

from data.files.paths import Place
from model.config import ConfigurationError, ModelConfig
from model.transformer import transformer_shapes
from pipeline.artifacts import json_differences
from pipeline.errors import ArtifactError
from pipeline.recipe.recipe import Recipe


def check_network(start: Place, theirs: Recipe, recipe: Recipe) -> None:
    """Checks that a run's weights fit a recipe's network: its arrays' shapes and its slope.

    Args:
        start: directory of the run, for the message.
        theirs: its recipe.
        recipe: recipe that begins with its weights.

    Raises:
        ArtifactError: if array shapes or the slope differ.
    """
    if weight_layout(theirs.model) != weight_layout(recipe.model):
        lines = "; ".join(json_differences(asdict(theirs.model), asdict(recipe.model), "model"))
        raise ArtifactError(
            f"{start} has another shape than recipe {recipe.name} ({lines}); name a recipe of its "
            "shape, or set its fields."
        )


def weight_layout(config: ModelConfig) -> tuple[list[tuple[int, ...]], float]:
    """Returns the shapes of a network's arrays, in the order of the leaves, and its biases' slope.

    Networks that agree in them fit each other's weights.
    """
    shapes = jax.tree.leaves(transformer_shapes(config))
    return [leaf.shape for leaf in shapes], config.distance_slope


# What decides an upcycled network's arrays and function, besides its switch layers.
SHAPE = (
    *("vocabulary_rows", "embed", "heads", "head", "mlp", "layers"),
    *("feed_forward", "tied_logits", "distance_slope"),
)


def check_one_shape(dense: Recipe, recipe: Recipe, parent: Place | str) -> None:
    """Checks that a Switch has the shape of a dense run, and nothing that no dense run has.

    Args:
        dense: recipe of the dense run.
        recipe: recipe of the Switch.
        parent: how the user named the dense run.

    Raises:
        ConfigurationError: if it has biases of experts, a shared expert or another shape.
    """
    switch = recipe.model.switch
    if switch is not None and (switch.has_biases or switch.shared_mlp):
        raise ConfigurationError(
            f"--upcycle {parent} was asked of recipe {recipe.name}, which has biases of experts or "
            "a shared expert; biases would outweigh routers near zero, and a shared expert is not "
            "a copy of the dense run, so leave bias_rate, quantile_rate and shared_mlp 0."
        )
    if different := json_differences(shape_of(dense.model), shape_of(recipe.model), "model"):
        raise ConfigurationError(
            f"{parent} has another shape than recipe {recipe.name} ({different[0]}); name a recipe "
            "of its shape, or set its fields."
        )


def shape_of(model: ModelConfig) -> dict[str, Any]:
    """Returns the settings of a network in which a dense run and its Switch must agree."""
    return {name: getattr(model, name) for name in SHAPE}


def carries_moments(dense: Recipe, switch: Recipe) -> bool:
    """Returns whether a Switch can go on with the optimizer state of a dense run."""
    return dense.optimizer.rule == switch.optimizer.rule
