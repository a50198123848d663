"""The loop: data, step, line, checkpoint, evaluation; nothing else, and every second accounted for.

One step is always under way on the devices while the next is prepared: the loop waits for a step's
numbers only after the following one has been handed over. That keeps the devices busy, bounds what
is in flight, and lets SIGTERM be answered within two steps.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
from rich.console import Console

from data.examples.loader import Examples, batches
from model.checkpoint import CheckpointError, Checkpoints, with_shardings
from model.nonfinite import gradient_sites
from model.train_step import StepMetrics, Trainer, TrainState
from pipeline.hardware.hosts import Share, is_first, on_every_host, share_of, to_devices
from pipeline.recipe.recipe import Recipe
from pipeline.training import time_account
from pipeline.training.evaluation_file import evaluation_file, write_evaluation
from pipeline.training.held_out import HeldOut
from pipeline.training.metrics_log import Progress
from pipeline.training.preemption import Preemption
from pipeline.training.profiling import Profile
from pipeline.training.time_account import TimeAccount


@dataclass(frozen=True, kw_only=True)
class Training:
    """Everything that a loop needs.

    Attributes:
        recipe: the resolved recipe.
        trainer: its functions.
        examples: what it trains on.
        held_out: what it is scored on.
        out: the run's directory.
        account: of its time.
        profile: which steps are traced.
        console: for what it says.
    """

    recipe: Recipe
    trainer: Trainer
    examples: Examples
    held_out: HeldOut
    out: Path
    account: TimeAccount
    profile: Profile
    console: Console


class LoopResult(NamedTuple):
    """How a start of a run ended.

    Attributes:
        step: the last one made, which is saved.
        finished: nothing is left to do; False where SIGTERM came before the last evaluation.
    """

    step: int
    finished: bool


def train(training: Training) -> LoopResult:
    """Runs from the last whole checkpoint to the end, or to SIGTERM.

    Raises:
        ArtifactError: too many updates in a row were skipped.
        CheckpointError: a checkpoint could not be written, or none can be read.
    """
    checkpoints = Checkpoints(training.out / "checkpoints")
    if is_first():
        checkpoints.forget_unfinished()
    state, first = resume(checkpoints, training)
    progress = Progress(
        training.recipe,
        training.out,
        first,
        account=training.account,
        console=training.console,
        sites=gradient_sites(training.trainer.shapes, training.recipe.model.layers_per_block),
        languages=training.examples.schedule.languages,
    )
    with Preemption(training.recipe.stage) as preemption, progress:
        try:
            ended = _loop(training, state, first, checkpoints, progress, preemption)
            with training.account.spend("checkpointing"):
                checkpoints.close()
        finally:
            training.profile.stop()
    if is_first():
        value = time_account.record(training.out, training.account, first, ended.step)
        training.console.print(
            f"{training.recipe.stage}: {time_account.describe(value['seconds'])}; "
            f"starts: {len(value['starts'])}, steps made again: {value['steps_made_again']}",
            highlight=False,
            soft_wrap=True,
        )
    return ended


def _loop(
    training: Training,
    state: TrainState,
    first: int,
    checkpoints: Checkpoints,
    progress: Progress,
    preemption: Preemption,
) -> LoopResult:
    recipe, account = training.recipe, training.account
    source, trainer = device_batches(training, first), training.trainer
    with account.spend("waiting_for_data"):
        batch = next(source)
    with account.spend("compiling"):
        progress.doing("compiling")
        trainer = trainer.compiled(state, batch)
    before: StepMetrics | None = None
    for step in range(first, recipe.steps):
        if step % recipe.evaluate_every == 0 and not _evaluate(
            training, trainer, state, step, progress, preemption.asked
        ):
            if step not in checkpoints.steps():
                with account.spend("checkpointing"):
                    checkpoints.save(step, state)
            return LoopResult(step, finished=False)
        with training.profile.around(step + 1), account.spend("stepping"):
            state, metrics = trainer.step(state, batch, *trainer.teacher_arrays)
            jax.block_until_ready(before)
            before = metrics
        progress.step(step + 1, metrics)
        stop = preemption.reached(step + 1)
        if stop or (step + 1) % recipe.checkpoint_every == 0 or step + 1 == recipe.steps:
            progress.write_line(step + 1)
            with account.spend("checkpointing"):
                checkpoints.save(step + 1, state)
        if stop:
            return LoopResult(step + 1, finished=False)
        with account.spend("waiting_for_data"):
            batch = next(source)
    evaluated = _evaluate(training, trainer, state, recipe.steps, progress, preemption.asked)
    return LoopResult(recipe.steps, finished=evaluated)


def device_batches(training: Training, first: int) -> Iterator:
    """Yields this host's part of every global batch, on its devices."""
    mesh, rows = training.trainer.mesh, training.recipe.rows
    share: Share = share_of(mesh, rows, jax.process_index())
    source = batches(
        training.examples, rows=rows, first_batch=first, host=share.number, hosts=share.shares
    )
    for arrays in source:
        yield to_devices(arrays, mesh, rows, share.first)


def _evaluate(
    training: Training,
    trainer: Trainer,
    state: TrainState,
    step: int,
    progress: Progress,
    asked: Callable[[], bool],
) -> bool:
    """Scores held-out pages, unless an earlier start did; returns False where SIGTERM interrupts.

    A run that goes on must then begin at this step, or the evaluation would never be made.
    """
    if evaluation_file(training.out, step).exists():
        return True
    with training.account.spend("evaluating"):
        progress.doing("evaluating")
        evaluation = training.held_out.score(trainer, state.arrays, asked)
        if evaluation is not None and is_first():
            write_evaluation(training.out, step, evaluation)
            progress.scored(step, evaluation.losses)
    return evaluation is not None


def resume(checkpoints: Checkpoints, training: Training) -> tuple[TrainState, int]:
    """Returns the state to go on from and its step.

    A checkpoint that cannot be read is passed over for the one before it, whose steps are then made
    again, to the same numbers; it is set aside only once an older one has been read.

    Raises:
        CheckpointError: there are checkpoints, and none can be read.
    """
    steps, trainer = checkpoints.steps(), training.trainer
    if not steps:
        return trainer.init(), 0
    shapes = with_shardings(jax.eval_shape(trainer.init), trainer.shardings)
    damaged: dict[int, CheckpointError] = {}
    for step in reversed(steps):
        state = None
        try:
            state = checkpoints.restore(step, shapes)
        except CheckpointError as error:
            damaged[step] = error
        if not on_every_host(state is not None) or state is None:
            damaged.setdefault(step, CheckpointError(f"Another host could not read {step}."))
            continue
        for one, error in damaged.items():
            moved = checkpoints.set_aside(one)
            training.console.print(
                f"{training.recipe.stage}: {error} It was moved to {moved}; going on from {step}.",
                soft_wrap=True,
            )
        return state, step
    raise damaged[steps[-1]]
