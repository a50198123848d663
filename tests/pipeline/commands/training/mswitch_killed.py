"""`mswitch`, killed or stopped at a named moment of a named step: FILE MOMENT STEP -- COMMAND...

    during          SIGKILL while the step's arrays are being written
    before_commit   SIGKILL when all arrays are written and the record is not
    after           SIGKILL at a random time after the step, which no later step outruns
    terminate       SIGTERM after the step, received before the next; saving may take its time

Each moment is an event in the program, so that it does not depend on the machine's speed.
"""

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

from pipeline import cli
from pipeline.runs import checkpoints
from pipeline.training import loop
from pipeline.training.log import metrics

HOUR = 3600


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_in_save(moment: str, step: str) -> None:
    write, save = checkpoints.write_json, checkpoints.Checkpoints.save

    def write_record(path: Path, record: object) -> None:
        if path.name == f"{step}.json":
            if moment == "before_commit":
                kill()
            time.sleep(HOUR)
        write(path, record)

    def start_to_save(self, number: int, state: object) -> None:
        save(self, number, state)
        if moment == "during" and number == int(step):
            kill()

    checkpoints.write_json, checkpoints.Checkpoints.save = write_record, start_to_save


def act_after_step(moment: str, at: str) -> None:
    inner = metrics.MetricsLog.step
    listens = threading.Event()

    def kill_at_random() -> None:
        time.sleep(random.uniform(0.0, 0.3))
        kill()

    def terminate() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        listens.wait()  # until the listening thread has it

    def step(self, number: int, metrics: object) -> None:
        inner(self, number, metrics)
        if number == int(at) and moment == "terminate":
            terminate()
        elif number == int(at):
            threading.Thread(target=kill_at_random).start()
        elif number == int(at) + 3:  # a save later
            time.sleep(HOUR if moment == "after" else 0)

    asked = loop.Preemption._stop_soon

    def heard(self, reason: str) -> None:
        asked(self, reason)
        listens.set()

    loop.GRACE_SECONDS = HOUR
    loop.Preemption._stop_soon = heard
    metrics.MetricsLog.step = step


def main(moment: str, step: str, command: list[str]) -> None:
    (kill_in_save if moment in ("during", "before_commit") else act_after_step)(moment, step)
    cli.main(command)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[4:])
