"""What each collective of a step costs a device, in bytes and hops, whatever the speeds.

Bytes are charged for the links that they cross: one link on a ring; for an all-to-all the mean
distance between its devices in the torus, with every link of every device busy; for a permute the
distance of its farthest pair. Hops are the least that any algorithm takes: the longest distance
between two devices of the group, or of a pair, twice for an all-reduce, which sums and then spreads
the sum. Between slices hosts exchange directly, in one step or, for an all-reduce, two.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.planning.between_slices import SliceTransfer
from pipeline.planning.hlo.collectives import RAGGED, Collective
from pipeline.planning.topology import Topology

FAR = ("all-to-all", RAGGED)


class Transfer(NamedTuple):
    """Equal collectives of a step, from one device.

    Attributes:
        name: kind, origin and mesh axes.
        executions: number of executions per step.
        link_bytes: bytes times links that they cross, per execution.
        hops: number of links in sequence.
        network_bytes: bytes to other slices, or of GPUs to other hosts, per execution.
        steps: number of messages over the network in sequence.
    """

    name: str
    executions: int
    link_bytes: float
    hops: int
    network_bytes: float
    steps: int


def transfers(
    collectives: list[Collective], between_slices: list[SliceTransfer], topology: Topology
) -> list[Transfer]:
    """Returns a step's transfers, equal ones as one."""
    counts: Counter[Transfer] = Counter()
    for one in (*_in_slices(collectives, topology), *_across(between_slices)):
        counts[one._replace(executions=1)] += one.executions
    return [one._replace(executions=executions) for one, executions in counts.items()]


def _in_slices(collectives: list[Collective], topology: Topology) -> Iterator[Transfer]:
    for one in collectives:
        rounds = 2 if one.kind == "all-reduce" else 1
        network = to_other_hosts(one, topology)
        yield Transfer(
            name=f"{one.kind} of {one.origin} over {' x '.join(one.axes)}",
            executions=one.executions,
            link_bytes=bytes_times_links(one, topology),
            hops=topology.farthest(one.pairs) if one.pairs else rounds * topology.reach(one.group),
            network_bytes=network,
            steps=rounds if network else 0,
        )


def _across(between_slices: list[SliceTransfer]) -> Iterator[Transfer]:
    for one in between_slices:
        name = f"{one.kind} between slices"
        yield Transfer(name, one.executions, 0.0, 0, one.sent, one.steps)


def bytes_times_links(one: Collective, topology: Topology) -> float:
    """Returns bytes times links that a collective costs a device, per execution."""
    if one.kind in FAR:
        return one.size * topology.hops(one.group)
    return one.sent * topology.farthest(one.pairs) if one.pairs else one.sent


def to_other_hosts(one: Collective, topology: Topology) -> float:
    """Returns the bytes that a GPU sends to other hosts, per execution; 0 for TPUs.

    A gather or reduction runs within each host first, so the GPUs of a host share the transfer.
    """
    if not topology.is_gpu:
        return 0.0
    # Of a permute the pair that crosses, if any does: it ends last.
    groups = [
        Counter(topology.devices[position].process_index for position in group)
        for group in one.pairs or (one.group,)
    ]
    hosts = max(groups, key=len)
    if len(hosts) == 1:
        return 0.0
    each, others = max(hosts.values()), 1 - 1 / len(hosts)
    crossing = {
        "all-to-all": one.size * others,
        RAGGED: one.size * others,
        "all-gather": one.size * others / each,
        "all-reduce": 2 * one.size * others / each,
        "reduce-scatter": one.size * len(one.group) * others / each,
        "collective-permute": float(one.size),
    }
    return crossing[one.kind]
