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

import math
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from pipeline.planning.hlo.program import Instruction, Program

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
    "get-tuple-element",
    "opt-barrier",
    "parameter",
    "recv-done",  # the part of the same array that another slice stores
    "reshape",
    "slice",
    "transpose",
    "tuple",
}
STACK = "dynamic-update-slice"
CALLS = ("call", "call-start", "async-start")
IN_MODEL = "jvp("  # part of the name of every operation of the forward and backward pass
BACKWARD = "transpose("  # part of the name of every operation of the backward pass
SUMS = ("all-reduce", "reduce-scatter", "collective-permute")  # or, the last, parts of sums
BATCH_AXES = {"replica", "data", "slice", "expert"}
Origin = Literal["parameters", "gradients", "optimizer", "activations", "counts", "reports"]


def origin_of(
    program: Program,
    computation: str,
    instruction: Instruction,
    parameters: int,
    rows: int,
    *,
    kind: str,
    axes: tuple[str, ...],
) -> Origin:
    """Returns the origin of the value that a collective moves.

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
    """
    per_row = all(math.prod(array.shape) == rows for array in instruction.results)
    if instruction.opcode.startswith("all-gather") and per_row and computation == program.entry:
        return "reports"
    if instruction.opcode.startswith("all-to-all") and not _has_floats(instruction):
        return "counts"
    sources = set(_sources(program, computation, instruction.operands[0], set()))
    if sources and None not in sources:
        in_model = all(source is not None and source < parameters for source in sources)
        return "parameters" if in_model else "optimizer"
    if kind not in SUMS:
        return "activations" if IN_MODEL in instruction.operation else "optimizer"
    operation = _operation(instruction, program.computations[computation])
    if (BACKWARD in operation or kind == "reduce-scatter") and set(axes) <= BATCH_AXES:
        return "gradients"
    return "activations" if IN_MODEL in operation else "optimizer"


def _operation(instruction: Instruction, values: dict[str, Instruction]) -> str:
    """Returns the name of the traced operation; where XLA names none, that of its operand."""
    while not instruction.operation and instruction.operands:
        before = values.get(instruction.operands[0])
        if before is None:
            break
        instruction = before
    return instruction.operation


def _has_floats(instruction: Instruction) -> bool:
    return any("f" in array.kind for array in instruction.results)


def _sources(
    program: Program, computation: str, name: str, seen: set[tuple[str, str]]
) -> Iterator[int | None]:
    """Yields the numbers of the step's arguments that reach a value unchanged; None if computed."""
    if (computation, name) in seen:
        return
    seen.add((computation, name))
    one = program.computations[computation].get(name)
    if one is None:
        yield None
    elif one.opcode == "parameter" and computation == program.entry:
        yield int(one.literal)
    elif one.opcode == "parameter":
        yield from _of_argument(program, computation, int(one.literal), seen)
    elif one.opcode == "recv":
        sent = sender(one, program.computations[computation])
        source = None if sent is None else sent.operands[0]
        yield from [None] if source is None else _sources(program, computation, source, seen)
    elif one.opcode == "get-tuple-element":
        yield from _of_tuple(program, computation, one, seen)
    elif one.opcode == "fusion":
        yield from _of_fusion(program, computation, one, 0, seen)
    elif (moved := _operands_moved(one)) is None:
        yield None
    else:
        for operand in moved:
            yield from _sources(program, computation, operand, seen)


def _of_argument(
    program: Program, called: str, number: int, seen: set[tuple[str, str]]
) -> Iterator[int | None]:
    """Traces an argument of a called computation, such as a collective on a SparseCore."""
    operands = [
        (caller, one.operands[number])
        for caller, values in program.computations.items()
        for one in values.values()
        if one.opcode in CALLS and called in (one.attribute("to_apply"), one.attribute("calls"))
    ]
    if not operands:
        yield None
    for caller, operand in operands:
        yield from _sources(program, caller, operand, seen)


def _operands_moved(one: Instruction) -> tuple[str, ...] | None:
    """Returns the operands that an instruction only moves; None if it computes."""
    if one.opcode == STACK:
        return one.operands[:2]  # the stack, and the value written into it
    return one.operands[:1] if one.opcode in MOVES else None


def _of_fusion(
    program: Program, computation: str, fusion: Instruction, index: int, seen: set[tuple[str, str]]
) -> Iterator[int | None]:
    """Traces one result of a fusion to the operands that reach it unchanged."""
    called = program.computations[fusion.attribute("calls") or ""]
    for number in _moved(program, called, _result(called, index)):
        if number is None:
            yield None
        else:
            yield from _sources(program, computation, fusion.operands[number], seen)


def _result(called: dict[str, Instruction], index: int) -> str:
    one = next(instruction for instruction in called.values() if instruction.root)
    return one.operands[index] if one.opcode == "tuple" else one.name


def _moved(program: Program, called: dict[str, Instruction], name: str) -> Iterator[int | None]:
    """Yields the fused computation's parameters that reach a value unchanged; None if computed."""
    one = called[name]
    if one.opcode == "parameter":
        yield int(one.literal)
    elif one.opcode == "fusion":
        inner = program.computations[one.attribute("calls") or ""]
        for number in _moved(program, inner, _result(inner, 0)):
            if number is None:
                yield None
            else:
                yield from _moved(program, called, one.operands[number])
    elif (moved := _operands_moved(one)) is None:
        yield None
    else:
        for operand in moved:
            yield from _moved(program, called, operand)


