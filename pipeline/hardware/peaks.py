"""What a device could do at best: products, memory, links; what MFU and rooflines measure by.

Peaks are dense bfloat16 multiply-adds, two operations each, without sparsity, as their makers
publish them. A device that is not in the table has no MFU rather than a guessed one.
"""

from typing import Any, NamedTuple

from model.config import ModelConfig, forward_flops

# By the beginning of JAX's `device_kind`; the longest that fits counts.
# TPUs: the pages v4, v5e, v5p, v6e and tpu7x of Google's Cloud TPU documentation; a TPU7x chip
# (2,307) is two devices. NVIDIA: its data sheets, which print twice these, with sparsity.
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
    "NVIDIA B200": 2250.0,
}


class Bandwidth(NamedTuple):
    """Of one device, in GB (10^9 bytes) a second.

    Attributes:
        memory: to and from its main memory.
        links: to other devices of its slice, all links together, in one direction.
        network: to other slices, or of GPUs to other hosts; None where it was not published.
    """

    memory: float
    links: float
    network: float | None = None


# The same pages (docs.cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e,tpu7x}), which give links in both
# directions together: half of that. v4's page has no links; its 6 of 45 GB/s one way are those of
# "How to Scale Your Model" (jax-ml.github.io/scaling-book/tpus). The network is v5p's page's 50
# Gbit/s a chip, and v5e's 6.4 Tbit/s of 256 chips. GPUs: their data sheets, NVLink one way, and the
# network of NVIDIA's own DGX, an adapter of 200 (A100) or 400 Gbit/s for each GPU.
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


def peak_flops(device_kind: str) -> float | None:
    """Returns a device's peak operations a second, or None where it is not known."""
    name = _longest(PEAK_TERAFLOPS, device_kind)
    return None if name is None else PEAK_TERAFLOPS[name] * 1e12


def bandwidth(device_kind: str) -> Bandwidth | None:
    """Returns a device's bandwidths, or None where they are not known."""
    name = _longest(BANDWIDTH, device_kind)
    return None if name is None else BANDWIDTH[name]


def _longest(table: dict[str, Any], device_kind: str) -> str | None:
    fits = [name for name in table if device_kind.startswith(name)]
    return max(fits, key=len) if fits else None


def step_flops(model: ModelConfig, rows: int, inputs: int, targets: int) -> int:
    """Returns a training step's matrix-product FLOPs: forward, and twice that backward.

    What rematerialisation computes again is not counted: MFU is about useful work.
    """
    return 3 * rows * forward_flops(model, inputs, targets)
