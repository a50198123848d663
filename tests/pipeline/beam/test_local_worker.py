"""Worker processes of the local runner: what the terminal shows of their failures."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.beam.options import how_it_ended

# A shell's background jobs ignore SIGINT, as here.
JOBS = """
import logging, os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
import apache_beam as beam
from data.errors import DataError
from pipeline.beam.job import running
from pipeline.beam.options import pipeline_options

def mistake(_):
    print('shown', file=sys.stderr)
    logging.getLogger('x').warning('"naïve" \\n 文')
    raise DataError('x is 404.')

def kill(_):
    os.kill(os.getpid(), signal.SIGKILL)

def bug(_):
    {}['lost']

options = pipeline_options(["--direct_running_mode=multi_processing", "--direct_num_workers=1"])
for work in sys.argv[1:]:
    try:
        with running(options) as pipeline:
            pipeline | beam.Create([1]) | beam.Map(vars()[work])
    except DataError as error:
        print(error, file=sys.stderr)
"""


def printed(directory: Path, *works: str) -> str:
    """Returns what jobs print on standard error whose worker processes do this work."""
    command = [sys.executable, "-P", "-c", JOBS, *works]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=directory)
    return done.stderr


def test_of_a_mistake_and_of_a_killed_worker_a_sentence_is_shown(tmp_path):
    """What the work printed and warned of before is shown as it was.

    Nor does a folder `data` of the user's hide ours from the worker. Beam alone would wait for ever
    for a worker that is killed.
    """
    Path(tmp_path, "data").mkdir()
    Path(tmp_path, "data/__init__.py").write_text("raise ImportError('the wrong package')")
    told = printed(tmp_path, "mistake", "kill")
    mistake, sentence, killed = told.partition("x is 404. (The same command resumes where the job")
    assert sentence, told
    assert "shown" in mistake
    assert 'WARNING:worker:"naïve" \n 文' in mistake
    for internal in ("ERROR:apache_beam", "Error processing instruction", "Original traceback"):
        assert internal not in mistake
    assert "A worker process was killed (status -9)" in killed


@pytest.mark.slow
def test_a_bug_in_a_worker_shows_where_it_is(tmp_path):
    told = printed(tmp_path, "bug")
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
