"""Transfers of a step between slices, over a network a hundred times slower than links.

XLA splits a collective over several slices into one collective within each slice and transfers
between their hosts; the compiled program holds these as `send` instructions. By design gradients
and stored parameters cross between slices, and dispatched tokens do not unless experts are split
over slices (`model/sharding/mesh.py`).
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.planning.hlo.instruction import Instruction
from pipeline.planning.hlo.program import Program

TRANSFER = re.compile(r'_xla_megascale_transfer_type="(\w+)"')
RENDEZVOUS = re.compile(r'_xla_host_transfer_rendezvous="([^"]+)"')


class SliceTransfer(NamedTuple):
    """Transfer to another slice.

    Attributes:
        kind: collective that the transfer is a part of, such as `all-gather`.
        executions: number of executions per step.
        size: number of bytes that a device sends per execution.
    """

    kind: str
    executions: int
    size: int


def slice_transfers(program: Program) -> Iterator[SliceTransfer]:
    """Yields every transfer between slices; none where there is one slice."""
    for _, instruction, times in program.executed():
        if instruction.opcode == "send" and (kind := TRANSFER.search(instruction.attributes)):
            name = kind.group(1).lower().replace("_", "-")
            yield SliceTransfer(name, times, instruction.results[0].size)


def sender(received: Instruction, values: dict[str, Instruction]) -> Instruction | None:
    """Returns the `send` of the same computation that a `recv` belongs to."""
    rendezvous = RENDEZVOUS.search(received.attributes)
    if rendezvous is None:
        return None
    for one in values.values():
        other = RENDEZVOUS.search(one.attributes) if one.opcode == "send" else None
        if other and other.group(1) == rendezvous.group(1):
            return one
    return None
