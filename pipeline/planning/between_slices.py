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
SLICES = re.compile(r'_xla_megascale_target="?\{([\d,]+)\}x')  # numbers of slices, and devices
DEVICES = re.compile(r'_xla_megascale_target="?\{\{([\d,]+)\}')  # slice * 100,000 + device
RENDEZVOUS = re.compile(r'_xla_host_transfer_rendezvous="([^"]+)"')


class SliceTransfer(NamedTuple):
    """Transfer to another slice.

    Attributes:
        kind: collective that the transfer is a part of, such as `all-gather`.
        executions: number of executions per step.
        size: number of bytes that a device hands to its host per execution, those for its own
            slice among them.
        slices: number of slices that take part.
        of_counts: True for integers: counts of tokens on their way to experts.
    """

    kind: str
    executions: int
    size: int
    slices: int
    of_counts: bool = False

    @property
    def sent(self) -> float:
        """Bytes that go from a device's host to other slices per execution.

        A host that gathers sends its part to each other slice. For the other kinds it is handed a
        part for each slice, and sums on the way.
        """
        parts = {"all-gather": 1.0, "all-reduce": 2 / self.slices}
        return self.size * (self.slices - 1) * parts.get(self.kind, 1 / self.slices)

    @property
    def steps(self) -> int:
        """Number of messages in sequence: an all-reduce sums, then spreads the sum."""
        return 2 if self.kind == "all-reduce" else 1


def slice_transfers(program: Program, slices: int) -> Iterator[SliceTransfer]:
    """Yields every transfer between slices; none where there is one slice.

    Args:
        program: compiled step.
        slices: number of slices, for a transfer that does not state which take part.
    """
    for _, instruction, times in program.executed():
        if instruction.opcode == "send" and (kind := TRANSFER.search(instruction.attributes)):
            name = kind.group(1).lower().replace("_", "-")
            moved = instruction.results[0]
            taking_part = _taking_part(instruction) or slices
            yield SliceTransfer(name, times, moved.size, taking_part, "f" not in moved.kind)


def _taking_part(sent: Instruction) -> int:
    """Returns the number of slices of a transfer's first group; 0 if it does not state them."""
    if named := SLICES.search(sent.attributes):
        return len(named.group(1).split(","))
    listed = DEVICES.search(sent.attributes)
    numbers = listed.group(1).split(",") if listed else []
    return len({int(number) // 100_000 for number in numbers})


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
