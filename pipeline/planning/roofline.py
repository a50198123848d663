"""A lower bound of a step's time: each resource at its published peak, all of them overlapping.

Kernels below the peak and stragglers are left out, so a run is slower; by how much can only be
measured. Collectives follow one another on the links, and on the network between slices or hosts of
GPUs. Each takes what its bytes take or what its hops take, whichever is longer.

Bytes are charged for the links that they cross: one link on a ring; for an all-to-all the mean
distance between its devices in the torus, with every link of every device busy; for a permute the
distance of its farthest pair. Hops are the least that any algorithm takes: the longest distance
between two devices of the group, or of a pair, twice for an all-reduce, which sums and then spreads
the sum. Between slices hosts exchange directly, in one step or, for an all-reduce, two.

Sources: Williams et al. 2009 for the roofline; "How to Scale Your Model"
(jax-ml.github.io/scaling-book) for collectives on a torus.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from model.sharding.mesh import arrange_devices
from pipeline.hardware.peaks import bandwidth, latency, peak_flops
from pipeline.planning.compiled_step import CompiledStep
from pipeline.planning.hlo.collectives import (
    RAGGED,
    Collective,
    SliceTransfer,
    collectives,
    slice_transfers,
)
from pipeline.planning.hlo.program import Program
from pipeline.planning.hlo.work import (
    Products,
    kernel_flops,
    products,
    traffic_bytes,
    unknown_calls,
)
from pipeline.planning.topology import Topology


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


@dataclass(frozen=True)
class Roofline:
    """Work of one device per step, and the least time that each resource needs for it.

    Attributes:
        products: matrix products of a device.
        traffic_bytes: bytes to and from main memory.
        collectives: collectives within a slice.
        slice_transfers: transfers between slices.
        unknown_calls: executions of kernels that state no cost, by name; their FLOPs are missing.
        kernel_flops: FLOPs of these products that kernels state.
        transfers: bytes and hops of the collectives and of the transfers.
        peak: FLOPs per second of all devices; 0 if unknown.
        seconds: least time by resource; None if a peak rate is unknown.
        hops_seconds: time of the hops of all collectives, one after the other, without bytes.
    """

    products: Products
    traffic_bytes: int
    collectives: list[Collective]
    slice_transfers: list[SliceTransfer]
    unknown_calls: dict[str, int]
    kernel_flops: int
    transfers: list[Transfer]
    peak: float
    seconds: dict[str, float] | None
    hops_seconds: float


def roofline(step: CompiledStep, program: Program) -> Roofline:
    """Returns the roofline of a compiled step."""
    recipe, topology = step.recipe, step.topology
    # A program for several slices of TPUs numbers the devices of one, which are consecutive. One
    # for GPUs numbers all by their place in the mesh, where a host's may not be consecutive.
    if topology.slices > 1:
        mesh, as_numbered = recipe.mesh.within_slice, topology
    else:
        devices = arrange_devices(recipe.mesh, topology.devices).flat
        mesh, as_numbered = recipe.mesh.sizes, replace(topology, devices=tuple(devices))
    multiplied, moved = products(program), traffic_bytes(program)
    in_slices = collectives(program, mesh, step.arrays, recipe.rows)
    between_slices = list(slice_transfers(program, topology.slices))
    costs = transfers(in_slices, between_slices, as_numbered)
    return Roofline(
        products=multiplied,
        traffic_bytes=moved,
        collectives=in_slices,
        slice_transfers=between_slices,
        unknown_calls=unknown_calls(program),
        kernel_flops=kernel_flops(program),
        transfers=costs,
        peak=(peak_flops(topology.kind) or 0.0) * len(topology.devices),
        seconds=least_seconds(topology.kind, multiplied.passes, moved, costs),
        hops_seconds=hops_seconds(topology.kind, costs),
    )


def transfers(
    collectives: list[Collective], between_slices: list[SliceTransfer], topology: Topology
) -> list[Transfer]:
    """Returns a step's transfers, equal ones as one."""
    counts: Counter[Transfer] = Counter()
    for transfer in _transfers(collectives, between_slices, topology):
        counts[transfer._replace(executions=1)] += transfer.executions
    return [transfer._replace(executions=count) for transfer, count in counts.items()]


def _transfers(
    collectives: list[Collective], between_slices: list[SliceTransfer], topology: Topology
) -> Iterator[Transfer]:
    for collective in collectives:
        pairs, rounds = collective.pairs, 2 if collective.kind == "all-reduce" else 1
        network = to_other_hosts(collective, topology)
        yield Transfer(
            name=collective.name,
            executions=collective.executions,
            link_bytes=bytes_times_links(collective, topology),
            hops=topology.farthest(pairs) if pairs else rounds * topology.reach(collective.group),
            network_bytes=network,
            steps=rounds if network else 0,
        )
    for far in between_slices:
        yield Transfer(far.name, far.executions, 0.0, 0, far.sent, far.steps)


def bytes_times_links(collective: Collective, topology: Topology) -> float:
    """Returns bytes times links that a collective costs a device, per execution."""
    if collective.kind in ("all-to-all", RAGGED):
        return collective.size * topology.hops(collective.group)
    return collective.sent * (topology.farthest(collective.pairs) if collective.pairs else 1)


def to_other_hosts(collective: Collective, topology: Topology) -> float:
    """Returns the bytes that a GPU sends to other hosts, per execution; 0 for TPUs.

    A gather or reduction runs within each host first, so the GPUs of a host share the transfer.
    """
    if not topology.is_gpu:
        return 0.0
    # Of a permute the pair that crosses, if any does: it ends last.
    groups = [
        Counter(topology.devices[position].process_index for position in group)
        for group in collective.pairs or (collective.group,)
    ]
    hosts = max(groups, key=len)
    if len(hosts) == 1:
        return 0.0
    size, gpus, others = collective.size, max(hosts.values()), 1 - 1 / len(hosts)
    crossing = {
        "all-to-all": size * others,
        RAGGED: size * others,
        "all-gather": size * others / gpus,
        "all-reduce": 2 * size * others / gpus,
        "reduce-scatter": size * len(collective.group) * others / gpus,
        "collective-permute": float(size),
    }
    return crossing[collective.kind]


def least_seconds(
    device_kind: str, passes: float, traffic: float, costs: list[Transfer]
) -> dict[str, float] | None:
    """Returns the least time by resource; None if a peak rate is unknown.

    Args:
        device_kind: JAX's name of the device.
        passes: FLOPs of a device, each counted as often as its type needs passes.
        traffic: bytes to and from main memory.
        costs: transfers of a step.
    """
    peak, speeds = peak_flops(device_kind), bandwidth(device_kind)
    delays = latency(device_kind)
    network = sum(cost.executions * cost.network_bytes for cost in costs)
    if peak is None or speeds is None or (network and speeds.network is None):
        return None
    seconds = {
        "matrix products": passes / peak,
        "main memory": traffic / (speeds.memory * 1e9),
        "links": math.fsum(
            cost.executions * max(cost.link_bytes / (speeds.links * 1e9), cost.hops * delays.link)
            for cost in costs
        ),
    }
    if network and speeds.network is not None:
        seconds["network"] = math.fsum(
            cost.executions
            * max(cost.network_bytes / (speeds.network * 1e9), cost.steps * delays.network)
            for cost in costs
        )
    return seconds


def hops_seconds(device_kind: str, costs: list[Transfer]) -> float:
    """Returns the time of the hops of all transfers, one after the other, without their bytes."""
    delays = latency(device_kind)
    return math.fsum(
        cost.executions * (cost.hops * delays.link + cost.steps * delays.network) for cost in costs
    )
