"""Faults of routers, recognized in the routing of some steps: pure, on the host.

A sparse network whose router has collapsed trains on as a smaller dense one, and its loss looks
healthy. What is recognized, with its layer:

* an expert that gets no tokens (dead): below `DEAD` of an even load over the window;
* one expert that gets nearly all tokens: above `NEARLY_ALL` of the layer's assignments;
* a router that does not move although updates are made (frozen);
* a router whose weights are not numbers.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

DEAD_EXPERTS = "dead experts"
WINDOW = 50  # steps
NAMED = 8  # experts in a sentence
DEAD = 0.002  # of an even load; a healthy run had 0.018 after its warm-up
NEARLY_ALL = 0.9  # of a layer's assignments, if there are more than two experts
# Assignments that an even load would give an expert in the window. With fewer none counts as dead:
# of 2,500, chance leaves a live expert at a hundredth of an even load below 5 in 1 of 10^6 windows.
LEAST_EVEN = 2_500
# Steps in which experts without tokens are not a fault. In two of four healthy runs one had none
# for up to 112 steps and then came back; the last such window ended at step 513, warm-up at 50.
SETTLING = 600


class RouterFault(NamedTuple):
    """A fault of one layer's router.

    Attributes:
        layer: name of the layer.
        kind: `dead experts`, `one expert for all`, `frozen router` or `nan router`.
        experts: numbers of the experts, if the fault is theirs.
    """

    layer: str
    kind: str
    experts: tuple[int, ...] = ()

    def sentence(self) -> str:
        """Returns what is wrong."""
        named = ", ".join(str(expert) for expert in self.experts[:NAMED])
        more = len(self.experts) - NAMED
        experts = f"{named} and {more} more" if more > 0 else named
        return f"{self.layer}: {_WORDS[self.kind].format(experts=experts)}"


_WORDS = {
    DEAD_EXPERTS: f"below {DEAD:.1%} of an even load in {WINDOW} steps: expert {{experts}}",
    "one expert for all": f"over {NEARLY_ALL:.0%} of all tokens went to expert {{experts}}",
    "frozen router": f"the router has not moved in {WINDOW} steps",
    "nan router": "the router's weights are not numbers",
}


class RoutingWindow(NamedTuple):
    """The routing of the last steps, the oldest first.

    Attributes:
        load: assignments of each layer to each expert, before capacity.
        moves: squared distance that each layer's router moved in the step.
        updated: whether an update of positive rate was made.
    """

    load: Int[np.ndarray, "steps layers experts"]
    moves: Float[np.ndarray, "steps layers"]
    updated: Bool[np.ndarray, " steps"]


def router_faults(window: RoutingWindow, layers: Sequence[str]) -> list[RouterFault]:
    """Returns the faults of a window; of a shorter one than `WINDOW`, only weights that are NaN.

    Args:
        window: routing of the last steps.
        layers: name of each layer.
    """
    broken = [
        RouterFault(name, "nan router")
        for name, move in zip(layers, window.moves[-1], strict=True)
        if not np.isfinite(move)
    ]
    if len(window.updated) < WINDOW:
        return broken
    named = {fault.layer for fault in broken}
    others = [*_uneven(window.load.sum(axis=0), layers), *_frozen(window, layers)]
    return broken + [fault for fault in others if fault.layer not in named]


def confirmed(found: Sequence[RouterFault], before: Sequence[RouterFault]) -> list[RouterFault]:
    """Returns the faults of experts that an earlier look found, too, and all others.

    A healthy run had an expert below `DEAD` in the windows that ended at steps 115 to 133, and not
    since (docs/decisions/balancing.md).
    """
    known = {(fault.layer, fault.kind): fault.experts for fault in before}
    kept = []
    for fault in found:
        earlier = known.get((fault.layer, fault.kind), ())
        experts = tuple(expert for expert in fault.experts if expert in earlier)
        if experts or not fault.experts:
            kept.append(fault._replace(experts=experts))
    return kept


def _uneven(
    load: Int[np.ndarray, "layers experts"], layers: Sequence[str]
) -> Iterator[RouterFault]:
    """Yields the faults of the loads; where one expert has all, the others are not named, too."""
    even = load.mean(axis=1)
    for name, of_layer, fair in zip(layers, load, even, strict=True):
        busiest = int(of_layer.argmax())
        if len(of_layer) > 2 and of_layer[busiest] > NEARLY_ALL * max(of_layer.sum(), 1):
            yield RouterFault(name, "one expert for all", (busiest,))
        elif fair >= LEAST_EVEN and (of_layer < DEAD * fair).any():
            dead = np.flatnonzero(of_layer < DEAD * fair)
            yield RouterFault(name, DEAD_EXPERTS, tuple(dead.tolist()))


def _frozen(window: RoutingWindow, layers: Sequence[str]) -> Iterator[RouterFault]:
    """Yields the routers that no update moved."""
    if not window.updated.all():
        return
    for name, moves in zip(layers, window.moves.T, strict=True):
        if not moves.any():
            yield RouterFault(name, "frozen router")
