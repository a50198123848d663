"""Worker processes of the local runner: what the terminal shows of their failures."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.beam.options import how_it_ended

# A shell's background jobs ignore SIGINT, as here.
JOB = """
import os, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
import apache_beam as beam
from data.errors import DataError
from pipeline.beam.job import running
from pipeline.beam.options import pipeline_options

def work(_):
    {work}

options = pipeline_options(["--direct_running_mode=multi_processing", "--direct_num_workers=1"])
with running(options) as pipeline:
    pipeline | beam.Create([1]) | beam.Map(work)
"""


def printed(work: str, directory: Path) -> str:
    """Returns what a job prints on standard error whose worker process does this work."""
    command = [sys.executable, "-P", "-c", JOB.format(work=work)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=directory)
    return done.stderr


def test_a_worker_that_is_killed_ends_the_job(tmp_path):
    """Beam alone would wait for ever."""
    told = printed("os.kill(os.getpid(), signal.SIGKILL)", tmp_path)
    assert "data.errors.DataError: A worker process was killed (status -9)" in told


def test_an_error_that_a_user_can_mend_is_not_logged_by_the_worker(tmp_path):
    """What the work printed and warned of before is shown as it was.

    Nor does a folder `data` of the user's hide ours from the worker.
    """
    Path(tmp_path, "data").mkdir()
    Path(tmp_path, "data/__init__.py").write_text("raise ImportError('the wrong package')")
    told = printed(
        "import logging, sys; print('shown', file=sys.stderr); "
        """logging.getLogger('x').warning('"naïve" \\n 文'); raise DataError('x is 404.')""",
        tmp_path,
    )
    assert told.rstrip().endswith(
        "data.errors.DataError: x is 404. (The same command resumes where the job stopped.)"
    )
    assert "shown" in told
    assert 'WARNING:worker:"naïve" \n 文' in told
    assert "ERROR:apache_beam" not in told
    assert "Error processing instruction" not in told
    assert told.count("Original traceback") == 0


@pytest.mark.slow
def test_a_bug_in_a_worker_shows_where_it_is(tmp_path):
    told = printed("{}['lost']", tmp_path)
    assert "KeyError: 'lost'" in told
    assert "Error processing instruction" not in told


@pytest.mark.parametrize(
    ("status", "sentence"),
    [("-9", "was killed (status -9)"), ("137", "was killed"), ("-11", "return code -11")],
)
def test_only_a_killed_process_is_said_to_lack_memory(status, sentence):
    told = how_it_ended(f"Worker subprocess exited with return code {status}")
    assert sentence in told
    assert ("memory" in told) == ("killed" in sentence)
