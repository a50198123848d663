"""What a program sends between devices: each collective, how often, over which axes, how much.

The design (docs/decisions/shapes-declare-sharding.md) knows these: two all-to-alls a switch layer
forward and two backward; gathers of stored parameters where they are used; reductions of gradients
and, over the model axis, of partial products. A gather of activations is a mistake of the
partitioner, so gathers are told apart by where their operand comes from: moves only that end in an
argument of the step make it a parameter's (or an optimizer statistic's). A forward loop that stacks
parameters for its backward pass only moves them, too, so what is written into a stack is followed.
"""

import math
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from pipeline.planning.between_slices import sender
from pipeline.planning.program import Instruction, Program

KINDS = ("all-to-all", "all-gather", "all-reduce", "reduce-scatter", "collective-permute")
MOVES = {
    "all-gather",  # an array split over two axes is gathered twice
    "all-gather-done",
    "all-gather-start",
    "bitcast",
    "bitcast-convert",
    "broadcast",  # of the zeros that a stack begins with
    "constant",
    "convert",
    "copy",
    "copy-done",
    "copy-start",
    "dynamic-slice",
    "get-tuple-element",
    "opt-barrier",
    "parameter",
    "recv-done",  # what another slice sent, of the same array
    "reshape",
    "slice",
    "transpose",
    "tuple",
}
STACK = "dynamic-update-slice"
IN_MODEL = "jvp("  # in the name of every operation of the forward and backward pass
Origin = Literal["parameters", "optimizer", "activations", "reports"]


class Collective(NamedTuple):
    """One collective of the program.

    Attributes:
        kind: such as `all-to-all`.
        origin: what it moves: parameters, the optimizer's statistics, what was computed, or what a
            step reports of its rows, a number each, once (JAX 0.12 gathers these).
        axes: of the mesh, over which its groups vary.
        group: places of one group's devices in the mesh, flattened.
        executions: a step.
        size: bytes of its result on one device.
    """

    kind: str
    origin: Origin
    axes: tuple[str, ...]
    group: tuple[int, ...]
    executions: int
    size: int

    @property
    def sent(self) -> float:
        """Bytes that a device sends, and receives, each time; by the best known algorithms."""
        devices = len(self.group)
        others = (devices - 1) / devices
        return {
            "all-to-all": self.size * others,
            "all-gather": self.size * others,
            "all-reduce": 2 * self.size * others,
            "reduce-scatter": self.size * (devices - 1),
            "collective-permute": float(self.size),
        }[self.kind]


def collectives(program: Program, mesh: dict[str, int], parameters: int) -> list[Collective]:
    """Returns what a step sends, without groups of one device.

    Args:
        program: of the step.
        mesh: sizes of its axes, in order.
        parameters: how many of the first arguments are the model's arrays.
    """
    found = []
    for computation, instruction, times in program.everywhere():
        kind = instruction.opcode.removesuffix("-start")
        if kind not in KINDS:
            continue
        group = _group(instruction, math.prod(mesh.values()))
        if len(group) > 1:
            origin = _origin(program, computation, instruction, parameters)
            size = _result_size(instruction)
            axes = _axes(group, mesh)
            found.append(Collective(kind, origin, axes, group, times, size))
    return found


