"""Lower bound of a step's time: each resource at its published peak, all of them overlapping.

Sources: Williams et al. 2009 for the roofline; "How to Scale Your Model"
(jax-ml.github.io/scaling-book) for collectives on a torus. Collectives follow one another on the
links, and on the network between slices or hosts of GPUs. As in that book, each takes what its
bytes take or what its hops take, whichever is longer (`transfers.py`). Kernels below the peak and
stragglers are left out, so a run is slower; by how much can only be measured.
"""

import math
from dataclasses import dataclass, replace

from model.config import MeshShape
from model.sharding.mesh import arranged
from pipeline.hardware.peaks import bandwidth, latency, peak_flops
from pipeline.planning.between_slices import SliceTransfer, slice_transfers
from pipeline.planning.compiled_step import CompiledStep
from pipeline.planning.hlo.collectives import Collective, collectives
from pipeline.planning.hlo.flops import Products, products
from pipeline.planning.hlo.kernels import kernel_flops, unknown_calls
from pipeline.planning.hlo.memory_traffic import traffic_bytes
from pipeline.planning.hlo.program import Program
from pipeline.planning.topology import Topology
from pipeline.planning.transfers import Transfer, transfers


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
    # A program for several slices of TPUs numbers the devices of one; one for GPUs all of them.
    mesh = recipe.mesh.within_slice if topology.slices > 1 else recipe.mesh.sizes
    multiplied, moved = products(program), traffic_bytes(program)
    sent = collectives(program, mesh, step.arrays, recipe.rows)
    far = list(slice_transfers(program, topology.slices))
    work = multiplied, moved, sent, far, unknown_calls(program), kernel_flops(program)
    costs = transfers(sent, far, as_numbered(topology, recipe.mesh))
    peak = peak_flops(topology.kind) or 0.0
    return Roofline(
        *work,
        costs,
        peak=peak * len(topology.devices),
        seconds=least_seconds(topology.kind, multiplied.passes, moved, costs),
        hops_seconds=hops_seconds(topology.kind, costs),
    )


def as_numbered(topology: Topology, mesh: MeshShape) -> Topology:
    """Returns the topology with its devices as the program numbers them.

    That is by their place in the mesh. Where experts span hosts, a host is not consecutive there.
    """
    if topology.slices > 1:  # the devices of the first slice, which are consecutive
        return topology
    return replace(topology, devices=tuple(arranged(mesh, topology.devices).flat))


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
    network = sum(one.executions * one.network_bytes for one in costs)
    if peak is None or speeds is None or (network and speeds.network is None):
        return None
    seconds = {
        "matrix products": passes / peak,
        "main memory": traffic / (speeds.memory * 1e9),
        "links": math.fsum(
            one.executions * max(one.link_bytes / (speeds.links * 1e9), one.hops * delays.link)
            for one in costs
        ),
    }
    if network and speeds.network is not None:
        seconds["network"] = math.fsum(
            one.executions
            * max(one.network_bytes / (speeds.network * 1e9), one.steps * delays.network)
            for one in costs
        )
    return seconds


def hops_seconds(device_kind: str, costs: list[Transfer]) -> float:
    """Returns the time of the hops of all transfers, one after the other, without their bytes."""
    delays = latency(device_kind)
    return math.fsum(
        one.executions * (one.hops * delays.link + one.steps * delays.network) for one in costs
    )
