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
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

BYTES = {"pred": 1, "s4": 0.5, "u4": 0.5, "bf16": 2, "f16": 2, "c64": 8, "c128": 16}
ARRAY = re.compile(r"([a-z]+\d*[a-z0-9]*)\[([\d,]*)\](?:\{([^{}]*)\})?")
INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*?) ([a-z][a-z0-9\-]*)\((.*)$")
COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")
NAME = re.compile(r"%([\w.\-]+)")
INDEX = re.compile(r"/\*index=\d+\*/")
TRIP_COUNT = re.compile(r'known_trip_count":\{"n":"(\d+)"')
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")  # of a number
TWO_BRANCHES = re.compile(r"(?:true|false)_computation=%?([^,\s]+)")  # of a truth value
FUSIONS = ("fusion", "fusion-start")  # the latter on GPUs, beside other work
CALLS = (*FUSIONS, "call", "async-start", "call-start")
MOVES_OF_COUNTERS = ("bitcast", "convert", "copy", "reshape")


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
        bits = re.search(r"\d+", self.kind)
        element = BYTES.get(self.kind, int(bits.group()) / 8 if bits else 0)
        return math.ceil(math.prod(self.shape) * element)


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
        match = re.search(rf"\b{name}=%?([^,\s]+)", self.attributes)
        return match.group(1) if match else None

    @property
    def operation(self) -> str:
        """Name of the traced operation, such as `jit(step)/jvp()/while/body/...`."""
        match = re.search(r'op_name="([^"]*)"', self.attributes)
        return match.group(1) if match else ""

    @property
    def size(self) -> int:
        """Bytes of the result."""
        return sum(array.size for array in self.results)

    @property
    def called(self) -> list[str]:
        """Names of the computations that it executes; of a condition all branches."""
        if self.opcode == "while":
            names = [self.attribute("body")]
        elif self.opcode == "conditional":
            branches = BRANCHES.search(self.attributes)
            pattern, text = (NAME, branches[1]) if branches else (TWO_BRANCHES, self.attributes)
            names = pattern.findall(text)
        elif self.opcode in CALLS:
            names = [self.attribute("calls") or self.attribute("to_apply")]
        else:
            names = []
        return [name for name in names if name]


Computation = dict[str, Instruction]  # by name and in order


def root_of(computation: Computation) -> Instruction:
    """Returns the instruction whose result is the computation's."""
    return next(instruction for instruction in computation.values() if instruction.root)


@dataclass(frozen=True)
class Program:
    """A compiled program.

    Attributes:
        computations: computations by name.
        entry: name of the computation that a call runs.
    """

    computations: dict[str, Computation]
    entry: str

    @functools.cached_property
    def callers(self) -> dict[str, list[tuple[str, Instruction]]]:
        """Instructions that execute a computation, each after the name of its own, by name."""
        callers: dict[str, list[tuple[str, Instruction]]] = defaultdict(list)
        for name, computation in self.computations.items():
            for instruction in computation.values():
                for called in instruction.called:
                    callers[called].append((name, instruction))
        return dict(callers)

    def fusion_of(self, computation: str) -> tuple[str, Instruction] | None:
        """Returns the fusion that executes a computation, after the name of its own, or None."""
        callers = self.callers.get(computation, [])
        return next((caller for caller in callers if caller[1].opcode in FUSIONS), None)

    @functools.cached_property
    def executions(self) -> dict[str, int]:
        """Number of executions per call, by computation; 0 for reducers and comparators."""
        counts = dict.fromkeys(self.computations, 0)
        self._count(self.entry, 1, counts)
        return counts

    def _count(self, name: str, times: int, counts: dict[str, int]) -> None:
        counts[name] += times
        for instruction in self.computations[name].values():
            for called in instruction.called:
                if called in self.computations:
                    repeats = self._trips(instruction, name) if instruction.opcode == "while" else 1
                    self._count(called, times * repeats, counts)

    def executed_instructions(self) -> Iterator[tuple[str, Instruction, int]]:
        """Yields every executed instruction with its computation and its number of executions."""
        for name, computation in self.computations.items():
            if times := self.executions[name]:
                for instruction in computation.values():
                    yield name, instruction, times

    def _trips(self, loop: Instruction, caller: str) -> int:
        """Returns the trip count of a loop that is an instruction of `caller`.

        Raises:
            ValueError: if the condition does not compare with exactly one constant, or the
                counter's start or step is not a constant.
        """
        if stated := TRIP_COUNT.search(loop.attributes):
            return int(stated.group(1))
        condition = loop.attribute("condition") or ""
        bound, counter = self._bound(condition), _counter(self.computations[condition])
        values = self.computations[caller]
        start = _constant(_element(values, values[loop.operands[0]], counter), values)
        step = _step(self.computations[loop.attribute("body") or ""], counter)
        if start is None or not step:
            raise ValueError(f"The counter of {loop.name} starts at {start} with step {step}.")
        return math.ceil((bound - start) / step)

    def _bound(self, condition: str) -> int:
        """Returns the constant that a loop's condition compares with, perhaps in a fusion."""
        instructions = list(self.computations[condition].values())
        for instruction in self.computations[condition].values():
            instructions += self.computations.get(instruction.attribute("calls") or "", {}).values()
        bounds = [
            int(instruction.literal)
            for instruction in instructions
            if instruction.opcode == "constant" and re.fullmatch(r"\d+", instruction.literal)
        ]
        if len(set(bounds)) != 1:
            raise ValueError(f"The loop condition {condition} has bounds {bounds}; expected one.")
        return bounds[0]


def _counter(condition: Computation) -> int:
    """Returns the number of the loop's variable that the condition reads."""
    variables = (value for value in condition.values() if value.opcode == "get-tuple-element")
    first = next(variables, None)
    return int(first.attribute("index") or 0) if first else 0


def _step(body: Computation, counter: int) -> int | None:
    """Returns the constant that the body adds to the counter; None if it does something else."""
    after = _before_moves(_element(body, root_of(body), counter), body)
    if after is None or after.opcode != "add":
        return None
    added = (_constant(body.get(name), body) for name in after.operands)
    return next((number for number in added if number is not None), None)


def _element(values: Computation, whole: Instruction, number: int) -> Instruction | None:
    """Returns the instruction that computes a tuple's element."""
    return values.get(whole.operands[number]) if whole.opcode == "tuple" else None


def _before_moves(value: Instruction | None, values: Computation) -> Instruction | None:
    """Returns the instruction that computes a value which others only move."""
    while value is not None and value.opcode in MOVES_OF_COUNTERS:
        value = values.get(value.operands[0])
    return value


def _constant(value: Instruction | None, values: Computation) -> int | None:
    value = _before_moves(value, values)
    if value is None or value.opcode != "constant" or not re.fullmatch(r"-?\d+", value.literal):
        return None
    return int(value.literal)


def parse(text: str) -> Program:
    """Parses a program from XLA's text.

    Raises:
        ValueError: if the text has no entry computation.
    """
    computations: dict[str, Computation] = {}
    entry, current = "", None
    for line in text.splitlines():
        if opening := COMPUTATION.match(line):
            current = computations.setdefault(opening.group(2), {})
            entry = opening.group(2) if opening.group(1) else entry
        elif current is not None and (instruction := _instruction(line)):
            current[instruction.name] = instruction
    if not entry:
        raise ValueError("The text has no ENTRY computation; pass the text of a compiled program.")
    return Program(computations, entry)


def _instruction(line: str) -> Instruction | None:
    """Returns the instruction of a line; None for other lines."""
    match = INSTRUCTION.match(INDEX.sub("", line))
    if match is None:
        return None
    root, name, result, opcode, rest = match.groups()
    end = _closing_parenthesis(rest)
    return Instruction(
        name=name,
        opcode=opcode,
        results=tuple(_arrays(result)),
        operands=tuple(NAME.findall(rest[:end])),
        attributes=rest[end + 1 :],
        root=bool(root),
        literal=rest[:end],
    )


def _closing_parenthesis(text: str) -> int:
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
