import signal
import subprocess
import sys

HANGS = """
import os, signal, threading, time
signal.signal({number}, signal.SIG_DFL)  # which a shell's background ignores
from pipeline.training import preemption
preemption.GRACE_SECONDS = 0.2
with preemption.Preemption("pretrain") as listening:
    os.kill(os.getpid(), {number})
    while listening._stop_at is None:
        time.sleep(0.01)
    assert listening.reached() and listening.reached()
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
from pipeline.training import preemption
preemption.GRACE_SECONDS = 0.2
for number in range(40):
    with preemption.Preemption("pretrain") as listening:
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
    status, printed = ended(f"preemption.GRACE_SECONDS = 99; {again}", signal.SIGINT)
    assert status == 128 + signal.SIGINT
    assert "pretrain: Ctrl-C: saves after this step and exits within 0.2 s." in printed
    assert "pretrain: quits at once (Ctrl-C again); the same command resumes" in printed
