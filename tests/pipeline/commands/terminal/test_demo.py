"""The demo's two runs train side by side, each on processors of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.commands import demo
from pipeline.commands.demo import Step, run_side_by_side
from pipeline.errors import ArtifactError

# Writes its processors, and waits for the file of the other one.
MEETS = """
import os, sys, time
mine, other = sys.argv[1:3]
with open(mine + ".part", "w") as file:
    file.write(" ".join([*map(str, os.sched_getaffinity(0)), os.environ["JAX_PLATFORMS"]]))
os.rename(mine + ".part", mine)
while not os.path.exists(other):
    time.sleep(0.01)
"""
FAILS = "import sys; sys.exit(3 if sys.argv[1] == 'pretrain' else 0)"
SEVERAL = len(os.sched_getaffinity(0)) > 1


@pytest.mark.skipif(not SEVERAL, reason="one processor: runs train one after the other")
def test_both_run_at_once_on_processors_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "PROGRAM", (sys.executable, "-c", MEETS))
    names = [str(tmp_path / name) for name in ("one", "other")]
    before = os.sched_getaffinity(0)
    run_side_by_side([Step("one", names), Step("other", names[::-1])])
    found = [(tmp_path / name).read_text().split() for name in ("one", "other")]
    assert [words[-1] for words in found] == ["cpu", "cpu"]
    processors = [set(map(int, words[:-1])) for words in found]
    assert not processors[0] & processors[1]
    assert processors[0] | processors[1] == before == os.sched_getaffinity(0)


# Two commands that tell the name of the signal that they get, and end as training does.
HEARS = """
import signal, sys, time
from pathlib import Path
mine = Path(sys.argv[1])
def hear(number, _):
    mine.with_suffix(".heard").write_text(signal.Signals(number).name)
    sys.exit(128 + number)
for one in (signal.SIGINT, signal.SIGTERM):
    signal.signal(one, hear)
mine.write_text("")
time.sleep(99)
"""
INTERRUPTED = """
import signal, sys
for one in (signal.SIGINT, signal.SIGTERM):
    signal.signal(one, signal.SIG_DFL)  # a shell's background ignores Ctrl-C
from pathlib import Path
from pipeline import cli
from pipeline.commands import demo
demo.PROGRAM = (sys.executable, "-c", {hears!r})
stages = [demo.Step(name, [name]) for name in {names!r}]
demo.commands = lambda out: [tuple(stages)]
demo.write_archive = lambda out: None
cli.main(["demo", "--out", {out!r}])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_a_signal_reaches_both_runs_and_the_demo_ends_with_one_sentence(tmp_path, number):
    names = [str(tmp_path / name) for name in ("one", "other")]
    code = INTERRUPTED.format(hears=HEARS, names=names, out=str(tmp_path / "demo"))
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not all(map(os.path.exists, names[: SEVERAL + 1])):
            time.sleep(0.01)
        process.send_signal(number)
        _, printed = process.communicate()
    heard = [Path(name).with_suffix(".heard") for name in names[: SEVERAL + 1]]
    assert [path.read_text() for path in heard] == [signal.Signals(number).name] * len(heard)
    assert process.returncode == 128 + number
    (sentence,) = [line for line in printed.splitlines() if "stops as soon" not in line]
    assert sentence.startswith("mswitch: demo was stopped by")


@pytest.mark.parametrize("side_by_side", [True, False])
def test_a_command_that_fails_is_named(monkeypatch, side_by_side):
    monkeypatch.setattr(demo, "PROGRAM", (sys.executable, "-c", FAILS))
    if not side_by_side:
        monkeypatch.setattr(demo, "shares_of_processors", lambda _: [])
    with pytest.raises(ArtifactError, match=r"stopped at `mswitch pretrain` \(exit status 3\)"):
        run_side_by_side([Step("fine", ["tokenize"]), Step("fails", ["pretrain"])])