def _result_size(instruction: Instruction) -> int:
    if instruction.opcode.endswith("-start"):  # its result holds operands, too
        return instruction.results[len(instruction.results) // 2].size
    return instruction.size


def _axes(group: tuple[int, ...], mesh: dict[str, int]) -> tuple[str, ...]:
    places = np.unravel_index(group, tuple(mesh.values()))
    return tuple(
        axis for axis, along in zip(mesh, places, strict=True) if len(set(along.tolist())) > 1
    )


def _group(instruction: Instruction, devices: int) -> tuple[int, ...]:
    """Returns the first group of a collective; XLA writes groups in three ways."""
    text = instruction.attributes
    if pairs := re.search(r"source_target_pairs=\{\{(\d+),(\d+)\}", text):
        return tuple(int(place) for place in pairs.groups())
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", text):
        return tuple(int(place) for place in listed.group(1).split(","))
    if iota := re.search(r"replica_groups=(\[[^\s]*\]<=\[[\d,]+\](?:T\([\d,]+\))?)", text):
        return tuple(_iota(iota.group(1))[0].tolist())
    if mesh := re.search(r"replica_groups=mesh\[([^\]]*)\](.*?)\{([^}]*)\}", text):
        return _mesh_group(*mesh.groups())
    return tuple(range(devices))


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


def _origin(
    program: Program, computation: str, instruction: Instruction, parameters: int
) -> Origin:
    vector = all(len(array.shape) <= 1 for array in instruction.results)
    if instruction.opcode.startswith("all-gather") and vector and computation == program.entry:
        return "reports"
    sources = set(_sources(program, computation, instruction.operands[0], set()))
    if sources and None not in sources:
        in_model = all(source is not None and source < parameters for source in sources)
        return "parameters" if in_model else "optimizer"
    return "activations" if IN_MODEL in instruction.operation else "optimizer"


def _sources(
    program: Program, computation: str, name: str, seen: set[tuple[str, str]]
) -> Iterator[int | None]:
    """Yields numbers of the step's arguments that a value is a move of; None where computed."""
    if (computation, name) in seen:
        return
    seen.add((computation, name))
    one = program.computations[computation].get(name)
    if one is None:
        yield None
    elif one.opcode == "parameter":
        yield int(one.literal) if computation == program.entry else None
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


def _operands_moved(one: Instruction) -> tuple[str, ...] | None:
    """Returns the operands whose values an instruction only moves; None if it computes."""
    if one.opcode == STACK:
        return one.operands[:2]  # what was there, and what is written into it
    return one.operands[:1] if one.opcode in MOVES else None


def _of_fusion(
    program: Program, computation: str, fusion: Instruction, place: int, seen: set[tuple[str, str]]
) -> Iterator[int | None]:
    """Follows one result of a fusion to the operands that it is a move of."""
    called = program.computations[fusion.attribute("calls") or ""]
    for number in _moved(program, called, _result(called, place)):
        if number is None:
            yield None
        else:
            yield from _sources(program, computation, fusion.operands[number], seen)


def _result(called: dict[str, Instruction], place: int) -> str:
    one = next(instruction for instruction in called.values() if instruction.root)
    return one.operands[place] if one.opcode == "tuple" else one.name


def _moved(program: Program, called: dict[str, Instruction], name: str) -> Iterator[int | None]:
    """Yields which parameters of a fused computation a value is a move of; None if computed."""
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
    place = int(one.attribute("index") or 0)
    source = program.computations[computation][one.operands[0]]
    if source.opcode == "tuple":
        yield from _sources(program, computation, source.operands[place], seen)
    elif source.opcode == "parameter" and computation != program.entry:
        yield from _of_loop(program, computation, place, seen)
    elif source.opcode == "while":
        yield from _of_loop(program, source.attribute("body") or "", place, seen)
    elif source.opcode == "fusion":
        yield from _of_fusion(program, computation, source, place, seen)
    elif source.opcode == "recv-done":
        yield from _sources(program, computation, source.name, seen)
    else:
        yield None


def _of_loop(
    program: Program, body: str, place: int, seen: set[tuple[str, str]]
) -> Iterator[int | None]:
    """Follows a loop's variable to what the loop is given and to what its body makes of it."""
    variable = body, f"variable {place}"
    if variable in seen:
        return
    seen.add(variable)
    values = program.computations[body]
    if next(one for one in values.values() if one.root).opcode != "tuple":
        yield None
        return
    yield from _sources(program, body, _result(values, place), seen)
    for caller, others in program.computations.items():
        for loop in others.values():
            if loop.opcode == "while" and loop.attribute("body") == body:
                before = others[loop.operands[0]]
                if before.opcode == "tuple":
                    yield from _sources(program, caller, before.operands[place], seen)
                else:
                    yield None
