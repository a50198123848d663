"""The state that a run resumes from: its last readable checkpoint, or a new state."""

import jax

from model.checkpoints.errors import CheckpointError, NoRoomError, none_readable
from model.checkpoints.table import with_shardings
from model.step import TrainState
from model.trainer import Trainer
from pipeline.hardware.coordination import on_first_host
from pipeline.runs.stored_checkpoints import AnyCheckpoints


def resume(checkpoints: AnyCheckpoints, trainer: Trainer) -> tuple[TrainState, int, list[str]]:
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
        return state, step, [_set_aside(checkpoints, *one, step) for one in damaged.items()]
    last = damaged[steps[-1]]
    raise none_readable(checkpoints.directory, steps, last) from last


def _set_aside(
    checkpoints: AnyCheckpoints,
    step: int,
    error: CheckpointError,
    resumed_from: int,
) -> str:
    moved = checkpoints.set_aside(step)
    return f"{error} It was moved to {moved}; resuming from {resumed_from}."
