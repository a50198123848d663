"""One instruction of a compiled program, read from a line of XLA's text. No library parses it."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

BYTES = {"pred": 1, "s4": 0.5, "u4": 0.5, "bf16": 2, "f16": 2, "c64": 8, "c128": 16}
ARRAY = re.compile(r"([a-z]+\d*[a-z0-9]*)\[([\d,]*)\](?:\{([^{}]*)\})?")
INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*?) ([a-z][a-z0-9\-]*)\((.*)$")
NAME = re.compile(r"%([\w.\-]+)")
INDEX = re.compile(r"/\*index=\d+\*/")


@dataclass(frozen=True)
class ResultArray:
    """One array of an instruction's result.

    Attributes:
        kind: element type, such as `bf16`.
        shape: sizes of the dimensions.
        in_main_memory: False for an array in on-chip memory (layout `S(1)` and above).
    """

    kind: str
    shape: tuple[int, ...]
    in_main_memory: bool

    @property
    def size(self) -> int:
        """Bytes of the array, without padding to tiles."""
        return math.ceil(math.prod(self.shape) * _bytes_of(self.kind))


@dataclass(frozen=True)
class Instruction:
    """A line of a computation.

    Attributes:
        name, opcode: name and opcode as printed.
        results: arrays of the result, tuples flattened.
        operands: names of the operands, instructions of the same computation.
        attributes: text after the operands.
        root: True for the result of a computation.
        literal: text between the parentheses.
    """

    name: str
    opcode: str
    results: tuple[ResultArray, ...]
    operands: tuple[str, ...]
    attributes: str
    root: bool
    literal: str

    def attribute(self, name: str) -> str | None:
        """Returns the value of `name=value` up to the next comma; None if there is none."""
        found = re.search(rf"\b{name}=%?([^,\s]+)", self.attributes)
        return found.group(1) if found else None

    @property
    def operation(self) -> str:
        """Name of the traced operation, such as `jit(step)/jvp()/while/body/...`."""
        found = re.search(r'op_name="([^"]*)"', self.attributes)
        return found.group(1) if found else ""

    @property
    def size(self) -> int:
        """Bytes of the result."""
        return sum(array.size for array in self.results)


def instruction_of(line: str) -> Instruction | None:
    """Returns the instruction of a line; None for other lines."""
    found = INSTRUCTION.match(INDEX.sub("", line))
    if found is None:
        return None
    root, name, result, opcode, rest = found.groups()
    end = _closing(rest)
    return Instruction(
        name=name,
        opcode=opcode,
        results=tuple(_arrays(result)),
        operands=tuple(NAME.findall(rest[:end])),
        attributes=rest[end + 1 :],
        root=bool(root),
        literal=rest[:end],
    )


def _closing(text: str) -> int:
    depth = 0
    for position, character in enumerate(text):
        if character == "(":
            depth += 1
        elif character == ")":
            if depth == 0:
                return position
            depth -= 1
    return len(text)


def _arrays(result: str) -> Iterator[ResultArray]:
    for kind, sizes, layout in ARRAY.findall(result):
        shape = tuple(int(size) for size in sizes.split(",") if size)
        yield ResultArray(kind, shape, not re.search(r"S\([1-9]", layout))


def _bytes_of(kind: str) -> float:
    if kind in BYTES:
        return BYTES[kind]
    bits = re.search(r"\d+", kind)
    return int(bits.group()) / 8 if bits else 0
