"""Counters of the jobs, under one namespace on every runner; light, so that every stage can count.

The cleaning steps' wiring is not imported here: it loads CLD3, which must not be in one process
with TensorFlow.
"""

from apache_beam.metrics.metric import Metrics

NAMESPACE = "mswitch"


def add(name: str, value: int) -> None:
    """Adds to one of the job's counters."""
    Metrics.counter(NAMESPACE, name).inc(value)
