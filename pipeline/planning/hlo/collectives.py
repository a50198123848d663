"""Collectives of a compiled program: kind, mesh axes, executions, bytes, and what each one moves.

The design (docs/decisions/shapes-declare-sharding.md) has these: per switch layer two all-to-alls
forward and two backward; gathers of stored parameters at each use; reductions of gradients and,
over the model axis, of partial products. A gather of activations is a mistake of the partitioner,
so each collective is classified by the origin of its operand.

Origins. A value is traced back through instructions that only move data, out of fusions, tuples,
calls and loops. If every path ends in an argument of the step, the value is a parameter or an
optimizer statistic; otherwise it was computed. A forward loop that stacks parameters for its
backward pass only moves them, so the trace also follows what is written into a stack.

Slices. XLA splits a collective over several slices into one collective within each slice and
transfers between their hosts; the compiled program holds these as `send` instructions. By design
gradients and stored parameters cross between slices, and dispatched tokens do not unless experts
are split over slices (`model/sharding/mesh.py`).

XLA:TPU prints a reduce-scatter as a fusion of an all-reduce with the slice of it that a device
keeps. It moves what a reduce-scatter moves.
"""

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from pipeline.planning.hlo.program import (
    CALLS,
    Computation,
    Instruction,
    Program,
    ResultArray,
    root_of,
)

RAGGED = "ragged-all-to-all"
KINDS = ("all-to-all", RAGGED, "all-gather", "all-reduce", "reduce-scatter", "collective-permute")
SUMS = ("all-reduce", "reduce-scatter", "collective-permute")  # or, the last, parts of sums
IN_MODEL = "jvp("  # part of the name of every operation of the forward and backward pass
BACKWARD = "transpose("  # part of the name of every operation of the backward pass
BATCH_AXES = {"replica", "data", "slice", "expert"}
MOVES = {
    "all-gather",  # an array split over two axes takes two gathers
    "all-gather-done",
    "all-gather-start",
    "bitcast",
    "bitcast-convert",
    "broadcast",  # the zeros that a stack starts from
    "collective-permute",  # the shard of a neighbour
    "collective-permute-done",
    "collective-permute-start",
    "constant",
    "convert",
    "copy",
    "copy-done",
    "copy-start",
    "dynamic-slice",
    "opt-barrier",
    "recv-done",  # the part of the same array that another slice stores
    "reshape",
    "slice",
    "transpose",
    "tuple",
}
STACK = "dynamic-update-slice"
CALLS_DONE = ("async-done", "call-done", "fusion-done")
TRANSFER = re.compile(r'_xla_megascale_transfer_type="(\w+)"')
SLICES = re.compile(r'_xla_megascale_target="?\{([\d,]+)\}x')  # numbers of slices, and devices
DEVICES = re.compile(r'_xla_megascale_target="?\{\{([\d,]+)\}')  # slice * 100,000 + device
RENDEZVOUS = re.compile(r'_xla_host_transfer_rendezvous="([^"]+)"')
Origin = Literal["parameters", "gradients", "optimizer", "activations", "counts", "reports"]


class Collective(NamedTuple):
    """One collective of the program.

    Attributes:
        kind: opcode, such as `all-to-all`.
        origin: origin of the moved value: parameters, their gradients, the optimizer's statistics,
            activations, counts of tokens on their way to experts, or a step's reports, one number
            per row, gathered once.
        axes: mesh axes along which the devices of a group differ.
        group: flat mesh positions of the first group's devices.
        executions: number of executions per step.
        size: bytes of the result on one device; if ragged, those that are sent at most.
        pairs: of a permute, flat mesh positions of each sender and its receiver; the group is the
            first of them.
    """

    kind: str
    origin: Origin
    axes: tuple[str, ...]
    group: tuple[int, ...]
    executions: int
    size: int
    pairs: tuple[tuple[int, int], ...] = ()

    @property
    def name(self) -> str:
        """Kind, origin and mesh axes."""
        return f"{self.kind} of {self.origin} over {' x '.join(self.axes)}"

    @property
    def sent(self) -> float:
        """Bytes that a device sends, and receives, per execution; by the best known algorithms."""
        devices = len(self.group)
        others = (devices - 1) / devices
        return {
            "all-to-all": self.size * others,
            RAGGED: self.size * others,
            "all-gather": self.size * others,
            "all-reduce": 2 * self.size * others,
            "reduce-scatter": self.size * (devices - 1),
            "collective-permute": float(self.size),
        }[self.kind]


