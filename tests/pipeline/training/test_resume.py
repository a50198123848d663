"""What a run resumes from, and what is said if that cannot be read."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from model.checkpoints.errors import CheckpointError, damaged
from pipeline.training.resume import resume

TRAINER = SimpleNamespace(init=dict, shardings={})


class Checkpoints:
    """Checkpoints of three steps, of which the last ones cannot be read.

    Args:
        whole: steps that can be read.
    """

    directory = Path("run/checkpoints")

    def __init__(self, *whole: int):
        self.whole, self.moved = whole, []

    def steps(self) -> list[int]:
        return [3, 6, 9]

    def restore(self, step: int, shapes: dict) -> dict:
        if step in self.whole:
            return shapes
        raise damaged(self.directory, step, f"byte {step} is altered")

    def set_aside(self, step: int) -> str:
        self.moved.append(step)
        return f"damaged-{step}"


def test_damaged_checkpoints_are_passed_over():
    checkpoints = Checkpoints(3)
    _, step, messages = resume(checkpoints, TRAINER)
    assert (step, checkpoints.moved) == (3, [9, 6])
    assert messages[0].endswith("It was moved to damaged-9; resuming from 3.")


def test_no_advice_makes_a_run_begin_anew_if_no_checkpoint_can_be_read():
    checkpoints = Checkpoints()
    with pytest.raises(CheckpointError) as error:
        resume(checkpoints, TRAINER)
    assert checkpoints.moved == []
    assert str(error.value).startswith(
        "No checkpoint in run/checkpoints can be read, of steps 3, 6, 9 (the last: byte 9 is "
        "altered); restore the files of one, or name another --out."
    )
    assert "remove it" not in str(error.value)
