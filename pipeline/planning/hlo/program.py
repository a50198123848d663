"""A compiled program parsed from XLA's text: its instructions and the executions of each.

XLA's own cost analysis counts the body of a loop once, and our networks are loops over blocks. The
printed program is complete: computations and their calls, shapes with their memory space, and what
every loop counts (`loops.py`). An instruction's executions are the product of the trip counts of
its enclosing loops.
"""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.planning.hlo.instruction import NAME, Instruction, instruction_of
from pipeline.planning.hlo.loops import trips

COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")


@dataclass(frozen=True)
class Program:
    """A compiled program.

    Attributes:
        computations: instructions by name and in order, per name of their computation.
        entry: name of the computation that a call runs.
    """

    computations: dict[str, dict[str, Instruction]]
    entry: str

    @functools.cached_property
    def executions(self) -> dict[str, int]:
        """Number of executions per call, by computation; 0 for reducers and comparators."""
        counts = dict.fromkeys(self.computations, 0)
        self._count(self.entry, 1, counts)
        return counts

    def _count(self, name: str, times: int, counts: dict[str, int]) -> None:
        counts[name] += times
        for instruction in self.computations[name].values():
            for called, repeats in self._called(instruction, self.computations[name]):
                self._count(called, times * repeats, counts)

    def _called(
        self, instruction: Instruction, caller: dict[str, Instruction]
    ) -> Iterator[tuple[str, int]]:
        if instruction.opcode == "while":
            body = instruction.attribute("body")
            assert body is not None  # every loop has one
            yield body, trips(self.computations, instruction, caller)
        elif instruction.opcode == "conditional":
            # Of a number; of a truth value, XLA names two. All count, though one of them runs.
            branches = re.search(r"branch_computations=\{([^}]*)\}", instruction.attributes)
            two = [instruction.attribute(f"{one}_computation") for one in ("true", "false")]
            found = NAME.findall(branches.group(1)) if branches else filter(None, two)
            yield from ((name, 1) for name in found)
        elif instruction.opcode in ("fusion", "call", "async-start", "call-start"):
            called = instruction.attribute("calls") or instruction.attribute("to_apply")
            if called in self.computations:
                yield called, 1

    def executed(self) -> Iterator[tuple[str, Instruction, int]]:
        """Yields every executed instruction with its computation and its number of executions."""
        for name, computation in self.computations.items():
            if times := self.executions[name]:
                for instruction in computation.values():
                    yield name, instruction, times


def parse(text: str) -> Program:
    """Parses a program from XLA's text.

    Raises:
        ValueError: if the text has no entry computation.
    """
    computations: dict[str, dict[str, Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if opening := COMPUTATION.match(line):
            current = computations.setdefault(opening.group(2), {})
            entry = opening.group(2) if opening.group(1) else entry
        elif current is not None and (instruction := instruction_of(line)):
            current[instruction.name] = instruction
    if not entry:
        raise ValueError("The text has no ENTRY computation; pass the text of a compiled program.")
    return Program(computations, entry)
