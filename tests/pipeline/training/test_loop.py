"""What a run resumes from, and what is said if that cannot be read."""

import signal
import subprocess
import sys
from contextlib import nullcontext
from itertools import count, repeat
from pathlib import Path
from types import SimpleNamespace

import pytest

from data.errors import DataError
from pipeline.errors import ArtifactError
from pipeline.runs.checkpoint_errors import CheckpointError, damage_error
from pipeline.training import loop
from pipeline.training.loop import resume

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
        raise damage_error(self.directory, step, f"byte {step} is altered")

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


HANGS = """
import os, signal, threading, time
signal.signal({number}, signal.SIG_DFL)  # which a shell's background ignores
from pipeline.training import loop
loop.GRACE_SECONDS = 0.2
with loop.Preemption("pretrain") as listening:
    os.kill(os.getpid(), {number})
    while listening._stop_at is None:
        time.sleep(0.01)
    assert listening.should_stop() and listening.should_stop()
    {then}
"""


def ended(then: str, number: int = signal.SIGTERM) -> tuple[int, str]:
    code = HANGS.format(then=then, number=int(number))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_a_process_that_cannot_save_in_time_ends_all_the_same():
    status, printed = ended("threading.Event().wait()")
    assert status == 128 + signal.SIGTERM
    assert "pretrain: SIGTERM: saves after this step and exits within 0.2 s." in printed
    assert "could not save within 0.2 s; the same command resumes" in printed


AFTER_THE_LAST_POINT = """
import os, signal, time
outside = []
signal.signal(signal.SIGTERM, lambda *_: outside.append(1))
from pipeline.training import loop
loop.GRACE_SECONDS = 0.2
for number in range(40):
    with loop.Preemption("pretrain") as listening:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.001 * (number % 4))
    time.sleep(0.02)
    assert listening.asked or outside, number
    outside.clear()
time.sleep(0.5)
print("goes on")
"""


def test_a_signal_after_the_last_point_is_known_and_no_timer_ends_what_follows():
    """A timer that nobody stops would end the next run in the middle, 25 seconds later."""
    done = subprocess.run(
        [sys.executable, "-c", AFTER_THE_LAST_POINT], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "goes on\n"), done.stderr


def test_ctrl_c_saves_too_and_a_second_one_quits():
    again = "os.kill(os.getpid(), 2); threading.Event().wait()"
    status, printed = ended(f"loop.GRACE_SECONDS = 99; {again}", signal.SIGINT)
    assert status == 128 + signal.SIGINT
    assert "pretrain: Ctrl-C: saves after this step and exits within 0.2 s." in printed
    assert "pretrain: quits at once (Ctrl-C again); the same command resumes" in printed


def test_a_sigterm_to_the_process_and_to_its_group_is_one():
    """As `timeout` sends it. Another one quits if it comes a second later."""
    status, printed = ended("os.kill(os.getpid(), 15); threading.Event().wait()")
    assert status == 128 + signal.SIGTERM
    assert "could not save within 0.2 s" in printed
    later = "time.sleep(1.1); os.kill(os.getpid(), 15); threading.Event().wait()"
    _, printed = ended(f"loop.GRACE_SECONDS = 99; listening._patience.cancel(); {later}")
    assert "pretrain: quits at once (SIGTERM again)" in printed


def nothing(*_):
    return None


def faked(tmp_path, monkeypatch):
    """Returns a training without files, and a list of what ends it."""
    ended = []
    checkpoints = SimpleNamespace(
        forget_unfinished=nothing, close=lambda: ended.append("checkpoints")
    )

    monkeypatch.setattr(loop, "Checkpoints", lambda *_: checkpoints)
    monkeypatch.setattr(loop, "resume", lambda *_: (None, 0, []))
    monkeypatch.setattr(loop, "MetricsLog", lambda *_, **__: nullcontext())
    monkeypatch.setattr(loop, "gradient_sites", nothing)
    training = SimpleNamespace(
        recipe=SimpleNamespace(
            stage="pretrain",
            keep_every=0,
            checkpoint_every=9,
            model=SimpleNamespace(layers_per_block=1),
        ),
        trainer=SimpleNamespace(shapes=None),
        evaluator=SimpleNamespace(best=tuple),
        examples=SimpleNamespace(languages=()),
        profile=SimpleNamespace(stop=lambda: ended.append("profile"), check_resumed=nothing),
        announce=nothing,
        **{"out": tmp_path, "account": None, "console": None, "tracking": None},
    )
    return training, ended


def damaged(*_):
    raise DataError("a damaged block")


