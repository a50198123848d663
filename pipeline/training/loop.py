"""The training loop: batch, step, line, checkpoint, evaluation; every second is accounted for.

One step is always in flight: the loop waits for a step's metrics only after it dispatched the next
step. This keeps the devices busy, bounds the memory in flight, and lets the loop answer SIGTERM
within two steps.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from data.examples.loader import ExampleSource, batches
from data.files.locks import check_held
from data.files.paths import Place
from model.batch import Batch
from model.checkpoints.errors import CheckpointError
from model.step import StepMetrics, TrainState, gradient_sites
from model.trainer import Trainer
from pipeline.hardware.batch_rows import share_of, to_devices
from pipeline.hardware.coordination import agreed, is_first, on_first_host
from pipeline.recipe.recipe import Recipe
from pipeline.runs.seen_by_all import wait_until_seen
from pipeline.runs.stored_checkpoints import AnyCheckpoints, open_checkpoints
from pipeline.training.evaluation.evaluator import Evaluator
from pipeline.training.log import time_account
from pipeline.training.log.metrics_log import MetricsLog
from pipeline.training.log.time_account import TimeAccount
from pipeline.training.log.tracking import Tracking
from pipeline.training.preemption import Preemption
from pipeline.training.profiling import Profile
from pipeline.training.resume import resume


@dataclass(frozen=True, kw_only=True)
class Training:
    """The loop's inputs.

    Attributes:
        recipe: resolved recipe.
        trainer: functions of the network on the mesh.
        examples: training examples.
        evaluator: evaluation of the run, at intervals.
        out: the run's directory.
        account: account of the run's time.
        profile: trace of some steps.
        console: console for messages.
        tracking: trackers that also get the run's numbers.
    """

    recipe: Recipe
    trainer: Trainer
    examples: ExampleSource
    evaluator: Evaluator
    out: Place
    account: TimeAccount
    profile: Profile
    console: Console
    tracking: Tracking

    def announce(self, text: str) -> None:
        """Prints a message of the run's command."""
        self.console.print(f"{self.recipe.stage}: {text}", highlight=False)


class LoopResult(NamedTuple):
    """How a start of a run ended.

    Attributes:
        first: step that it resumed after.
        step: last step made; its state is saved.
        finished: False if a signal stopped the run before or after its last evaluation.
    """

    first: int
    step: int
    finished: bool


def train(training: Training) -> LoopResult:
    """Trains from the last whole checkpoint to the last step, or until SIGTERM.

    Raises:
        ArtifactError: if too many updates in a row were skipped, or a host sees no checkpoint that
            the others see.
        CheckpointError: if a checkpoint cannot be written, or none can be read.
    """
    wait_until_seen(training.out)
    checkpoints = open_checkpoints(
        training.out / "checkpoints", training.recipe.keep_every, training.evaluator.best
    )
    if is_first():
        checkpoints.forget_unfinished()
    state, first, set_aside = resume(checkpoints, training.trainer)
    for message in set_aside:
        training.announce(message)
    training.profile.check_resumed(first, training.announce)
    log = MetricsLog(
        training.recipe,
        training.out,
        first,
        account=training.account,
        console=training.console,
        sites=gradient_sites(training.trainer.shapes, training.recipe.model.layers_per_block),
        languages=training.examples.languages,
        tracking=training.tracking,
    )
    with Preemption(training.recipe.stage) as preemption, log:
        try:
            result = _Loop(training, checkpoints, log, preemption).run(state, first)
            with training.account.spend("checkpointing"):
                checkpoints.close()
        except Exception:
            if jax.process_count() == 1:  # among several hosts one may be gone
                with suppress(CheckpointError):  # the first error is the cause
                    checkpoints.close()  # a save that is under way ends first
            raise
        finally:
            training.profile.stop()
    if agreed(preemption.asked, any):  # after the last point: what follows is not begun
        result = result._replace(finished=False)
    if is_first():
        _announce_time(training, record_time(training, result))
    return result