def collectives(
    program: Program, mesh: dict[str, int], parameters: int, rows: int
) -> list[Collective]:
    """Returns a step's collectives, leaving out groups of one device.

    Args:
        program: compiled step.
        mesh: sizes of the mesh axes, in order.
        parameters: number of the step's first arguments that are the model's arrays.
        rows: number of rows of a batch.
    """
    result = []
    for computation, instruction, times in program.executed_instructions():
        kind = instruction.opcode.removesuffix("-start")
        if kind not in KINDS:
            continue
        group = _group(instruction, math.prod(mesh.values()))
        if len(group) == 1:
            continue
        values = program.computations[computation]
        size = sum(array.size for array in _result_arrays(instruction))
        if kind == RAGGED:
            size = min(size, values[instruction.operands[0]].size)
        place = computation, instruction
        if (fusion := program.fusion_of(computation)) is not None:
            place, root = fusion, root_of(values)
            if kind == "all-reduce" and root.opcode == "dynamic-slice":
                kind, size = "reduce-scatter", root.size
        axes = _axes(group, mesh)
        whole = place[1]
        alone = Part(whole.operands[0], whole.operation, _result_arrays(whole), size)
        sizes: Counter[Origin] = Counter()
        for part in list(_parts(whole, values)) or [alone]:
            origin = _origin(program, *place, parameters, rows, kind=kind, axes=axes, part=part)
            sizes[origin] += part.size
        result += [
            Collective(kind, origin, axes, group, times, moved, _pairs(instruction))
            for origin, moved in sizes.items()
        ]
    return result


class Part(NamedTuple):
    """What one operand of a collective becomes.

    Attributes:
        operand: name of the operand.
        operation: name of the traced operation that made it.
        results: its arrays among the results.
        size: bytes of these on one device.
    """

    operand: str
    operation: str
    results: Sequence[ResultArray]
    size: int


def _parts(instruction: Instruction, values: Computation) -> Iterator[Part]:
    """Yields the parts of a gather of several arrays; nothing for other collectives.

    XLA joins gathers of one group whatever they move, such as an optimizer's statistics and each
    row's loss, and names the joined one for any of them or not at all.
    """
    arrays = _result_arrays(instruction)
    if instruction.opcode.startswith("all-gather") and 1 < len(arrays) == len(instruction.operands):
        for operand, array in zip(instruction.operands, arrays, strict=True):
            yield Part(operand, _operation(values[operand], values), [array], array.size)


def _group(instruction: Instruction, devices: int) -> tuple[int, ...]:
    """Returns the first group of a collective; XLA has four notations for groups."""
    if pairs := _pairs(instruction):
        return pairs[0]
    text = instruction.attributes
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", text):
        return tuple(_integers(listed.group(1)))
    if iota := re.search(r"replica_groups=(\[[^\s]*\]<=\[[\d,]+\](?:T\([\d,]+\))?)", text):
        return tuple(_iota_groups(iota.group(1))[0].tolist())
    if mesh := re.search(r"replica_groups=mesh\[([^\]]*)\](.*?)\{([^}]*)\}", text):
        return _mesh_group(*mesh.groups())
    return tuple(range(devices))


def _pairs(instruction: Instruction) -> tuple[tuple[int, int], ...]:
    """Returns the pairs of a permute whose devices differ, or all if none do; else nothing."""
    listed = re.search(r"source_target_pairs=\{([^a-z]*)\}", instruction.attributes)
    numbers = re.findall(r"\{(\d+),(\d+)\}", listed.group(1) if listed else "")
    pairs = tuple((int(source), int(target)) for source, target in numbers)
    return tuple(pair for pair in pairs if pair[0] != pair[1]) or pairs


def _iota_groups(text: str) -> np.ndarray:
    """Returns the groups of `[groups,members]<=[sizes]T(order)`."""
    shape, sizes, order = re.fullmatch(
        r"\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text
    ).groups()  # pyright: ignore[reportOptionalMemberAccess]
    numbers = np.arange(math.prod(_integers(sizes))).reshape(_integers(sizes))
    ordered = numbers.transpose(_integers(order)) if order else numbers
    return ordered.reshape(_integers(shape))


def _mesh_group(axes: str, ids: str, chosen: str) -> tuple[int, ...]:
    """Returns the first group of `mesh['a'=2,'b'=4], device_ids=([..]T(..)) {'b'}`."""
    sizes = dict(re.findall(r"'([^']+)'=(\d+)", axes))
    order = re.search(r"device_ids=\(\[([\d,]+)\]T\(([\d,]+)\)\)", ids)
    numbers = np.arange(math.prod(map(int, sizes.values())))
    if order:
        shape, turn = map(_integers, order.groups())
        numbers = numbers.reshape(shape).transpose(turn)
    grid = numbers.reshape([int(size) for size in sizes.values()])
    names = re.findall(r"'([^']+)'", chosen)
    first = tuple(slice(None) if axis in names else 0 for axis in sizes)
    return tuple(grid[first].reshape(-1).tolist())


