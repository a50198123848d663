"""Published rates of devices, for MFU and rooflines: products, memory, links and their latencies.

Peak FLOPs are dense bfloat16 multiply-adds, two operations each, without sparsity, as published by
the makers. A device missing from the table has no MFU instead of a guessed one.
"""

from typing import Any, NamedTuple

# Keys are prefixes of JAX's `device_kind`; the longest match counts.
# TPUs: the pages v4, v5e, v5p, v6e and tpu7x of Google's Cloud TPU documentation; a TPU7x chip
# (2,307) is two devices. NVIDIA: the data sheets, which print twice these numbers, with sparsity.
PEAK_TERAFLOPS = {
    "TPU v4": 275.0,
    "TPU v5 lite": 197.0,
    "TPU v5": 459.0,
    "TPU v6 lite": 918.0,
    "TPU7x": 1153.5,
    "NVIDIA A100": 312.0,
    "NVIDIA H100": 989.4,
    "NVIDIA H100 NVL": 835.0,
    "NVIDIA H100 PCIe": 756.0,
    "NVIDIA H200": 989.4,
    "NVIDIA H200 NVL": 835.5,
    "NVIDIA B200": 2250.0,
}


class Bandwidth(NamedTuple):
    """Bandwidths of one device, in GB (10^9 bytes) per second.

    Attributes:
        memory: bandwidth to and from main memory.
        links: bandwidth to other devices of the slice, over all links, in one direction.
        network: bandwidth to other slices, or of GPUs to other hosts; None if unpublished.
    """

    memory: float
    links: float
    network: float | None = None


# TPUs: the same pages (docs.cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e,tpu7x}), which give the sum
# of both directions of a link; these are half of it. v4's page has no links: 6 links of 45 GB/s one
# way are from "How to Scale Your Model" (jax-ml.github.io/scaling-book/tpus). The network is 50
# Gbit/s per chip on v5p's page, and 6.4 Tbit/s per 256 chips on v5e's. GPUs: the data sheets,
# NVLink one way, and the network of NVIDIA's DGX, one adapter of 200 (A100) or 400 Gbit/s per GPU.
BANDWIDTH = {
    "TPU v4": Bandwidth(1200, 270),
    "TPU v5 lite": Bandwidth(819, 200, 3.125),
    "TPU v5": Bandwidth(2765, 600, 6.25),
    "TPU v6 lite": Bandwidth(1638, 400),
    "TPU7x": Bandwidth(3690, 300),
    "NVIDIA A100-SXM4-80GB": Bandwidth(2039, 300, 25),
    "NVIDIA H100 80GB HBM3": Bandwidth(3350, 450, 50),
    "NVIDIA H200": Bandwidth(4800, 450, 50),
}


class Latency(NamedTuple):
    """Least times of a message without bytes, in seconds.

    Attributes:
        link: time over one link to another device of the slice, or of GPUs of the host.
        network: time to another slice, or of GPUs to another host.
    """

    link: float
    network: float


# TPUs: "typically around 1us" per hop ("How to Scale Your Model", jax-ml.github.io/scaling-book/
# sharding). Between slices nothing is published; 10 us is about half a round trip of 23 us between
# two of Google's hosts over TCP (Marty et al. 2019, "Snap", section 5), without the way between
# host and chip. GPUs: NCCL's own model of NVLink (0.47, rounded) and of the network, for a ring and
# its protocol of least latency (NVIDIA/nccl, src/graph/tuning.cc).
LATENCY = {"TPU": Latency(1e-6, 10e-6), "NVIDIA": Latency(0.5e-6, 2.7e-6)}
NONE = Latency(0.0, 0.0)


def latency(device_kind: str) -> Latency:
    """Returns a device's latencies; zeros if unknown, as every rate then is."""
    name = _longest(LATENCY, device_kind)
    return NONE if name is None else LATENCY[name]


def peak_flops(device_kind: str) -> float | None:
    """Returns a device's peak FLOPs per second; None if unknown."""
    name = _longest(PEAK_TERAFLOPS, device_kind)
    return None if name is None else PEAK_TERAFLOPS[name] * 1e12


def bandwidth(device_kind: str) -> Bandwidth | None:
    """Returns a device's bandwidths; None if unknown."""
    name = _longest(BANDWIDTH, device_kind)
    return None if name is None else BANDWIDTH[name]


def _longest(table: dict[str, Any], device_kind: str) -> str | None:
    matches = [name for name in table if device_kind.startswith(name)]
    return max(matches, key=len, default=None)
