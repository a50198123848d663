"""A Beam job from its first moment to its last, and what its failure means to the user."""

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
# The last line of a worker's traceback, if it is of this kind.
SENTENCE = re.compile(rf"(?:{'|'.join(MENDABLE)}): (.+)")


@contextlib.contextmanager
def running(options: PipelineOptions, follow: Follow = lambda _: None) -> Iterator[beam.Pipeline]:
    """Gives a pipeline that runs when the block has ended, here or where the options say.

    Args:
        options: of the job.
        follow: is told of the job as soon as it has been submitted. The local runner has then
            ended; others have begun.

    Raises:
        DataError: a worker met something that its user can mend, such as a full disk.
    """
    be_quiet_about_what_is_told()
    try:
        with pipeline_for(options, follow) as pipeline:
            yield pipeline
    except Exception as error:  # Beam makes a RuntimeError of whatever a worker raises
        raise told(error) from error


def be_quiet_about_what_is_told() -> None:
    """Keeps Beam's traceback from the terminal where the command will end with a sentence of it."""
    logging.getLogger(common.__name__).addFilter(is_news)


def is_news(record: logging.LogRecord) -> bool:
    """False for the error of a piece of work that `told` will tell."""
    kind = record.exc_info and record.exc_info[0]
    return not kind or kind.__name__ not in MENDABLE


def counters(result: PipelineResult) -> dict[str, int]:
    """Returns the job's own counters as they are now, by name, over all its steps.

    What bundles have committed, where the runner tells any of that: Flink and Spark tell attempts.
    Two bundles that end together and are each the first with a name count once on Prism (2.77.0,
    `metricsStore.unprocessedPayloads` keeps one payload a name); the manifest counts them all.
    """
    if "_metrics" in vars(result):
        vars(result)["_metrics"] = None  # a portable runner's asks once and keeps the answer
    answers = result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["counters"]
    committed = any(one.committed for one in answers)
    found: dict[str, int] = {}
    for one in answers:
        value = one.committed if committed else one.attempted
        found[one.key.metric.name] = found.get(one.key.metric.name, 0) + (value or 0)
    return found


def told(error: Exception) -> Exception:
    """Returns what a worker's error means for the user, or the error itself if it is a fault."""
    found = SENTENCE.findall(f"{type(error).__name__}: {error}")
    if not found:
        return error
    sentence = found[-1].split(" [while running")[0]
    return DataError(f"{sentence} (The same command goes on where the run stopped.)")
