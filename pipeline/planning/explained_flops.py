"""Matrix FLOPs of a step that its design explains: the model's, and what is computed again.

The backward pass takes twice the products of the forward pass. Rematerialization computes a block's
forward pass again, or what its policy does not keep of it; a kernel states its own FLOPs. Every
expert slot is computed, empty or not. A program with more products than these has been partitioned
in a way that repeats work.
"""

from model.flops import forward_flops_by_part
from pipeline.planning.expert_slots import expert_slots
from pipeline.recipe.recipe import Recipe


def explained_flops(recipe: Recipe, *, of_kernels: float) -> float:
    """Returns the most FLOPs of a step, over all devices, that design and recipe explain.

    Args:
        recipe: recipe with its mesh.
        of_kernels: FLOPs of attention that kernels state, in place of the model's; they include
            blocks filled up and scores computed again. 0 where attention is not a kernel.
    """
    parts = forward_flops_by_part(recipe.model, recipe.lengths.inputs, recipe.lengths.targets)
    scores = 0 if of_kernels else parts.scores
    feed_forward = parts.feed_forward * computed_per_needed(recipe)
    layers = parts.projections + scores + feed_forward + parts.shared_experts
    layers += router_flops(recipe)
    # Kept is what `model.remat` names. Weights of attention are not, where it is not a kernel: the
    # backward pass multiplies queries with keys again, half of the scores' FLOPs.
    again = {
        "none": 0.0,
        "products": scores / 2,
        "attention": layers - scores / 2 - 0.75 * parts.projections,  # the output's is not kept
    }.get(recipe.remat, layers)
    return recipe.rows * (3 * (layers + parts.logits) + again) + of_kernels


def computed_per_needed(recipe: Recipe) -> float:
    """Returns computed expert slots ÷ assignments, averaged over dense and sparse feed-forwards."""
    switch = recipe.model.switch
    if switch is None:
        return 1.0
    slots = expert_slots(recipe)
    of_sparse = 1.0 if slots is None else slots.slots / slots.assignments
    dense = switch.every - 1
    return (dense + switch.choices * of_sparse) / (dense + switch.choices)


def router_flops(recipe: Recipe) -> int:
    """Returns the FLOPs of one row's routers; each device along `model` computes all of them."""
    switch = recipe.model.switch
    if switch is None:
        return 0
    tokens = recipe.lengths.inputs + recipe.lengths.targets
    layer = 2 * tokens * recipe.model.embed * switch.experts
    return recipe.model.blocks * layer * recipe.mesh.model
