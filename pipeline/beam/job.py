"""Runs a Beam job: options, counters, and failures as one sentence for the user."""

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

MENDABLE = ("DataError", "Damaged", "LockLost", "OSError", "PermissionError", "WorkerEnded")
# The last line of a worker's traceback, for these errors.
SENTENCE = re.compile(rf"(?:{'|'.join(MENDABLE)}): (.+)")


@contextlib.contextmanager
def running(options: PipelineOptions, follow: Follow = lambda _: None) -> Iterator[beam.Pipeline]:
    """Yields a pipeline that runs when the block ends, on the runner that the options name.

    Args:
        options: Beam's options of the job.
        follow: called with the job as soon as it is submitted. With the local runner the job has
            ended by then; other runners have begun.

    Raises:
        DataError: if a worker met something that its user can mend, such as a full disk.
    """
    hide_reported_errors()
    try:
        with pipeline_for(options, follow) as pipeline:
            yield pipeline
    except Exception as error:  # Beam wraps a worker's exception in a RuntimeError
        raise user_error(error) from error


def hide_reported_errors() -> None:
    """Hides Beam's traceback where the command ends with one sentence about the same error."""
    logging.getLogger(common.__name__).addFilter(is_unreported)


def is_unreported(record: logging.LogRecord) -> bool:
    """Returns False for an error that `user_error` reports."""
    kind = record.exc_info and record.exc_info[0]
    return not kind or kind.__name__ not in MENDABLE


def counters(result: PipelineResult) -> dict[str, int]:
    """Returns the job's own counters as they are now, by name, over all its steps.

    Committed values where the runner reports any; Flink and Spark report attempted ones. On Prism
    (2.77.0) two bundles that end together and are each the first with a name count once
    (`metricsStore.unprocessedPayloads` keeps one payload per name); the manifest counts both.
    """
    if "_metrics" in vars(result):
        vars(result)["_metrics"] = (
            None  # a portable runner's result queries once and caches the answer
        )
    answers = result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["counters"]
    committed = any(one.committed for one in answers)
    found: dict[str, int] = {}
    for one in answers:
        value = one.committed if committed else one.attempted
        found[one.key.metric.name] = found.get(one.key.metric.name, 0) + (value or 0)
    return found


def user_error(error: Exception) -> Exception:
    """Returns a worker's error as one sentence for the user, or the error itself if it is a bug."""
    found = SENTENCE.findall(f"{type(error).__name__}: {error}")
    if not found:
        return error
    sentence = found[-1].split(" [while running")[0]
    return DataError(f"{sentence} (The same command resumes where the job stopped.)")
