"""Runs a Beam job, reads its counters, and turns a worker's error into the user's."""

import contextlib
import logging
import re
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners import common
from apache_beam.runners.runner import PipelineResult

from data.errors import DataError
from pipeline.beam.counters import NAMESPACE
from pipeline.beam.options import Follow, pipeline_for

MENDABLE = ("DataError", "Damaged", "OSError", "PermissionError", "WorkerEnded")
# The last line of a worker's traceback, if its error is one of these.
SENTENCE = re.compile(rf"(?:{'|'.join(MENDABLE)}): (.+)")


@contextlib.contextmanager
def running(options: PipelineOptions, follow: Follow = lambda _: None) -> Iterator[beam.Pipeline]:
    """Yields a pipeline that runs when the block ends, on the runner of the options.

    Args:
        options: the job's options.
        follow: called with the job once it is submitted. On the local runner it has then ended,
            on others begun.

    Raises:
        DataError: if a worker met a condition that the user can fix, such as a full disk.
    """
    silence_reported_errors()
    try:
        with pipeline_for(options, follow) as pipeline:
            yield pipeline
    except Exception as error:  # Beam turns any error of a worker into a RuntimeError
        raise user_error(error) from error


def silence_reported_errors() -> None:
    """Hides Beam's traceback where the command ends with one sentence instead."""
    logging.getLogger(common.__name__).addFilter(is_unreported)


def is_unreported(record: logging.LogRecord) -> bool:
    """Returns False for a worker's error that `user_error` reports."""
    kind = record.exc_info and record.exc_info[0]
    return not kind or kind.__name__ not in MENDABLE


def counters(result: PipelineResult) -> dict[str, int]:
    """Returns the job's own counters as they are now, by name, over all its steps.

    Committed values where the runner reports any; Flink and Spark report attempted ones. Prism
    counts two bundles once if they end together and each is the first with a name (2.77.0,
    `metricsStore.unprocessedPayloads` keeps one payload per name); the manifest counts them all.
    """
    if "_metrics" in vars(result):
        vars(result)["_metrics"] = (
            None  # a portable runner's result queries once and keeps the answer
        )
    answers = result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["counters"]
    committed = any(one.committed for one in answers)
    found: dict[str, int] = {}
    for one in answers:
        value = one.committed if committed else one.attempted
        found[one.key.metric.name] = found.get(one.key.metric.name, 0) + (value or 0)
    return found


def user_error(error: Exception) -> Exception:
    """Returns a worker's error as the user's, or the error itself if it is a fault of the code."""
    found = SENTENCE.findall(f"{type(error).__name__}: {error}")
    if not found:
        return error
    sentence = found[-1].split(" [while running")[0]
    return DataError(f"{sentence} (The same command goes on where the run stopped.)")
