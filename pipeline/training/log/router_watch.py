"""The watch on a run's routers: a line on the terminal and in `alarms.jsonl` per new fault.

It looks every `EVERY` steps and at no other step, so that two looks are that far apart. A router
that does not move is named at most `EVERY` + `WINDOW` steps after that began; an uneven load when
two looks in a row find it, `EVERY` steps later. Experts without tokens count from `SETTLING` steps
of these routers and the end of the warm-up on. A resumed run begins with an empty window.
"""

import json
from collections import deque
from collections.abc import Callable, Sequence

import jax
import numpy as np

from data.files.growing_files import GrowingFile
from data.files.paths import Place
from model.step import GradientSite, StepMetrics, of_routers
from pipeline.hardware.coordination import is_first
from pipeline.training.log.router_faults import (
    DEAD_EXPERTS,
    SETTLING,
    WINDOW,
    RouterFault,
    RoutingWindow,
    confirmed,
    router_faults,
)

FILE = "alarms.jsonl"
EVERY = 25  # steps


class RouterWatch:
    """Looks at the routing of a run's steps; does nothing for a dense network.

    Args:
        stage: name of the command.
        out: the run's directory.
        sites: parameters of the model, in the order of `gradient_sites`.
        print_line: prints a line on the first host.
        warm_up_steps: steps in which the rate rises.
        begun: step before which no router was trained: the first of an upcycled run, else 0.
    """

    def __init__(
        self,
        stage: str,
        out: Place,
        sites: Sequence[GradientSite],
        print_line: Callable[[str], None],
        warm_up_steps: int = 0,
        begun: int = 0,
    ):
        self.stage, self.lines, self.print_line = stage, GrowingFile(out / FILE), print_line
        routers = of_routers(sites)
        self.order = sorted(range(len(routers)), key=lambda at: routers[at].depth)
        self.layers = switch_layers(sites)
        self.waiting: list[StepMetrics] = []
        self.window: deque[tuple] = deque(maxlen=WINDOW)
        self.last_look: list[RouterFault] = []
        self.faults: list[RouterFault] = []
        self.settling = max(begun + SETTLING, warm_up_steps)

    def add(self, metrics: StepMetrics) -> None:
        """Takes the metrics of a step, which may still be computed."""
        if self.layers:
            self.waiting.append(metrics)

    def look(self, step: int, in_flight: int = 0) -> list[RouterFault]:
        """Returns the present faults, and records those that are new.

        Args:
            step: last step that is looked at.
            in_flight: number of steps after it whose metrics wait for the devices.
        """
        count = len(self.waiting) - in_flight
        seen, self.waiting = self.waiting[:count], self.waiting[count:]
        if not seen:
            return self.faults
        numbers = [
            (one.losses.layers.load, one.router_moves, one.learning_rate, one.skipped)  # pyright: ignore[reportOptionalMemberAccess]
            for one in seen
        ]
        self.window.extend(jax.device_get(numbers))
        here = router_faults(self._routing(), self.layers)
        if step <= self.settling:
            here = [fault for fault in here if fault.kind != DEAD_EXPERTS]
        found, self.last_look = confirmed(here, self.last_look), here
        for fault in found:
            if fault not in self.faults and is_first():
                self._record(step, fault)
        self.faults = found
        return found

    def _routing(self) -> RoutingWindow:
        load, moves, rate, skipped = (np.stack(part) for part in zip(*self.window, strict=True))
        return RoutingWindow(load, moves[:, self.order], (rate > 0) & ~skipped)

    def _record(self, step: int, fault: RouterFault) -> None:
        self.lines.add(json.dumps({"step": step, **fault._asdict()}))
        self.print_line(f"{self.stage}: alarm at step {step:,}: {fault.sentence()}.")


def switch_layers(sites: Sequence[GradientSite]) -> list[str]:
    """Returns the names of the switch layers, the encoder's before the decoder's."""
    return [one.layer for one in sorted(of_routers(sites), key=lambda one: one.depth)]
