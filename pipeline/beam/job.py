"""Runs a Beam job and returns its counters."""

import contextlib
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult

from pipeline.beam.counters import NAMESPACE
from pipeline.beam.failures import hide_reported_errors, user_error
from pipeline.beam.options import Follow, pipeline_for


@contextlib.contextmanager
def running(options: PipelineOptions, follow: Follow = lambda _: None) -> Iterator[beam.Pipeline]:
    """Yields a pipeline that runs when the block ends, on the runner that the options name.

    Args:
        options: Beam's options of the job.
        follow: called with the job as soon as it is submitted. With the local runner the job has
            ended by then; other runners have begun.

    Raises:
        DataError: if a worker met something that its user can repair, such as a full disk, or if
            the engine ended the job.
    """
    hide_reported_errors()
    try:
        with pipeline_for(options, follow) as pipeline:
            yield pipeline
    except Exception as error:  # Beam wraps a worker's exception in a RuntimeError
        raise user_error(error) from error


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
