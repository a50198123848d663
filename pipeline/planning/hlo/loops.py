"""Trip counts of loops: (bound - start) / step, as programs for TPUs do not state them.

A loop's condition compares a counter with a constant, and its body adds a constant to the counter.
A scan counts by one. A loop of XLA's over the shards of a product ("windowed einsum") computes two
shards per trip and counts by two: by its bound alone its work would count double.
"""

import math
import re
from collections.abc import Mapping

from pipeline.planning.hlo.instruction import Instruction

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
