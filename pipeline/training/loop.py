"""The training loop: batch, step, line, checkpoint, evaluation; every second is accounted for.

It begins from the last readable checkpoint. One step is always in flight: the loop waits for a
step's metrics only after it dispatched the next step. This keeps the devices busy, bounds the
memory in flight, and lets the loop answer SIGTERM within two steps.

A signal saves and exits within a stated number of seconds. Schedulers reclaim a machine with
SIGTERM and send SIGKILL later: after 30 s on Kubernetes, Slurm and spot machines. The loop looks
for the signal after every step and every batch of an evaluation. If it cannot stop in time, because
it compiles or a disk hangs, a thread ends the process, and the same command resumes from the last
whole checkpoint. A second signal ends it at once.

On several hosts the signal may reach only one of them, or each at another step. All hosts pass the
same points, one per step or batch, but not at the same time. The host with the signal asks all to
stop. In each, a thread stops the count of points and sends it to the first host, which decides on
the point after the largest; no host has passed that one.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from data.examples.loader import ExampleSource, batches
from data.files.locks import check_held
from data.files.paths import Place
from model.batch import Batch
from model.sharding.layouts import with_shardings
from model.step import StepMetrics, TrainState, gradient_sites
from model.trainer import Trainer
from pipeline.errors import PREEMPTED_STATUS, ArtifactError
from pipeline.hardware.batches import share_of, to_devices
from pipeline.hardware.hosts import agree_on, host_watch, is_first, on_first_host, reach_sync_point
from pipeline.recipe.recipe import Recipe
from pipeline.runs.checkpoint_errors import (
    CheckpointError,
    NoRoomError,
    no_whole_checkpoint_error,
)
from pipeline.runs.checkpoints import Checkpoints
from pipeline.runs.directory import recorded_changes
from pipeline.runs.finished import read_metrics
from pipeline.runs.opened_run import wait_until_seen
from pipeline.stopping import Signals, check_no_signal, name_of, say
from pipeline.training.evaluation import Evaluator
from pipeline.training.log import time_account
from pipeline.training.log.metrics import MetricsLog
from pipeline.training.log.time_account import TimeAccount
from pipeline.training.log.tracking import Tracking
from pipeline.training.profile import Profile


def resume(checkpoints: Checkpoints, trainer: Trainer) -> tuple[TrainState, int, list[str]]:
    """Returns the state to resume from, its step, and a message for each checkpoint set aside.

    A damaged checkpoint is passed over for the one before it, whose steps are then repeated with
    the same numbers. It is set aside only after an older one was read.

    Raises:
        CheckpointError: if there are checkpoints and none can be read, or this machine lacks the
            memory to read one.
    """
    steps = on_first_host(checkpoints.steps)
    if not steps:
        return trainer.init(), 0, []
    shapes = with_shardings(jax.eval_shape(trainer.init), trainer.shardings)
    damaged: dict[int, CheckpointError] = {}
    for step in reversed(steps):
        try:
            state = checkpoints.restore(step, shapes)
        except NoRoomError:
            raise
        except CheckpointError as error:  # on all hosts
            damaged[step] = error
            continue
        messages = []
        for damaged_step, error in damaged.items():
            moved = checkpoints.set_aside(damaged_step)
            messages.append(f"{error} It was moved to {moved}; resuming from {step}.")
        return state, step, messages
    last = damaged[steps[-1]]
    raise no_whole_checkpoint_error(checkpoints.directory, steps, last) from last


GRACE_SECONDS = 25  # of the 30 that schedulers grant


def check_log(out: Place, recipe: Recipe) -> None:
    """Checks that a run without checkpoints has no log of more steps than can be without one.

    A save may be under way until the next one begins, so these are two intervals.

    Raises:
        ArtifactError: if it has: its checkpoints were removed or are on a disk that is not there.
    """
    every = [
        recipe.checkpoint_every,
        *(past.before for past in recorded_changes(out) if past.setting == "checkpoint_every"),
    ]
    made = max((line["step"] or 0 for line in read_metrics(out / "metrics.jsonl")), default=0)
    if made > 2 * max(every):
        raise ArtifactError(
            f"A checkpoint was expected in {out / 'checkpoints'}, as the log has {made:.0f} steps, "
            "and there is none; restore them, or name another --out. The same command would begin "
            "at step 0 and drop the log."
        )


RESUMES = "the same command resumes from the last whole checkpoint."


class Preemption:
    """Listens for the signals that stop a run; a context manager.

    Args:
        stage: name of the command, for messages.

    Attributes:
        asked: whether a signal came to this host before the context ended. After it no timer ends
            the process, so a signal after the last point is for whoever comes next to answer.
    """

    def __init__(self, stage: str):
        self._stage = stage
        self._signals = Signals(self._first, self._second)
        self._counting, self._points = threading.Lock(), 0
        self._stop_at: int | None = None
        self._reached = self._closed = self.asked = False
        self._patience: threading.Timer | None = None
        self._hosts = host_watch()
        if self._hosts is not None:
            self._hosts.when_asked(self._stop_soon)

    def __enter__(self) -> "Preemption":
        check_no_signal()
        self._signals.__enter__()
        return self

    def __exit__(
        self,
        error: type[BaseException] | None = None,
        *_: BaseException | TracebackType | None,
    ) -> None:
        self._signals.__exit__()
        with self._counting:
            self._closed = True
            if self._patience is not None and error is None and not self._reached:
                self._patience.cancel()  # whoever reads `asked` answers the signal

    def should_stop(self) -> bool:
        """Returns whether to stop at this point, which every host passes; equal on all hosts."""
        reach_sync_point()
        with self._counting:
            self._points += 1
            self._reached = self._stop_at is not None and self._points >= self._stop_at
        return self._reached

    def _first(self, number: int) -> None:
        with self._counting:
            self.asked = not self._closed
        if not self.asked:  # read from the socket too late: the handler from outside answers it
            os.kill(os.getpid(), number)
        elif self._hosts is None:
            self._stop_soon(name_of(number))
        else:
            self._hosts.ask_all_to_stop(name_of(number))

    def _stop_soon(self, reason: str) -> None:
        with self._counting:
            if not self._closed:
                name = f"{self._stage}: {reason}"
                say(f"{name}: saves after this step and exits within {GRACE_SECONDS} s.")
                self._patience = threading.Timer(GRACE_SECONDS, self._end)
                self._patience.daemon = True
                self._patience.start()
            # A host that has passed its last point takes part: the others wait for its answer.
            self._stop_at = agree_on(self._points, max, "stop") + 1

    def _end(self) -> None:
        say(f"{self._stage}: could not save within {GRACE_SECONDS} s; {RESUMES}")
        os._exit(PREEMPTED_STATUS)

    def _second(self, number: int) -> None:
        say(f"{self._stage}: quits at once ({name_of(number)} again); {RESUMES}")
        os._exit(128 + number)


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
    checkpoints = Checkpoints(
        training.out / "checkpoints", training.recipe.keep_every, training.evaluator.best
    )
    if is_first():
        checkpoints.forget_unfinished()
    state, first, set_aside = resume(checkpoints, training.trainer)
    if not (first or set_aside):
        on_first_host(lambda: check_log(training.out, training.recipe))
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
    if agree_on(preemption.asked, any):  # after the last point: what follows is not begun
        result = result._replace(finished=False)
    if is_first():
        account = record_time(training, result)
        training.announce(
            f"{time_account.describe(account['seconds'])}; "
            f"starts: {len(account['starts'])}, steps made again: {account['steps_made_again']}"
        )
    return result


def record_time(training: Training, result: LoopResult) -> dict[str, Any]:
    """Writes this start's seconds until now into time.json; returns its content."""
    return time_account.record(training.out, training.account, result.first, result.step)


class _Loop(NamedTuple):
    training: Training
    checkpoints: Checkpoints
    log: MetricsLog
    preemption: Preemption

    def run(self, state: TrainState, first: int) -> LoopResult:
        recipe, spend = self.training.recipe, self.training.account.spend
        if first == recipe.steps:  # only evaluations are left
            return self.end(self.training.trainer, state, first)
        source = device_batches(self.training, first)
        batch = next(source)  # the loader starts: booked as starting
        trainer = self.with_compiled_step(state, batch)
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
            stop = self.preemption.should_stop()
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

    def with_compiled_step(self, state: TrainState, batch: Batch) -> Trainer:
        with self.training.account.spend("compiling"):
            self.log.doing("compiling")
            return self.training.trainer.with_compiled_step(state, batch)

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
            stop = self.preemption.should_stop
            scored = training.evaluator.evaluate(trainer, state.arrays, step, stop)
            if scored is None:
                return False
            if is_first():
                self.log.add_evaluation(step, scored)
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
