"""The machine: processors, memory, devices, room on the disk, stores, the terminal."""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from data.errors import DataError
from data.files.paths import names_in
from pipeline.artifacts.intent import bytes_in_words, is_writable, nearest
from pipeline.errors import WRITABLE
from pipeline.hardware.finding import Finding
from pipeline.hardware.tried_alone import tried_alone
from pipeline.machine_memory import container_bytes, machine_bytes

NARROWEST = 60  # columns that the live view of a training needs
DEVICE_SECONDS = 180
# In a process of its own: a broken driver may abort, or never answer.
DEVICES = """
import json
from pipeline.hardware.libtpu import leave_alone_without_chips
leave_alone_without_chips()
import jax
found = [(one.device_kind, (one.memory_stats() or {}).get("bytes_limit")) for one in jax.devices()]
print(json.dumps(found))
"""


def machine(out: Path, stores: Sequence[str]) -> Iterator[Finding]:
    """Yields what a run on this machine would find."""
    yield Finding("processors", f"{len(os.sched_getaffinity(0))} for this process")
    yield memory()
    yield devices(DEVICES)
    yield room(out)
    yield from map(store, stores)
    yield from terminal(sys.stdout.encoding, shutil.get_terminal_size().columns)


def memory() -> Finding:
    """Returns the memory of this machine, or the limit of its container."""
    whole, free = machine_bytes()
    limit = container_bytes()
    within = "" if limit is None else f"; this container may use {bytes_in_words(limit)}"
    return Finding("memory", f"{bytes_in_words(whole)}, {bytes_in_words(free)} unused{within}")


def devices(program: str) -> Finding:
    """Returns JAX's devices, as a program prints them: kind and bytes of memory of each."""
    if (tried := tried_alone(program, DEVICE_SECONDS)) is None:
        found = f"no answer within {DEVICE_SECONDS} s"
        return Finding("devices", found, "end what else uses them, or set JAX_PLATFORMS=cpu", True)
    if tried.failure:
        remedy = "repair the driver, or set JAX_PLATFORMS=cpu"
        return Finding("devices", f"JAX does not start: {tried.failure}", remedy, True)
    found = [tuple(one) for one in json.loads(tried.printed.splitlines()[-1])]
    return Finding("devices", ", ".join(counted(found)))


def counted(found: Sequence[tuple[str, int | None]]) -> Iterator[str]:
    """Yields `8 x TPU v5e with 16 GB` for eight equal devices."""
    for one in dict.fromkeys(found):
        kind, size = one
        yield f"{found.count(one)} x {kind}" + (f" with {bytes_in_words(size)}" if size else "")


def room(out: Path) -> Finding:
    """Returns whether this user can write in a directory, and how much."""
    there = nearest(out)
    free = shutil.disk_usage(there).free
    found = f"{bytes_in_words(free)} free in {there}"
    if not is_writable(there):
        return Finding("disk", f"{found}, which this user may not write", WRITABLE, True)
    if not free:
        return Finding("disk", found, "make room", True)
    return Finding("disk", found)


def store(address: str) -> Finding:
    """Returns whether an address on an object store can be listed."""
    try:
        return Finding(f"store {address}", f"lists {len(names_in(address)):,} names")
    except DataError as error:  # its sentence ends with what to do
        found, _, remedy = str(error).removesuffix(".").rpartition("; ")
        return Finding(f"store {address}", found, remedy, True)


def terminal(encoding: str, columns: int) -> Iterator[Finding]:
    """Yields the terminal's width and encoding."""
    wide = columns >= NARROWEST
    remedy = "" if wide else f"widen it to {NARROWEST} for the live view of a training"
    yield Finding("terminal", f"{columns} columns", remedy)
    remedy = "" if encoding.lower() in ("utf-8", "utf8") else "set LANG=C.UTF-8, or PYTHONUTF8=1"
    yield Finding("encoding", encoding, remedy)
