"""What a user can mend ends in one sentence that names the way on; a bug keeps its traceback.

Real clusters whose processes are killed: `tests/engines/flink`.
"""

import logging

import grpc
import pytest
from apache_beam.runners.portability import portable_runner

from data.errors import DataError
from pipeline.beam.failures import RESUMES, is_not_engine_error, user_error
from pipeline.beam.job import running
from pipeline.beam.options import pipeline_options

LOST = "RemoteTransportException: Connection unexpectedly closed by remote task manager 'host:1'."
IN_WORKER = 'Error received from SDK harness: Traceback (most recent call last):\n  File "a.py"\n'


def ended(reason: str, state: str = "FAILED") -> RuntimeError:
    """Returns the error of Beam's portable runner."""
    return RuntimeError(f"Pipeline BeamApp-x-1_2-3 failed in state {state}: {reason}")


def of_dataflow(reason: str, state: str = "FAILED") -> Exception:
    """Returns the error of Beam's runner of Dataflow."""
    return Exception(f"Dataflow pipeline failed. State: {state}, Error:\n{reason}")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (RuntimeError("Traceback\n  File\ndata.errors.DataError: x is 404 [while"), "x is 404"),
        (ended(f"{IN_WORKER}OSError: [Errno 28] No space left"), "(No space left); make room."),
        (ended(f"{IN_WORKER}FileNotFoundError: [Errno 2] No such file: 'a'"), "'a'); restore it."),
        (ended(f"{LOST}\n\tat java.base/x"), f"The engine ended the job in state FAILED: {LOST}"),
        (ended("unknown error", "CANCELLED"), "in state CANCELLED: unknown error"),
        (of_dataflow("None", "CANCELLED"), "in state CANCELLED: None"),
        (of_dataflow("No room\nin zone a."), "ended the job in state FAILED: No room in zone a."),
        (of_dataflow(f"{IN_WORKER}DataError: x is 404"), "x is 404"),
        (ended(f"{IN_WORKER}TimeoutError: [Errno 110] Timed out"), "(Timed out)"),
        (grpc.FutureTimeoutError(), "The job server does not answer; check --job_endpoint."),
    ],
)
def test_what_a_user_can_mend_is_one_sentence_that_names_the_way_on(error, sentence):
    told = user_error(error)
    assert isinstance(told, DataError)
    assert sentence in str(told)
    assert str(told).endswith(RESUMES)
    assert "\n" not in str(told)


@pytest.mark.parametrize(
    "error",
    [KeyError("y"), ended(f"{IN_WORKER}KeyError: 'y'"), of_dataflow(f"{IN_WORKER}KeyError: 'y'")],
)
def test_a_bug_stays_what_it_is(error):
    assert user_error(error) is error


def test_a_job_server_that_refuses_the_connection_is_one_sentence():
    options = ["--runner=PortableRunner", "--job_endpoint=127.0.0.1:1", "--job_server_timeout=1"]
    with pytest.raises(DataError, match="The job server"), running(pipeline_options(options)):
        pass


def test_an_engines_stack_trace_is_left_to_the_sentence():
    def record(path: str, level: int) -> logging.LogRecord:
        return logging.LogRecord("root", level, path, 1, "%s", ("at java.base/x",), None)

    assert not is_not_engine_error(record(portable_runner.__file__, logging.ERROR))
    assert is_not_engine_error(record(portable_runner.__file__, logging.WARNING))
    assert is_not_engine_error(record(__file__, logging.ERROR))
