"""Outputs of devices, read one behind what they compute.

A call of a compiled function returns before its output is computed. Where the host reads an output
after it has called for the next one, devices compute while it reads. Two outputs are held, beside
the one that its reader keeps.
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

Output = TypeVar("Output")


class Stop(Exception):
    """The work was abandoned between two batches."""


def one_ahead(outputs: Iterable[Output]) -> Iterator[Output]:
    """Yields each output when the next one has been called for.

    Args:
        outputs: calls the devices for one output at each step.
    """
    calls = iter(outputs)
    for before in calls:
        for output in calls:
            yield before
            before = output
        yield before