def record_time(training: Training, result: LoopResult) -> dict[str, Any]:
    """Writes this start's seconds until now into time.json; returns its content."""
    return time_account.record(training.out, training.account, result.first, result.step)


def _announce_time(training: Training, account: dict) -> None:
    training.announce(
        f"{time_account.describe(account['seconds'])}; "
        f"starts: {len(account['starts'])}, steps made again: {account['steps_made_again']}"
    )


class _Loop(NamedTuple):
    training: Training
    checkpoints: AnyCheckpoints
    log: MetricsLog
    preemption: Preemption

    def run(self, state: TrainState, first: int) -> LoopResult:
        recipe, spend = self.training.recipe, self.training.account.spend
        if first == recipe.steps:  # only evaluations are left
            return self.end(self.training.trainer, state, first)
        source = device_batches(self.training, first)
        batch = next(source)  # the loader starts: booked as starting
        trainer = self.compiled(state, batch)
        before: StepMetrics | None = None
        for step in range(first, recipe.steps):
            if not self.evaluate(trainer, state, step):
                self.log.write_line(step)
                self.save(step, state)  # to resume at this step, or it would not be evaluated
                return LoopResult(first, step, finished=False)
            with self.training.profile.around(step + 1), spend("stepping"):
                state, metrics = trainer.step(state, batch, *trainer.teacher_arrays)
                jax.block_until_ready(before)
                before = metrics
            self.log.step(step + 1, metrics)
            if (step + 1) % recipe.log_every == 0:
                self.checkpoints.check()
            stop = self.preemption.reached()
            if stop or (step + 1) % recipe.checkpoint_every == 0 or step + 1 == recipe.steps:
                self.log.write_line(step + 1)
                self.save(step + 1, state)
            if stop:
                return LoopResult(first, step + 1, finished=False)
            if step + 1 < recipe.steps:
                with spend("waiting_for_data"):
                    batch = next(source)
        return self.end(trainer, state, first)

    def end(self, trainer: Trainer, state: TrainState, first: int) -> LoopResult:
        """Evaluates the last weights."""
        steps = self.training.recipe.steps
        return LoopResult(first, steps, finished=self.evaluate(trainer, state, steps))

    def compiled(self, state: TrainState, batch: Batch) -> Trainer:
        with self.training.account.spend("compiling"):
            self.log.doing("compiling")
            return self.training.trainer.compiled(state, batch)

    def save(self, step: int, state: TrainState) -> None:
        if is_first():
            check_held(self.training.out)
            self.log.publish()
        if not on_first_host(lambda: step in self.checkpoints.steps()):
            with self.training.account.spend("checkpointing"):
                self.checkpoints.save(step, state)

    def evaluate(self, trainer: Trainer, state: TrainState, step: int) -> bool:
        """Evaluates the run if it is time and no earlier start did.

        Returns:
            False if a signal stopped it.
        """
        training = self.training
        if not training.recipe.evaluates_at(step):
            return True
        if on_first_host(lambda: training.evaluator.is_written(step)):
            return True
        with training.account.spend("evaluating"):
            self.log.doing("evaluating")
            stop = self.preemption.reached
            scored = training.evaluator.evaluate(trainer, state.arrays, step, stop)
            if scored is None:
                return False
            if is_first():
                self.log.scored(step, scored)
                self.log.publish()
        return True


def device_batches(training: Training, first: int) -> Iterator[Batch]:
    """Yields the global batches of a training from batch `first` on."""
    return global_batches(training.examples, training.trainer.mesh, training.recipe.rows, first)


def global_batches(examples: ExampleSource, mesh: Mesh, rows: int, first: int) -> Iterator[Batch]:
    """Yields batches on a mesh from batch `first` on; each host loads its own rows."""
    share = share_of(mesh, rows, jax.process_index())
    sources = [
        batches(examples, rows=rows, first_batch=first, host=number, hosts=share.stretches)
        for number in share.numbers
    ]
    for parts in zip(*sources, strict=True):
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        yield to_devices(arrays, mesh, rows, share)
