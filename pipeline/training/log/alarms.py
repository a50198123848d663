"""Alarms of a run: one line per new fault of a router, and every skipped update with its cause.

Faults go to the terminal and to `alarms.jsonl`, skipped updates with layer and languages to
`skipped.jsonl`. One or two skipped updates are a bad batch. Ten in a row are a diverged run, which
is stopped.

Routers are looked at every `EVERY` steps and at no other step, so that two looks are that far
apart. A router that does not move is named at most `EVERY` + `WINDOW` steps after that began; an
uneven load when two looks in a row find it, `EVERY` steps later. Experts without tokens count from
`SETTLING` steps of these routers and the end of the warm-up on. A resumed run begins with an empty
window.
"""

import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import jax
import numpy as np

from data.files.growing_files import GrowingFile
from data.files.paths import Place
from model.step import GradientSite, StepMetrics, router_sites, skip_cause
from pipeline.errors import ArtifactError
from pipeline.hardware.hosts import is_first
from pipeline.recipe.recipe import Recipe
from pipeline.training.log.live_view import (
    DEAD_EXPERTS,
    SETTLING,
    WINDOW,
    RouterFault,
    RoutingWindow,
    confirmed_faults,
    router_faults,
)

ALARMS_FILE = "alarms.jsonl"
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
        self.stage, self.lines, self.print_line = stage, GrowingFile(out / ALARMS_FILE), print_line
        routers = router_sites(sites)
        self.order = sorted(range(len(routers)), key=lambda at: routers[at].depth)
        self.layers = switch_layers(sites)
        self.waiting: list[StepMetrics] = []
        self.window: deque[tuple] = deque(maxlen=WINDOW)
        self.last_look: list[RouterFault] = []
        self.faults: list[RouterFault] = []
        self.settling = max(begun + SETTLING, warm_up_steps)

    def add(self, metrics: StepMetrics) -> None:
        """Adds the metrics of a step, which may still be computed."""
        if self.layers:
            self.waiting.append(metrics)

    def look(self, step: int, in_flight: int = 0) -> list[RouterFault]:
        """Returns the present faults, and records those that are new.

        Args:
            step: last step that is looked at.
            in_flight: number of steps after it whose metrics wait for the devices.
        """
        count = len(self.waiting) - in_flight
        finished, self.waiting = self.waiting[:count], self.waiting[count:]
        if not finished:
            return self.faults
        numbers = [
            (made.losses.layers.load, made.router_moves, made.learning_rate, made.skipped)  # pyright: ignore[reportOptionalMemberAccess]
            for made in finished
        ]
        self.window.extend(jax.device_get(numbers))
        present = router_faults(self._routing(), self.layers)
        if step <= self.settling:
            present = [fault for fault in present if fault.kind != DEAD_EXPERTS]
        faults, self.last_look = confirmed_faults(present, self.last_look), present
        for fault in faults:
            if fault not in self.faults and is_first():
                self._record(step, fault)
        self.faults = faults
        return faults

    def _routing(self) -> RoutingWindow:
        load, moves, rate, skipped = (np.stack(part) for part in zip(*self.window, strict=True))
        return RoutingWindow(load, moves[:, self.order], (rate > 0) & ~skipped)

    def _record(self, step: int, fault: RouterFault) -> None:
        self.lines.add(json.dumps({"step": step, **fault._asdict()}))
        self.print_line(f"{self.stage}: alarm at step {step:,}: {fault.sentence()}.")


def switch_layers(sites: Sequence[GradientSite]) -> list[str]:
    """Returns the names of the switch layers, the encoder's before the decoder's."""
    return [router.layer for router in sorted(router_sites(sites), key=lambda router: router.depth)]


SKIPPED_FILE = "skipped.jsonl"
MOST_SKIPPED = 10  # updates in a row
NAMED = 8  # number of languages in a sentence; the file has all


