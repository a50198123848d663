"""Steps of two runs in one process, timed in turns.

Each round measures some steps of both sides, one side after the other, and every second round
reverses the order. So what slows the machine for longer than a round slows both alike. A step is
the run's own: the program that training compiles, on the state of its last checkpoint, on the
batches that would come next. Batches lie on the devices before a clock starts. As in training, one
step is in flight while the next is dispatched. docs/decisions/step-times.md.
"""

import time
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple, Protocol

import jax

from data.examples.loader import ExampleSource
from data.files.paths import Place
from model.batch import Batch
from model.sharding.mesh import make_mesh
from model.step import StepMetrics, TrainState
from pipeline.recipe.recipe import Recipe
from pipeline.recipe.trainer import trainer_on
from pipeline.runs.open import restore_state
from pipeline.runs.step_times import Round
from pipeline.training.loop import global_batches

ROUNDS = 20  # an even number, so that each side goes first equally often
WARM_UP = 1  # rounds before these, which are not counted


class Side(Protocol):
    """Something whose steps are timed."""

    def seconds(self, steps: int) -> float:
        """Makes steps; returns the wall time that they took."""
        ...


class LoadedRun:
    """A run on the devices; its state moves on in memory alone.

    Args:
        step: compiled training step.
        state: state to go on from; it is donated to the first step.
        batches: batches on the devices, one per step.
    """

    def __init__(self, step: jax.stages.Compiled, state: TrainState, batches: Sequence[Batch]):
        self.step, self.state = step, state
        self._batches = iter(batches)
        self.metrics: StepMetrics | None = None

    def seconds(self, steps: int) -> float:
        """Makes steps; returns the wall time until the state and all metrics are there."""
        batches = list(islice(self._batches, steps))
        jax.block_until_ready((self.state, batches))
        started = time.perf_counter()
        for batch in batches:
            before = self.metrics
            self.state, self.metrics = self.step(self.state, batch)
            jax.block_until_ready(before)
        jax.block_until_ready((self.state, self.metrics))
        return time.perf_counter() - started


class RunToLoad(NamedTuple):
    """A finished run that passed all checks.

    Attributes:
        directory: directory of the run.
        recipe: its recipe.
        examples: its training examples.
    """

    directory: Place
    recipe: Recipe
    examples: ExampleSource


def load(run: RunToLoad, steps: int) -> LoadedRun:
    """Returns a run on the devices of its mesh, with its step compiled and its next batches.

    Args:
        run: the run.
        steps: number of steps that it will make.

    Raises:
        ArtifactError: if its checkpoint cannot be read.
    """
    mesh, rows = make_mesh(run.recipe.mesh), run.recipe.rows
    trainer = trainer_on(run.recipe, mesh)
    state, at = restore_state(run.directory, trainer, None)
    batches = list(islice(global_batches(run.examples, mesh, rows, at), steps))
    assert isinstance(trainer.step, jax.stages.Wrapped)  # nothing is compiled yet
    return LoadedRun(trainer.step.lower(state, batches[0]).compile(), state, batches)


def take_turns(baseline: Side, candidate: Side, steps: int) -> tuple[Round, ...]:
    """Returns the seconds of all rounds that count.

    Args:
        baseline, candidate: the two sides.
        steps: number of steps per round and side.
    """
    sides = {"baseline": baseline, "candidate": candidate}
    rounds = []
    for number in range(WARM_UP + ROUNDS):
        order = list(sides) if number % 2 else list(reversed(sides))
        seconds = {f"{name}_seconds": sides[name].seconds(steps) for name in order}
        rounds.append(Round(first=order[0], **seconds))  # pyright: ignore[reportArgumentType]
    return tuple(rounds[WARM_UP:])
