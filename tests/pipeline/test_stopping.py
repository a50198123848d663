"""Signals, in processes of their own: one sentence, the usual status, no traceback."""

import signal
import subprocess
import sys

import pytest

# A shell's background ignores Ctrl-C, and children inherit that.
HEARD = "import signal\nfor one in (1, 2, 15): signal.signal(one, signal.SIG_DFL)\n"
PROGRAM = """
import os, time
from pipeline import cli, recipes, stopping
stopping.PATIENCE_SECONDS = 0.01

def work(_):
    {work}

recipes.run = work
cli.main(["recipes"])
"""
SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGHUP: "SIGHUP", signal.SIGTERM: "SIGTERM"}


def ended(work: str) -> tuple[int, list[str]]:
    code = HEARD + PROGRAM.format(work=work)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize("number", SIGNALS, ids=str)
def test_a_signal_stops_a_stage_with_one_sentence(number):
    status, printed = ended(f"os.kill(os.getpid(), {int(number)}); time.sleep(99)")
    assert status == 128 + number
    (sentence,) = [line for line in printed if "stops as soon" not in line]
    assert sentence == (
        f"mswitch: recipes was stopped by {SIGNALS[number]}; the same command goes on from what "
        "is finished."
    )


def test_a_second_signal_quits_a_stage_that_cannot_be_interrupted():
    deaf = """
    for _ in range(2):
        try:
            os.kill(os.getpid(), 2)
            time.sleep(99)
        except BaseException:
            time.sleep(0.3)  # the first was said
    time.sleep(99)"""
    status, printed = ended(deaf)
    assert status == 128 + signal.SIGINT
    assert printed[0] == "recipes: stops as soon as it can; a second signal quits at once."
    assert printed[1].startswith("recipes: quits at once (Ctrl-C again)")


def test_a_signal_that_the_parent_ignores_stays_ignored():
    code = "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + PROGRAM.format(
        work="os.kill(os.getpid(), 1); print('done')"
    )
    code = "import signal\n" + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n")
