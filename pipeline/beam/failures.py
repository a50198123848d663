"""A job's failure as one sentence for its user.

Three kinds have one: what a worker met and its user can repair, such as a full disk; an engine that
ended the job, such as Flink without a TaskManager; and a job server that does not answer. All else
is a bug, and keeps its traceback.
"""

import logging
import re

import grpc
from apache_beam.runners import common
from apache_beam.runners.portability import portable_runner

from data.errors import DataError
from pipeline.errors import remedy_of

MENDABLE = (
    *("DataError", "Damaged", "WorkerEnded"),
    *("OSError", "PermissionError", "FileNotFoundError", "IsADirectoryError", "NotADirectoryError"),
    *("TimeoutError", "ConnectionError", "ConnectionResetError", "ConnectionRefusedError"),
)
# The last line of a worker's traceback, for these errors.
SENTENCE = re.compile(rf"(?:{'|'.join(MENDABLE)}): (.+)")
OF_SYSTEM = re.compile(r"\[Errno ([0-9]+)\] (.+)")
# Beam's errors (2.77.0) of a job that did not end well: portable runners', and Dataflow's.
ENDED = re.compile(
    r"Pipeline \S+ failed in state (?P<state>\w+): (?P<reason>.*)"
    r"|Dataflow pipeline failed\. State: (?P<of_dataflow>\w+), Error:\s*(?P<error>(?s:.*))"
)
PYTHON = "Traceback (most recent call last)"
RESUMES = "(The same command resumes where the job stopped.)"


def hide_reported_errors() -> None:
    """Hides Beam's tracebacks where the command ends with one sentence about the same error."""
    logging.getLogger(common.__name__).addFilter(is_unreported)
    logging.getLogger().addFilter(is_not_engine_error)


def is_unreported(record: logging.LogRecord) -> bool:
    """Returns False for an error that `user_error` reports."""
    kind = record.exc_info and record.exc_info[0]
    return not kind or kind.__name__ not in MENDABLE


def is_not_engine_error(record: logging.LogRecord) -> bool:
    """Returns False for an engine's error message: the job's failure repeats it."""
    return record.levelno < logging.ERROR or record.pathname != portable_runner.__file__


def user_error(error: Exception) -> Exception:
    """Returns a failure as one sentence for the user, or the error itself if it is a bug."""
    sentences = SENTENCE.findall(f"{type(error).__name__}: {error}")
    if sentences:
        sentence = sentences[-1].split(" [while running")[0]
        if system := OF_SYSTEM.fullmatch(sentence):
            sentence = of_system(int(system[1]), system[2])
        return DataError(f"{sentence} {RESUMES}")
    sentence = engine_failure(error)
    return DataError(f"{sentence} {RESUMES}") if sentence else error


def of_system(number: int, text: str) -> str:
    """Returns an error of the system, such as a full disk, as a sentence with its remedy."""
    return f"A worker met an error of the system ({text}); {remedy_of(number)}."


def engine_failure(error: Exception) -> str | None:
    """Returns why an engine did not finish a job that is without fault; None for other errors."""
    if isinstance(error, grpc.FutureTimeoutError):
        return "The job server does not answer; check --job_endpoint."
    if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
        details = " ".join(str(error.details()).split())
        return f"The job server failed ({error.code().name}: {details}); its log has more."
    ended = ENDED.match(str(error))
    if ended is None or PYTHON in str(error):
        return None
    state, reason = ended["state"] or ended["of_dataflow"], ended["reason"] or ended["error"]
    return f"The engine ended the job in state {state}: {' '.join(reason.split())}"
