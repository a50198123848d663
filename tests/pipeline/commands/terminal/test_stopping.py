"""Signals, in processes of their own: one sentence, the usual status, no traceback."""

import os
import signal
import subprocess
import sys
import time

import pytest

from pipeline.beam.local_worker import VARIABLE, line_to_workers

pytestmark = pytest.mark.slow

# A shell's background ignores Ctrl-C, and children inherit that.
HEARD = "import signal\nfor one in (1, 2, 15): signal.signal(one, signal.SIG_DFL)\n"
PROGRAM = """
import os, sys, time
from pipeline import cli, stopping
from pipeline.commands.recipes import Recipes
stopping.PATIENCE_SECONDS = 0.01

def work(_):
    {work}

Recipes.work = work
cli.main(["recipes"])
"""
SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGHUP: "SIGHUP", signal.SIGTERM: "SIGTERM"}


def ran(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def ended(work: str) -> tuple[int, list[str]]:
    done = ran(HEARD + PROGRAM.format(work=work))
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


SWALLOWED = "try: os.kill(os.getpid(), 2); time.sleep(99)\n    except BaseException: "


@pytest.mark.parametrize(
    "follows",
    [
        "raise ImportError('numpy failed to import')",
        "from data.errors import DataError; raise DataError('install the extra')",
        "from pipeline.training.loop import Preemption; Preemption('recipes').__enter__()",
    ],
    ids=["an-error", "a-refusal", "training"],
)
def test_an_interruption_that_a_library_swallows_stops_the_command_all_the_same(follows):
    status, printed = ended(SWALLOWED + follows)
    assert status == 128 + signal.SIGINT
    assert printed[-1].startswith("mswitch: recipes was stopped by Ctrl-C;")
    assert not any("Traceback" in line for line in printed)


def test_an_import_that_swallows_the_interruption_does_not_let_the_command_begin():
    code = HEARD + (
        "import os, sys, time\n"
        "from pipeline import cli\n"
        "from pipeline.command import Stage\n"
        "from pipeline.commands.recipes import Recipes\n"
        "from pipeline.stage import Job\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name != 'pipeline.recipe.tables': return\n"
        "        try: os.kill(os.getpid(), 2); time.sleep(99)\n"
        "        except BaseException: pass\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "class Imports(Stage):\n"
        "    def jobs(self):\n"
        "        import pipeline.recipe.tables\n"
        "        yield Job(None, lambda: print('begins'))\n"
        "Recipes.work = lambda _: Imports().work()\n"
        "cli.main(['recipes'])"
    )
    done = ran(code)
    assert (done.returncode, done.stdout) == (128 + signal.SIGINT, "")


def test_a_second_signal_quits_a_stage_that_cannot_be_interrupted():
    deaf = """
    import threading
    said, print_message = threading.Event(), stopping.print_message
    stopping.print_message = lambda message: (print_message(message), said.set())
    stopping._at_second.append(lambda: print("before it quits", file=sys.stderr, flush=True))
    for _ in range(2):
        try:
            os.kill(os.getpid(), 2)
            time.sleep(99)
        except BaseException:
            said.wait(99)
    time.sleep(99)"""
    status, printed = ended(deaf)
    assert status == 128 + signal.SIGINT
    assert printed[0] == "recipes: stops as soon as it can; a second signal quits at once."
    assert printed[1] == "before it quits"
    assert printed[2].startswith("recipes: quits at once (Ctrl-C again)")


def test_ctrl_c_while_the_program_is_being_imported_shows_no_traceback():
    code = (
        "import os, sys\nsys.argv = ['/bin/mswitch', 'recipes']\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'tyro': os.kill(os.getpid(), 2)\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "import signal; signal.signal(2, signal.default_int_handler)\n"
        "import pipeline.cli"
    )
    done = ran(code)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_workers_of_a_job_end_with_it(tmp_path):
    """Ctrl-C reaches the whole group; a worker that still waited would keep its file open."""
    work = f"""
    import apache_beam as beam
    from pipeline.beam import job
    from pipeline.beam.options import pipeline_options

    def wait(path):
        import os, time
        with open(path, "w") as file:
            file.write(str(os.getpid()))
        time.sleep(999)

    given = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    with job.running(pipeline_options(given)) as pipeline:
        _ = pipeline | beam.Create([{str(tmp_path / "worker")!r}]) | beam.Map(wait)"""
    code = HEARD + PROGRAM.format(work=work)
    started = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not (tmp_path / "worker").exists() and started.poll() is None:
        time.sleep(0.05)
    os.killpg(started.pid, signal.SIGINT)
    _, printed = started.communicate()  # ends once no process holds standard error open
    assert started.returncode == 128 + signal.SIGINT
    (sentence,) = [line for line in printed.splitlines() if "stops as soon" not in line]
    assert sentence.startswith("mswitch: recipes was stopped by Ctrl-C;")


ON_THE_LINE = (
    "from pipeline.beam.local_worker import end_with_the_runner\nimport time\n"
    "end_with_the_runner()\nprint('works', flush=True)\ntime.sleep(999)"
)


def test_a_worker_ends_when_its_line_is_cut_also_before_it_starts(tmp_path):
    with line_to_workers():
        command = [sys.executable, "-c", ON_THE_LINE]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "works\n"
        assert worker.poll() is None
    worker.communicate()
    assert worker.returncode == 0
    assert VARIABLE not in os.environ
    os.mkfifo(tmp_path / "line")  # which nobody holds open for writing
    environment = os.environ | {VARIABLE: str(tmp_path / "line")}
    assert subprocess.run(command, env=environment, timeout=120).returncode == 0


def test_a_signal_that_the_parent_ignores_stays_ignored():
    code = PROGRAM.format(work="os.kill(os.getpid(), 1); print('done')")
    done = ran("import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + code)
    assert (done.returncode, done.stdout) == (0, "done\n")