@dataclass(frozen=True)
class SkippedStep:
    """One skipped update.

    Attributes:
        step: number of the step.
        where: layer in which the first nonfinite or exploded number arose, if that is known.
        loss_nats: summed loss of the batch; None if not finite.
        gradient_norm: norm over all parameters; None if not finite.
        languages: languages of the rows with a nonfinite loss; of all rows if there are none.
        rows: number of those rows.
    """

    step: int
    where: str
    loss_nats: float | None
    gradient_norm: float | None
    languages: tuple[str, ...]
    rows: int

    def sentence(self) -> str:
        """Returns the message to print."""
        named = ", ".join(self.languages[:NAMED])
        more = len(self.languages) - NAMED
        return (
            f"Update {self.step} was skipped: {self.where}; its {self.rows} rows were in {named}"
            f"{f' and {more} more' if more > 0 else ''}."
        )


class SkippedSteps:
    """Records the skipped updates of a run and stops a run that makes no more updates.

    Args:
        recipe: the run's recipe.
        out: the run's directory.
        sites: parameter groups of the model, in the order of the gradient squares in a trace.
        languages: language codes, in the order of the language numbers in a batch.
        print_line: prints a line on the first host.
    """

    def __init__(
        self,
        recipe: Recipe,
        out: Place,
        sites: Sequence[GradientSite],
        languages: Sequence[str],
        print_line: Callable[[str], None],
    ):
        self.recipe, self.lines = recipe, GrowingFile(out / SKIPPED_FILE)
        self.sites, self.languages = sites, languages
        self.print_line = print_line
        self.in_a_row = 0

    def record(self, after: int, metrics: Sequence[StepMetrics]) -> None:
        """Records the skipped ones among the steps that follow step `after`.

        Raises:
            ArtifactError: if `MOST_SKIPPED` updates in a row were skipped.
        """
        for step, step_metrics in enumerate(metrics, after + 1):
            self.in_a_row = self.in_a_row + 1 if step_metrics.skipped else 0
            if step_metrics.skipped:
                self._record(step, jax.device_get(step_metrics))

    def _record(self, step: int, metrics: StepMetrics) -> None:
        limit = self.recipe.optimizer.largest_gradient_norm
        skipped = describe_step(step, metrics, self.sites, self.languages, limit)
        if is_first():
            self.lines.add(json.dumps(asdict(skipped)))
            self.print_line(f"{self.recipe.stage}: {skipped.sentence()}")
        if self.in_a_row >= MOST_SKIPPED:
            raise ArtifactError(
                f"{self.recipe.name} skipped its last {self.in_a_row} updates. "
                f"{skipped.sentence()} The same command would fail in the same way; start again "
                "with another --out and a lower optimizer.scale or more optimizer.hold_steps."
            )


def describe_step(
    step: int,
    metrics: StepMetrics,
    sites: Sequence[GradientSite],
    languages: Sequence[str],
    limit: float,
) -> SkippedStep:
    """Returns the record of a skipped step.

    Args:
        step: number of the step.
        metrics: metrics of the step, on the host.
        sites: parameter groups, in the order of the gradient squares.
        languages: language codes, in the order of the language numbers in a batch.
        limit: gradient norm above which an update is skipped.
    """
    broken = ~np.isfinite(metrics.trace.row_loss_nats)
    rows = broken if broken.any() else np.ones_like(broken)
    numbers = np.unique(np.asarray(metrics.trace.row_language)[rows])
    return SkippedStep(
        step=step,
        where=skip_cause(metrics.trace, list(sites), limit),
        loss_nats=_finite(metrics.losses.loss_nats),
        gradient_norm=_finite(metrics.gradient_norm),
        languages=tuple(str(languages[number]) for number in numbers if number >= 0),
        rows=int(rows.sum()),
    )


def _finite(value: object) -> float | None:
    number = float(np.asarray(value))
    return number if np.isfinite(number) else None
