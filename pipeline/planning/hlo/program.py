"""A compiled program parsed from XLA's text: its instructions, and how often each is executed.

No library parses it. The printed program is complete: computations and their calls, shapes with
their memory space, and what every loop counts. XLA's own cost analysis counts the body of a loop
once, and our networks are loops over blocks. Here an instruction's executions are the product of
the trip counts of its enclosing loops.

A loop's condition compares a counter with a constant, and its body adds a constant to the counter.
A scan counts by one. A loop of XLA's over the shards of a product ("windowed einsum") computes two
shards per trip and counts by two: by its bound alone its work would count double.
"""

import functools
import math
import re
from collections.abc import Iterator, Mapping
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


Computation = Mapping[str, Instruction]
Computations = Mapping[str, Computation]
SAME = ("bitcast", "convert", "copy", "reshape")
STATED = re.compile(r'known_trip_count":\{"n":"(\d+)"')


def trips(computations: Computations, loop: Instruction, caller: Computation) -> int:
    """Returns the trip count of a loop that is an instruction of `caller`.

    Raises:
        ValueError: if the condition does not compare with exactly one constant, or the counter's
            start or step is not a constant.
    """
    if stated := STATED.search(loop.attributes):
        return int(stated.group(1))
    condition = loop.attribute("condition") or ""
    bound = _bound(computations, condition)
    counter = _counter(computations[condition])
    start = _constant(_variable(caller, caller[loop.operands[0]], counter), caller)
    step = _step(computations[loop.attribute("body") or ""], counter)
    if start is None or not step:
        raise ValueError(f"The counter of {loop.name} starts at {start} with step {step}.")
    return math.ceil((bound - start) / step)


def _bound(computations: Computations, condition: str) -> int:
    fused = (one.attribute("calls") or "" for one in computations[condition].values())
    bounds = [
        int(one.literal)
        for part in (condition, *fused)
        for one in computations.get(part, {}).values()
        if one.opcode == "constant" and re.fullmatch(r"\d+", one.literal)
    ]
    if len(set(bounds)) != 1:
        raise ValueError(f"The loop condition {condition} has bounds {bounds}; expected one.")
    return bounds[0]


def _counter(condition: Computation) -> int:
    """Returns the number of the loop's variable that the condition reads."""
    read = [one for one in condition.values() if one.opcode == "get-tuple-element"]
    return int(read[0].attribute("index") or 0) if read else 0


def _step(body: Computation, counter: int) -> int | None:
    """Returns what the body adds to the counter."""
    root = next(one for one in body.values() if one.root)
    after = _moved(_variable(body, root, counter), body)
    if after is None or after.opcode != "add":
        return None
    added = (_constant(body.get(name), body) for name in after.operands)
    return next((number for number in added if number is not None), None)


def _variable(values: Computation, whole: Instruction, number: int) -> Instruction | None:
    """Returns the instruction that makes a tuple's element."""
    return values.get(whole.operands[number]) if whole.opcode == "tuple" else None


def _moved(one: Instruction | None, values: Computation) -> Instruction | None:
    """Returns the instruction whose value `one` only moves."""
    while one is not None and one.opcode in SAME:
        one = values.get(one.operands[0])
    return one


def _constant(one: Instruction | None, values: Computation) -> int | None:
    one = _moved(one, values)
    if one is None or one.opcode != "constant" or not re.fullmatch(r"-?\d+", one.literal):
        return None
    return int(one.literal)


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
