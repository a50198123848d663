"""`mswitch` on several hosts, one of which fails at a named moment.

    FILE ACT MOMENT HOST STEP COMMAND...

    start        the directory is claimed, and the checkpoint to go on from is about to be read
    training     after the step
    saving       the step's arrays are copied from the devices, and are being written
    evaluation   between the first two batches of held-out pages of the step

The host prints when it fails; host -1 is none.
"""

import os
import signal
import sys
import time
from collections.abc import Callable

import jax

from pipeline import cli
from pipeline.runs.checkpoints import Checkpoints
from pipeline.training import loop
from pipeline.training.evaluation import HeldOut
from pipeline.training.log.metrics import MetricsLog

SIGNALS = {"kill": signal.SIGKILL, "suspend": signal.SIGSTOP, "stop": signal.SIGTERM}


def failing(act: str, host: int) -> Callable[[], None]:
    """Returns a function that fails on one host."""

    def fail() -> None:
        if jax.process_index() != host:
            return
        os.write(2, f"fails at {time.time()}\n".encode())  # the live view holds sys.stderr back
        if act == "raise":
            raise ZeroDivisionError("a fault of the program")
        os.kill(os.getpid(), SIGNALS[act])

    return fail


def at_start(fail: Callable[[], None], _: int) -> None:
    inner = loop.resume

    def resume(*given):
        fail()
        return inner(*given)

    loop.resume = resume


def in_training(fail: Callable[[], None], at: int) -> None:
    inner = MetricsLog.step

    def step(self, number, metrics) -> None:
        inner(self, number, metrics)
        if number == at:
            fail()

    MetricsLog.step = step


def in_saving(fail: Callable[[], None], at: int) -> None:
    inner = Checkpoints.save

    def save(self, step, state) -> None:
        inner(self, step, state)
        if step == at:
            fail()

    Checkpoints.save = save


def in_evaluation(fail: Callable[[], None], _: int) -> None:
    inner = HeldOut.score

    def score(self, trainer, arrays, stop):
        looks = iter((lambda: None, fail))

        def stop_or_fail() -> bool:
            next(looks, lambda: None)()
            return stop()

        return inner(self, trainer, arrays, stop_or_fail)

    HeldOut.score = score


MOMENTS = {
    "start": at_start,
    "training": in_training,
    "saving": in_saving,
    "evaluation": in_evaluation,
}


if __name__ == "__main__":
    act, moment, host, at, *command = sys.argv[1:]
    MOMENTS[moment](failing(act, int(host)), int(at))
    cli.main(command)