def test_a_save_under_way_ends_before_an_error_does(tmp_path, monkeypatch):
    """Otherwise the steps since the last checkpoint would be made again."""
    training, ended = faked(tmp_path, monkeypatch)
    monkeypatch.setattr(loop._Loop, "run", damaged)
    with pytest.raises(DataError, match="damaged block"):
        loop.train(training)
    assert ended == ["checkpoints", "profile"]


@pytest.mark.parametrize(("logged", "refused"), [(18, False), (19, True)])
def test_a_run_whose_checkpoints_are_gone_does_not_begin_again(
    tmp_path, monkeypatch, logged, refused
):
    """A save is under way for one interval at most: of 18 steps there may be no checkpoint yet."""
    training, _ = faked(tmp_path, monkeypatch)
    monkeypatch.setattr(loop._Loop, "run", damaged)
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 3}}\n{{"step": {logged}}}\n')
    expected = pytest.raises(ArtifactError, match="the log has 19 steps, and there is none; rest")
    with expected if refused else pytest.raises(DataError, match="damaged block"):
        loop.train(training)


def running(out, monkeypatch, done, check=nothing):
    """A loop of nine steps, with a line every third, whose evaluation at step 5 is stopped."""
    monkeypatch.setattr(loop, "device_batches", lambda *_: repeat(None))
    trainer = SimpleNamespace(step=lambda state, *_: (state, None), teacher_arrays=())
    trainer.with_compiled_step = lambda *_: trainer
    recipe = {"steps": 9, "checkpoint_every": 9, "log_every": 3}
    training = SimpleNamespace(
        recipe=SimpleNamespace(**recipe, evaluates_at=lambda step: step == 5),
        trainer=trainer,
        evaluator=SimpleNamespace(is_written=lambda _: False, evaluate=nothing),
        out=out,
        account=SimpleNamespace(spend=nullcontext),
        profile=SimpleNamespace(around=nullcontext),
    )
    log = SimpleNamespace(
        step=nothing, doing=nothing, publish=nothing, write_line=lambda step: done.append(step)
    )
    checkpoints = SimpleNamespace(
        steps=list, save=lambda step, _: done.append(f"saved {step}"), check=check
    )
    return loop._Loop(training, checkpoints, log, SimpleNamespace(should_stop=lambda: False))


def test_a_stop_during_an_evaluation_loses_no_line_of_the_log(tmp_path, monkeypatch):
    done = []
    result = running(tmp_path, monkeypatch, done).run(SimpleNamespace(arrays=None), 0)
    assert result == loop.LoopResult(0, 5, finished=False)
    assert done == [5, "saved 5"]


def test_where_only_evaluations_are_left_no_step_is_compiled_and_no_batch_read(
    tmp_path, monkeypatch
):
    begun = running(tmp_path, monkeypatch, [])
    begun.training.trainer.with_compiled_step = begun.training.trainer.step = None
    monkeypatch.setattr(loop, "device_batches", None)
    result = begun.run(SimpleNamespace(arrays=None), 9)
    assert result == loop.LoopResult(9, 9, finished=True)


@pytest.mark.parametrize("asked", [False, True])
def test_a_signal_after_the_last_point_stops_what_follows(tmp_path, monkeypatch, asked):
    """Predictions on test data, or the run of the next seed."""
    training, _ = faked(tmp_path, monkeypatch)
    training.account = SimpleNamespace(spend=nullcontext)
    monkeypatch.setattr(loop._Loop, "run", lambda *_: loop.LoopResult(0, 9, finished=True))
    listening = SimpleNamespace(asked=asked)
    monkeypatch.setattr(loop, "Preemption", lambda _: nullcontext(listening))
    account = {"seconds": {"stepping": 1.0}, "starts": [], "steps_made_again": 0}
    monkeypatch.setattr(loop, "record_time", lambda *_: account)
    assert loop.train(training).finished is not asked


def test_no_batch_is_read_after_the_last_step(tmp_path, monkeypatch):
    begun, read = running(tmp_path, monkeypatch, []), []
    monkeypatch.setattr(loop, "device_batches", lambda *_: map(read.append, count()))
    begun.training.recipe.evaluates_at = lambda _: False
    assert begun.run(SimpleNamespace(arrays=None), 6) == loop.LoopResult(6, 9, finished=True)
    assert read == [0, 1, 2]


def test_a_save_that_failed_in_the_background_ends_the_run_at_the_next_line(tmp_path, monkeypatch):
    """Not at the next checkpoint, which may be hours later."""

    def full():
        raise CheckpointError("no room")

    begun = running(tmp_path, monkeypatch, [], full)
    made = []
    begun.log.step = lambda step, _: made.append(step)
    with pytest.raises(CheckpointError, match="no room"):
        begun.run(SimpleNamespace(arrays=None), 0)
    assert made == [1, 2, 3]
