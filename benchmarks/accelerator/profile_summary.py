"""Where the time of a step goes, from a profile: shares by kind of operation, and idle time.

A profile names the instruction of the compiled program for each event on a device, and that
program shows what it does. Events of one line nest (a loop holds its body's), so each counts
without the events inside it. Lines run side by side, so shares may add up to more than the whole.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from pipeline.planning.hlo.program import Instruction, Program

COLLECTIVE = re.compile(r"all-(gather|reduce|to-all)|reduce-scatter|collective-permute|nccl")
PRODUCT = re.compile(r"dot|convolution|gemm|matmul|cublas|cutlass|nvjet|xmma")
COPY = re.compile(r"copy|memcpy|memset")
KERNEL = re.compile(r"tpu_custom_call|triton|mosaic")
FIRST_DEVICE = re.compile(r"/device:(GPU|TPU):0$")
LINE = re.compile(r"Stream|(Async )?XLA Ops$")  # of a GPU; of a TPU
CONTAINERS = ("while", "conditional", "call")
KINDS = ("matrix products", "attention kernels", "collectives", "copies", "other")


class Event(NamedTuple):
    """Work on a device: its line (a stream), time in nanoseconds, instruction and kernel."""

    line: str
    start: float
    stop: float
    instruction: str
    kernel: str


class Summary(NamedTuple):
    """Shares of the time between the first start and the last end.

    Attributes:
        seconds: that time.
        shares: share by kind; each of `KINDS`.
        idle: share in which nothing ran.
        collectives_alone: share in which collectives ran and nothing else did.
    """

    seconds: float
    shares: dict[str, float]
    idle: float
    collectives_alone: float


def summary(events: Sequence[Event], kinds: dict[str, str]) -> Summary:
    """Returns the shares of events whose instructions are of the given kinds.

    Raises:
        ValueError: if there are no events.
    """
    if not events:
        raise ValueError("The profile holds no event of a device; was the step inside the trace?")
    whole = max(one.stop for one in events) - min(one.start for one in events)
    spent: dict[str, float] = dict.fromkeys(KINDS, 0.0)
    busy, others = [], []
    for event, own in without_nested(events):
        kind = kind_of(event, kinds)
        if kind is None:
            continue
        spent[kind] += sum(stop - start for start, stop in own)
        busy += own
        others += own if kind != "collectives" else []
    alone = covered(busy) - covered(others)
    shares = {kind: time / whole for kind, time in spent.items()}
    return Summary(whole / 1e9, shares, 1 - covered(busy) / whole, alone / whole)


def kind_of(event: Event, kinds: dict[str, str]) -> str | None:
    """Returns an event's kind, by its instruction or else by its kernel; None for a container."""
    found = kinds.get(event.instruction) or kind_of_name(event.kernel.lower())
    return None if found in CONTAINERS else found


def kind_of_name(name: str) -> str:
    """Returns the kind of a name: of an opcode, of the target of a library call, of a kernel."""
    for pattern, kind in ((COLLECTIVE, 2), (COPY, 3), (PRODUCT, 0), (KERNEL, 1)):
        if pattern.search(name):
            return KINDS[kind]
    return "other"


def kinds_of(program: Program) -> dict[str, str]:
    """Returns the kind of every instruction of a program, containers by their opcode."""
    return {
        one.name: _kind(program, one)
        for computation in program.computations.values()
        for one in computation.values()
    }


def _kind(program: Program, one: Instruction) -> str:
    if one.opcode in CONTAINERS:
        return one.opcode
    if one.opcode == "custom-call":
        return kind_of_name((one.attribute("custom_call_target") or "").lower())
    called = one.attribute("calls")
    if one.opcode not in ("fusion", "async-start") or called not in program.computations:
        return kind_of_name(one.opcode)
    inside = {_kind(program, part) for part in program.computations[called].values()}
    for kind in ("collectives", "matrix products", "attention kernels"):
        if kind in inside:
            return kind
    return "other"


def without_nested(events: Iterable[Event]) -> Iterator[tuple[Event, list[tuple[float, float]]]]:
    """Yields every event with its time outside of the events that it holds on its line."""
    lines: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        lines[event.line].append(event)
    for line in lines.values():
        line.sort(key=lambda event: (event.start, -event.stop))
        for number, event in enumerate(line):
            own, at = [], event.start
            for inner in line[number + 1 :]:
                if inner.start >= event.stop:
                    break
                if inner.start > at:
                    own.append((at, inner.start))
                at = max(at, inner.stop)
            yield event, [*own, (at, event.stop)] if at < event.stop else own


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Returns the length of the union of intervals."""
    total, end = 0.0, float("-inf")
    for start, stop in sorted(intervals):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def events_of(directory: Path) -> list[Event]:
    """Returns the events of the first device in the newest profile of a directory."""
    file = max(directory.glob("plugins/profile/*/*.xplane.pb"), key=lambda one: one.stat().st_mtime)
    planes = list(jax.profiler.ProfileData.from_file(str(file)).planes)
    devices = [one for one in planes if FIRST_DEVICE.match(one.name)]
    lines = [line for plane in devices for line in plane.lines if LINE.match(line.name)]
    if not devices:  # a CPU's threads hold other events as well
        lines = [line for plane in planes if plane.name == "/host:CPU" for line in plane.lines]
    return [event for line in lines for event in _events(line, only_instructions=not devices)]


def _events(line: Any, only_instructions: bool) -> Iterator[Event]:
    for event in line.events:
        instruction = dict(event.stats).get("hlo_op")
        if instruction is None and only_instructions:
            continue
        name = str(instruction or event.name).lstrip("%").partition(" ")[0]
        stop = event.start_ns + event.duration_ns
        yield Event(line.name, event.start_ns, stop, name, event.name)
