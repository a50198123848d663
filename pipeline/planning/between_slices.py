"""What a step sends from slice to slice, over a network that is a hundred times slower than links.

XLA splits a collective over several slices into one within each slice and transfers by the hosts
between them, which the compiled program has as `send`s. By design gradients and stored parameters
cross, and tokens on their way to an expert never do (`model/sharding.py`).
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.planning.program import Instruction, Program

TRANSFER = re.compile(r'_xla_megascale_transfer_type="(\w+)"')
MEETING = re.compile(r'_xla_host_transfer_rendezvous="([^"]+)"')


class Crossing(NamedTuple):
    """A transfer to another slice.

    Attributes:
        kind: the collective that it is a part of, such as `all-gather`.
        executions: a step.
        size: bytes that a device sends each time.
    """

    kind: str
    executions: int
    size: int


def crossings(program: Program) -> Iterator[Crossing]:
    """Yields every transfer between slices; nothing where there is one slice."""
    for _, instruction, times in program.everywhere():
        if instruction.opcode == "send" and (kind := TRANSFER.search(instruction.attributes)):
            name = kind.group(1).lower().replace("_", "-")
            yield Crossing(name, times, instruction.results[0].size)


def sender(received: Instruction, values: dict[str, Instruction]) -> Instruction | None:
    """Returns the `send` of the same computation that a `recv` is the other end of."""
    meeting = MEETING.search(received.attributes)
    if meeting is None:
        return None
    for one in values.values():
        other = MEETING.search(one.attributes) if one.opcode == "send" else None
        if other and other.group(1) == meeting.group(1):
            return one
    return None
