"""Matrix FLOPs of a step that its design explains: the model's, and what is computed again.

The backward pass takes twice the products of the forward pass. Rematerialization computes a block's
forward pass again, a fused attention its scores. Every expert slot is computed, empty or not. A
program with more products than these has been partitioned in a way that repeats work.
"""

from model.config import Remat, forward_flops_by_part
from pipeline.planning.expert_slots import expert_slots
from pipeline.recipe.recipe import Recipe

KEEPS_PRODUCTS: tuple[Remat, ...] = ("none", "products")  # no product is computed again


def explained_flops(recipe: Recipe, *, score_products_again: int) -> float:
    """Returns the most FLOPs of a step, over all devices, that design and recipe explain.

    Args:
        recipe: recipe with its mesh.
        score_products_again: products of the size of the scores that the backward pass of a fused
            attention computes beyond the four of a plain one.
    """
    parts = forward_flops_by_part(recipe.model, recipe.lengths.inputs, recipe.lengths.targets)
    feed_forward = parts.feed_forward * slots_per_token(recipe)
    layers = parts.projections + parts.scores + feed_forward + router_flops(recipe)
    again = 0 if recipe.remat in KEEPS_PRODUCTS else layers
    if recipe.remat == "attention":  # its scores are kept, and three of four projections
        again -= parts.scores + 0.75 * parts.projections
    scores_again = score_products_again * parts.scores / 2  # two products forward
    return recipe.rows * (3 * (layers + parts.logits) + again + scores_again)


def slots_per_token(recipe: Recipe) -> float:
    """Returns the computed expert slots per token, averaged over dense and sparse feed-forwards."""
    switch = recipe.model.switch
    if switch is None:
        return 1.0
    slots = expert_slots(recipe)
    of_sparse = switch.choices * (1.0 if slots is None else slots.slots / slots.assignments)
    return (switch.every - 1 + of_sparse) / switch.every


def router_flops(recipe: Recipe) -> int:
    """Returns the FLOPs of one row's routers; each device along `model` computes all of them."""
    switch = recipe.model.switch
    if switch is None:
        return 0
    tokens = recipe.lengths.inputs + recipe.lengths.targets
    layer = 2 * tokens * recipe.model.embed * switch.experts
    return recipe.model.blocks * layer * recipe.mesh.model