def _of_tuple(
    program: Program, computation: str, one: Instruction, seen: set[tuple[str, str]]
) -> Iterator[int | None]:
    index = int(one.attribute("index") or 0)
    source = program.computations[computation][one.operands[0]]
    if source.opcode == "tuple":
        yield from _sources(program, computation, source.operands[index], seen)
    elif source.opcode == "parameter" and computation != program.entry:
        yield from _of_loop(program, computation, index, seen)
    elif source.opcode == "while":
        yield from _of_loop(program, source.attribute("body") or "", index, seen)
    elif source.opcode == "fusion":
        yield from _of_fusion(program, computation, source, index, seen)
    elif source.opcode in ("all-gather", "all-gather-done"):  # of several arrays at once
        done = source.opcode == "all-gather-done"
        start = program.computations[computation][source.operands[0]] if done else source
        yield from _sources(program, computation, start.operands[index], seen)
    elif source.opcode == "recv-done":
        yield from _sources(program, computation, source.name, seen)
    else:
        yield None


def _of_loop(
    program: Program, body: str, index: int, seen: set[tuple[str, str]]
) -> Iterator[int | None]:
    """Traces a loop variable to its initial value and to its value after the loop's body."""
    variable = body, f"variable {index}"
    if variable in seen:
        return
    seen.add(variable)
    values = program.computations[body]
    if next(one for one in values.values() if one.root).opcode != "tuple":
        yield None
        return
    yield from _sources(program, body, _result(values, index), seen)
    for caller, others in program.computations.items():
        for loop in others.values():
            if loop.opcode == "while" and loop.attribute("body") == body:
                before = others[loop.operands[0]]
                if before.opcode == "tuple":
                    yield from _sources(program, caller, before.operands[index], seen)
                else:
                    yield None


RAGGED = "ragged-all-to-all"
KINDS = ("all-to-all", RAGGED, "all-gather", "all-reduce", "reduce-scatter", "collective-permute")


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
    found, fusions = [], _fusions(program)
    for computation, instruction, times in program.executed():
        kind = instruction.opcode.removesuffix("-start")
        if kind not in KINDS:
            continue
        group = _group(instruction, math.prod(mesh.values()))
        if len(group) == 1:
            continue
        axes, size = _axes(group, mesh), _result_size(instruction)
        if kind == RAGGED:
            size = min(size, program.computations[computation][instruction.operands[0]].size)
        place = computation, instruction
        if computation in fusions:
            place = fusions[computation]
            kind, size = _fused(kind, size, program.computations[computation])
        origin = origin_of(program, *place, parameters, rows, kind=kind, axes=axes)
        found.append(Collective(kind, origin, axes, group, times, size, _pairs(instruction)))
    return found


def _fusions(program: Program) -> dict[str, tuple[str, Instruction]]:
    """Returns each fused computation's fusion, with the computation that holds it."""
    return {
        one.attribute("calls") or "": (name, one)
        for name, computation in program.computations.items()
        for one in computation.values()
        if one.opcode == "fusion"
    }


def _fused(kind: str, size: int, computation: dict[str, Instruction]) -> tuple[str, int]:
    """Returns kind and size of a fused collective: an all-reduce that is sliced scatters."""
    (root,) = (one for one in computation.values() if one.root)
    if kind == "all-reduce" and root.opcode == "dynamic-slice":
        return "reduce-scatter", root.size
    return kind, size


def _result_size(instruction: Instruction) -> int:
    """Returns the bytes of the results; a `-start` lists its operands before them."""
    arrays = [one for one in instruction.results if (one.kind, one.shape) != ("u32", ())]
    if instruction.opcode.endswith("-start") and instruction.opcode != "all-reduce-start":
        arrays = arrays[len(arrays) // 2 :]
    return sum(one.size for one in arrays)


def _axes(group: tuple[int, ...], mesh: dict[str, int]) -> tuple[str, ...]:
    coordinates = np.unravel_index(group, tuple(mesh.values()))
    return tuple(
        axis for axis, along in zip(mesh, coordinates, strict=True) if len(set(along.tolist())) > 1
    )


def _group(instruction: Instruction, devices: int) -> tuple[int, ...]:
    """Returns the first group of a collective; XLA has four notations for groups."""
    if pairs := _pairs(instruction):
        return pairs[0]
    text = instruction.attributes
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", text):
        return tuple(_integers(listed.group(1)))
    if iota := re.search(r"replica_groups=(\[[^\s]*\]<=\[[\d,]+\](?:T\([\d,]+\))?)", text):
        return tuple(_iota(iota.group(1))[0].tolist())
    if mesh := re.search(r"replica_groups=mesh\[([^\]]*)\](.*?)\{([^}]*)\}", text):
        return _mesh_group(*mesh.groups())
    return tuple(range(devices))


def _pairs(instruction: Instruction) -> tuple[tuple[int, int], ...]:
    """Returns the pairs of a permute whose devices differ, or all if none do; else nothing."""
    listed = re.search(r"source_target_pairs=\{([^a-z]*)\}", instruction.attributes)
    numbers = re.findall(r"\{(\d+),(\d+)\}", listed.group(1) if listed else "")
    pairs = tuple((int(source), int(target)) for source, target in numbers)
    return tuple(pair for pair in pairs if pair[0] != pair[1]) or pairs


def _iota(text: str) -> np.ndarray:
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
