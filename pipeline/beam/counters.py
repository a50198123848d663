"""Counters of the jobs, under one namespace on every runner.

Nothing of cleaning is imported here: it loads CLD3, which crashes beside TensorFlow.
"""

from apache_beam.metrics.metric import Metrics

NAMESPACE = "mswitch"


def add(name: str, value: int) -> None:
    """Adds to one of the job's counters."""
    Metrics.counter(NAMESPACE, name).inc(value)
