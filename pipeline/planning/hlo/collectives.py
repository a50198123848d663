"""Collectives of a compiled program: kind, origin, mesh axes, executions and bytes.

The design (docs/decisions/shapes-declare-sharding.md) has these: per switch layer two all-to-alls
forward and two backward; gathers of stored parameters at each use; reductions of gradients and,
over the model axis, of partial products. A gather of activations is a mistake of the partitioner,
so each collective is classified by the origin of its operand (`origins.py`).

XLA:TPU prints a reduce-scatter as a fusion of an all-reduce with the slice of it that a device
keeps. It moves what a reduce-scatter moves.
"""

import math
import re
from typing import NamedTuple

import numpy as np

from pipeline.planning.hlo.instruction import Instruction
from pipeline.planning.hlo.origins import Origin, origin_of
from pipeline.planning.hlo.program import Program

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
