"""Lower bound of a step's time: each resource at its published peak, all of them overlapping.

Sources: Williams et al. 2009 for the roofline; "How to Scale Your Model"
(jax-ml.github.io/scaling-book) for collectives on a torus. A collective is charged for the links
that its bytes cross: one link on a ring; for an all-to-all the mean distance between its devices in
the torus, with every link of every device busy. The network between slices, or between hosts of
GPUs, is charged for the bytes that cross it. Latency, kernels below the peak and stragglers are
left out, so a run is slower; by how much can only be measured.
"""

from collections import Counter
from dataclasses import dataclass

from pipeline.hardware.peaks import bandwidth, peak_flops
from pipeline.planning.between_slices import SliceTransfer, slice_transfers
from pipeline.planning.compiled_step import CompiledStep
from pipeline.planning.hlo.collectives import RAGGED, Collective, collectives
from pipeline.planning.hlo.flops import Products, products
from pipeline.planning.hlo.kernels import kernel_flops, unknown_calls
from pipeline.planning.hlo.memory_traffic import traffic_bytes
from pipeline.planning.hlo.program import Program
from pipeline.planning.topology import Topology

FAR = ("all-to-all", RAGGED, "collective-permute")


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
        peak: FLOPs per second of all devices; 0 if unknown.
        seconds: least time by resource; None if a peak rate is unknown.
    """

    products: Products
    traffic_bytes: int
    collectives: list[Collective]
    slice_transfers: list[SliceTransfer]
    unknown_calls: dict[str, int]
    kernel_flops: int
    peak: float
    seconds: dict[str, float] | None


def roofline(step: CompiledStep, program: Program) -> Roofline:
    """Returns the roofline of a compiled step."""
    recipe, topology = step.recipe, step.topology
    # A program for several slices of TPUs numbers the devices of one; one for GPUs all of them.
    mesh = recipe.mesh.within_slice if topology.slices > 1 else recipe.mesh.sizes
    multiplied, moved = products(program), traffic_bytes(program)
    sent, far = collectives(program, mesh, step.arrays), list(slice_transfers(program))
    work = multiplied, moved, sent, far, unknown_calls(program), kernel_flops(program)
    peak, speeds = peak_flops(topology.kind), bandwidth(topology.kind)
    network = sum(one.executions * one.size for one in far)
    network += sum(to_other_hosts(one, topology) for one in sent)
    if peak is None or speeds is None or (network and speeds.network is None):
        return Roofline(*work, peak=0.0, seconds=None)
    seconds = {
        "matrix products": multiplied.passes / peak,
        "main memory": moved / (speeds.memory * 1e9),
        "links": sum(bytes_times_links(one, topology) for one in sent) / (speeds.links * 1e9),
    }
    if network and speeds.network is not None:
        seconds["network"] = network / (speeds.network * 1e9)
    return Roofline(*work, peak=peak * len(topology.devices), seconds=seconds)


def bytes_times_links(one: Collective, topology: Topology) -> float:
    """Returns bytes times links that a collective costs a device, over all its executions."""
    if one.kind in FAR:
        return one.executions * one.size * topology.hops(one.group)
    return one.executions * one.sent


def to_other_hosts(one: Collective, topology: Topology) -> float:
    """Returns the bytes that a GPU sends to other hosts, over all executions; 0 for TPUs.

    A gather or reduction runs within each host first, so the GPUs of a host share the transfer.
    """
    hosts = Counter(topology.devices[position].process_index for position in one.group)
    if not topology.is_gpu or len(hosts) == 1:
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
    return one.executions * crossing[one.kind]