def _integers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]


def _result_arrays(instruction: Instruction) -> Sequence[ResultArray]:
    """Returns the arrays of the results; a `-start` lists its operands before them."""
    arrays = [array for array in instruction.results if (array.kind, array.shape) != ("u32", ())]
    if instruction.opcode.endswith("-start") and instruction.opcode != "all-reduce-start":
        return arrays[len(arrays) // 2 :]
    return arrays


def _axes(group: tuple[int, ...], mesh: dict[str, int]) -> tuple[str, ...]:
    coordinates = np.unravel_index(group, tuple(mesh.values()))
    return tuple(
        axis for axis, along in zip(mesh, coordinates, strict=True) if len(set(along.tolist())) > 1
    )


def _origin(
    program: Program,
    computation: str,
    instruction: Instruction,
    parameters: int,
    rows: int,
    *,
    kind: str,
    axes: tuple[str, ...],
    part: Part,
) -> Origin:
    """Returns the origin of a value that a collective moves.

    Args:
        program: compiled step.
        computation: name of the computation that holds the collective.
        instruction: the collective, or the fusion that holds it.
        parameters: number of the step's first arguments that are the model's arrays.
        rows: number of rows of a batch.
        kind: kind of the collective. In the backward pass a sum over the axes that split the batch
            is of gradients; so is a reduce-scatter in the forward pass, where the loss makes them,
            as activations are not scattered across these axes.
        axes: mesh axes that the collective crosses.
        part: the value.
    """
    per_row = all(math.prod(array.shape) == rows for array in part.results)
    if instruction.opcode.startswith("all-gather") and per_row and computation == program.entry:
        return "reports"
    has_floats = any("f" in array.kind for array in instruction.results)
    if instruction.opcode.startswith("all-to-all") and not has_floats:
        return "counts"
    sources = set(_Trace(program).sources(computation, part.operand))
    if sources and None not in sources:
        in_model = all(source is not None and source < parameters for source in sources)
        return "parameters" if in_model else "optimizer"
    if kind not in SUMS:
        return "activations" if IN_MODEL in part.operation else "optimizer"
    operation = _operation(instruction, program.computations[computation])
    if (BACKWARD in operation or kind == "reduce-scatter") and set(axes) <= BATCH_AXES:
        return "gradients"
    return "activations" if IN_MODEL in operation else "optimizer"


def _operation(instruction: Instruction, values: Computation) -> str:
    """Returns the name of the traced operation; where XLA names none, that of its operand."""
    while not instruction.operation and instruction.operands:
        before = values.get(instruction.operands[0])
        if before is None:
            break
        instruction = before
    return instruction.operation


def arguments_of(call: Instruction, values: Computation) -> tuple[str, ...]:
    """Returns the names of a call's arguments; calls on SparseCores have them at their update."""
    updates = (
        value.operands[1:]
        for value in values.values()
        if value.opcode == "call-update" and value.operands[0] == call.name
    )
    return call.operands + tuple(itertools.chain.from_iterable(updates))


class _Trace:
    """A trace of a value back to those of the step's arguments that reach it unchanged.

    Its functions yield the numbers of the arguments, and None for what is computed.
    """

    def __init__(self, program: Program):
        self._program = program
        self._seen: set[tuple[str, str]] = set()

    def sources(self, computation: str, name: str) -> Iterator[int | None]:
        """Yields the sources of a value; nothing for one that was traced before."""
        if (computation, name) in self._seen:
            return
        self._seen.add((computation, name))
        values = self._program.computations[computation]
        value = values.get(name)
        if value is None:
            yield None
        elif value.opcode == "parameter":
            yield from self._argument_sources(computation, int(value.literal))
        elif value.opcode == "get-tuple-element":
            yield from self._element_sources(computation, value)
        elif value.opcode == "fusion":
            yield from self._fusion_sources(value, 0)
        elif value.opcode in CALLS_DONE:
            yield from self._call_sources(value, values, 0)
        elif value.opcode == "recv":
            sent = sender(value, values)
            yield from [None] if sent is None else self.sources(computation, sent.operands[0])
        elif value.opcode == STACK:  # the stack, and the value written into it
            for operand in value.operands[:2]:
                yield from self.sources(computation, operand)
        elif value.opcode not in MOVES:
            yield None
        elif value.operands:
            yield from self.sources(computation, value.operands[0])

    def _argument_sources(self, computation: str, number: int) -> Iterator[int | None]:
        """Yields the sources of an argument of a computation at all of its calls."""
        if computation == self._program.entry:
            yield number
            return
        calls = [
            (caller, arguments_of(call, self._program.computations[caller])[number])
            for caller, call in self._program.callers.get(computation, [])
            if call.opcode in CALLS
        ]
        if not calls:
            yield None
        for caller, operand in calls:
            yield from self.sources(caller, operand)

    def _element_sources(self, computation: str, element: Instruction) -> Iterator[int | None]:
        """Yields the sources of an element of a tuple."""
        index = int(element.attribute("index") or 0)
        values = self._program.computations[computation]
        whole = values[element.operands[0]]
        if whole.opcode == "tuple":
            yield from self.sources(computation, whole.operands[index])
        elif whole.opcode == "parameter" and computation != self._program.entry:
            yield from self._variable_sources(computation, index)
        elif whole.opcode == "while":
            yield from self._variable_sources(whole.attribute("body") or "", index)
        elif whole.opcode == "fusion":
            yield from self._fusion_sources(whole, index)
        elif whole.opcode in CALLS_DONE:
            yield from self._call_sources(whole, values, index)
        elif whole.opcode in ("all-gather", "all-gather-done"):  # of several arrays at once
            start = values[whole.operands[0]] if whole.opcode == "all-gather-done" else whole
            yield from self.sources(computation, start.operands[index])
        elif whole.opcode == "recv-done":
            yield from self.sources(computation, whole.name)
        else:
            yield None

    def _call_sources(
        self, done: Instruction, values: Computation, index: int
    ) -> Iterator[int | None]:
        """Yields the sources of one result of an asynchronous call."""
        call = done
        while call.operands and not call.called:
            call = values[call.operands[0]]
        for called in call.called:
            yield from self._result_sources(called, index)

    def _fusion_sources(self, fusion: Instruction, index: int) -> Iterator[int | None]:
        """Yields the sources of one result of a fusion."""
        yield from self._result_sources(fusion.attribute("calls") or "", index)

    def _result_sources(self, called: str, index: int) -> Iterator[int | None]:
        """Yields the sources of one result of a computation."""
        root = root_of(self._program.computations[called])
        several = root.opcode in ("tuple", "all-gather")  # of several arrays at once
        yield from self.sources(called, root.operands[index] if several else root.name)

    def _variable_sources(self, body: str, index: int) -> Iterator[int | None]:
        """Yields the sources of a loop's variable: before the loop, and after the loop's body."""
        variable = body, f"variable {index}"
        if variable in self._seen:
            return
        self._seen.add(variable)
        loops = [
            (caller, self._program.computations[caller][loop.operands[0]])
            for caller, loop in self._program.callers.get(body, [])
            if loop.opcode == "while"
        ]
        for computation, whole in [(body, root_of(self._program.computations[body])), *loops]:
            if whole.opcode == "tuple":
                yield from self.sources(computation, whole.operands[index])
            else:
                yield None


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
    def name(self) -> str:
        """Kind of the collective, and where it goes."""
        return f"{self.kind} between slices"

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
    for _, instruction, times in program.executed_instructions():
        if instruction.opcode == "send" and (kind := TRANSFER.search(instruction.attributes)):
            name = kind.group(1).lower().replace("_", "-")
            moved = instruction.results[0]
            taking_part = _slices_taking_part(instruction) or slices
            yield SliceTransfer(name, times, moved.size, taking_part, "f" not in moved.kind)


def _slices_taking_part(send: Instruction) -> int:
    """Returns the number of slices of a transfer's first group; 0 if it does not state them."""
    if named := SLICES.search(send.attributes):
        return len(named.group(1).split(","))
    listed = DEVICES.search(send.attributes)
    numbers = listed.group(1).split(",") if listed else []
    return len({int(number) // 100_000 for number in numbers})


def sender(received: Instruction, values: Computation) -> Instruction | None:
    """Returns the `send` of the same computation that a `recv` belongs to."""
    rendezvous = RENDEZVOUS.findall(received.attributes)[:1]
    sends = (value for value in values.values() if rendezvous and value.opcode == "send")
    return next((v for v in sends if RENDEZVOUS.findall(v.attributes)[:1] == rendezvous), None)
