"""Expert slots of a step: the places that tokens may take, and the tokens that take one."""

from collections.abc import Iterator
from typing import NamedTuple

from model.config import SwitchConfig
from pipeline.recipe.recipe import Recipe


class ExpertSlots(NamedTuple):
    """Expert slots of a step, over all switch layers.

    Attributes:
        slots: number of slots.
        assignments: number of (token, expert) assignments if every row is full.
    """

    slots: int
    assignments: int

    @property
    def wasted(self) -> float:
        """Share of slots that stays empty even if tokens are routed evenly."""
        return max(1 - self.assignments / self.slots, 0.0)


def expert_slots(recipe: Recipe) -> ExpertSlots | None:
    """Returns a step's expert slots; None for a dense or dropless recipe."""
    switch = recipe.model.switch
    if switch is None or switch.dispatch != "slots":
        return None
    lengths, layers = recipe.lengths, recipe.model.blocks
    tokens = recipe.rows * lengths.inputs, recipe.rows * lengths.targets
    slots = sum(
        count // pool * switch.experts * capacity
        for count, (pool, capacity) in zip(tokens, _pools(switch), strict=True)
    )
    return ExpertSlots(layers * slots, layers * sum(tokens) * switch.choices)


def _pools(switch: SwitchConfig) -> Iterator[tuple[int, int]]:
    for decoder in (False, True):
        routing = switch.routing(decoder=decoder, training=True)
        yield routing.pool_tokens, routing.capacity
