"""How fast a device could multiply matrices, and how much memory it has; what MFU is measured by.

Peaks are dense bfloat16 multiply-adds, two operations each, without sparsity, as their makers
publish them. A device that is not in the table has no MFU rather than a guessed one.
"""

import os
from typing import Any

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


def peak_flops(device_kind: str) -> float | None:
    """Returns a device's peak operations a second, or None where it is not known."""
    fits = [name for name in PEAK_TERAFLOPS if device_kind.startswith(name)]
    return PEAK_TERAFLOPS[max(fits, key=len)] * 1e12 if fits else None


def step_flops(model: ModelConfig, rows: int, inputs: int, targets: int) -> int:
    """Returns a training step's matrix-product FLOPs: forward, and twice that backward.

    What rematerialisation computes again is not counted: MFU is about useful work.
    """
    return 3 * rows * forward_flops(model, inputs, targets)


def memory_bytes(device: Any) -> int | None:
    """Returns what a device can hold, or None where it does not say; a CPU has this machine's."""
    if device.platform == "cpu":
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return (device.memory_stats() or {}).get("bytes_limit")
