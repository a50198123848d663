"""This machine and installation: what they are, and what would stop a run.

Checked are the installed packages, processors, memory, devices, room on the disk, stores and the
terminal. Nothing is written. Devices and TensorFlow are tried in processes of their own, as a
broken driver may end one.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from data.errors import DataError
from data.files.paths import is_remote, names_in
from pipeline.artifacts import code_version, source_commit
from pipeline.errors import WRITABLE
from pipeline.recipe.fits import container_bytes, machine_bytes
from pipeline.stage import bytes_in_words, is_writable, nearest


class Finding(NamedTuple):
    """What was looked at, and what to do about it.

    Attributes:
        subject: what was looked at.
        found: what was found.
        remedy: what to do, if there is something; "" if all is well.
        stops: whether a run would be stopped by it.
    """

    subject: str
    found: str
    remedy: str = ""
    stops: bool = False

    @property
    def mark(self) -> str:
        """How it is: ok, note, or STOP."""
        if self.stops:
            return "STOP"
        return "note" if self.remedy else "ok"


class Tried(NamedTuple):
    """How a program ended.

    Attributes:
        printed: what it printed.
        failure: why it failed, in words; "" if it did not.
    """

    printed: str
    failure: str


def tried_alone(program: str, seconds: float) -> Tried | None:
    """Runs a Python program; None if it does not end within a number of seconds."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return None
    return Tried(done.stdout, _failure(done.returncode, done.stderr))


def _failure(status: int, errors: str) -> str:
    """Returns the signal that ended a process, or the last line of its errors."""
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    last = (errors.strip().splitlines() or [f"exit status {status}"])[-1]
    return last if status else ""


PACKAGE = "mswitch"
SHOWN = ("jax", "jaxlib", "apache-beam", "grain", "equinox", "tensorflow-text", "sentencepiece")
PYTHONS = ((3, 11), (3, 13))  # first and last with a wheel of every package
# In the order that works: TensorFlow before gcld3 ends the process without a message.
LOADS = "import data.language_id.combined, tensorflow_text"
LOAD_SECONDS = 300


def installation() -> Iterator[Finding]:
    """Yields versions, unmet requirements, extras, JAX's plugins, and how TensorFlow is loaded."""
    yield python_version(sys.version_info[:3])
    yield Finding(PACKAGE, " ".join(filter(None, [code_version(), source_commit()])))
    required = [Requirement(text) for text in metadata.requires(PACKAGE) or ()]
    yield Finding("packages", ", ".join(f"{name} {version_of(name)}" for name in SHOWN))
    yield unmet_requirements(of_extra(required, ""))
    extras = metadata.metadata(PACKAGE).get_all("Provides-Extra") or []
    yield from (extra(name, list(of_extra(required, name))) for name in extras)
    yield plugins([entry.name for entry in metadata.entry_points(group="jax_plugins")])
    yield tensorflow(sys.modules)
    yield loads(LOADS)


def python_version(version: tuple[int, ...]) -> Finding:
    """Returns whether mswitch has been made for this Python."""
    installed = ".".join(map(str, version))
    if PYTHONS[0] <= version[:2] <= PYTHONS[1]:
        return Finding("Python", installed)
    known = " to ".join(f"{major}.{minor}" for major, minor in PYTHONS)
    return Finding("Python", installed, f"make an environment with Python {known}", stops=True)


def of_extra(required: Iterable[Requirement], name: str) -> Iterator[Requirement]:
    """Yields the requirements of an extra; those of the package itself for ""."""
    for requirement in required:
        marker = requirement.marker
        by_extra = marker is not None and "extra" in str(marker)
        if by_extra == bool(name) and (not marker or marker.evaluate({"extra": name})):
            yield requirement


def unmet(required: Iterable[Requirement]) -> list[str]:
    """Returns each requirement that no installed version meets, with what is there."""
    installed = ((requirement, version_of(requirement.name)) for requirement in required)
    return [
        f"{requirement.name}{requirement.specifier} ({version})"
        for requirement, version in installed
        if version == "missing" or not requirement.specifier.contains(version, prereleases=True)
    ]


def unmet_requirements(required: Iterable[Requirement]) -> Finding:
    """Returns whether every package that mswitch needs is there in a version that it needs."""
    if not (missing := unmet(required)):
        return Finding("requirements", "all met")
    return Finding(
        "requirements", f"not met: {', '.join(missing)}", "run `make install`", stops=True
    )


def extra(name: str, required: list[Requirement]) -> Finding:
    """Returns whether an extra is installed, and the way to install it from a checkout."""
    if not unmet(required):
        return Finding(f"extra {name}", "installed")
    own = "VENV=.venv-gpu " if name == "plan-gpu" else ""  # beside `jax[cuda13]` neither may start
    remedy = f"`make install {own}EXTRAS=demo,dev,{name}` in the checkout, if you need it"
    return Finding(f"extra {name}", "not installed", remedy)


def plugins(names: list[str]) -> Finding:
    """Returns whether at most one plugin gives devices to JAX: with two, neither may start."""
    listed = ", ".join(sorted(names)) or "none"
    if len(set(names)) < 2:
        return Finding("plugins of JAX", listed)
    remedy = "keep the one of your devices and uninstall the others"
    return Finding("plugins of JAX", listed, remedy, stops=True)


def tensorflow(modules: Mapping[str, object]) -> Finding:
    """Returns whether something, such as a .pth file, has loaded TensorFlow before mswitch."""
    if "tensorflow" not in modules:
        return Finding("TensorFlow", "not loaded at start")
    remedy = "find out what loads it (a .pth file, sitecustomize, PYTHONSTARTUP) and remove that"
    return Finding("TensorFlow", "loaded at start, which gcld3 does not survive", remedy, True)


def loads(statement: str) -> Finding:
    """Returns whether CLD3 and TensorFlow can be loaded, in a process of their own."""
    subject = "CLD3, then TensorFlow"
    if (tried := tried_alone(statement, LOAD_SECONDS)) is None:
        return Finding(subject, "still loading", "try again on an idle machine", True)
    if tried.failure:
        return Finding(subject, f"do not load: {tried.failure}", "run `make install`", True)
    return Finding(subject, "load")


def version_of(name: str) -> str:
    """Returns the installed version of a package, or "missing"."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


NARROWEST = 60  # columns that the live view of a training needs
DEVICE_SECONDS = 180
# In a process of its own: a broken driver may abort, or never answer.
DEVICES = """
import json
from pipeline.hardware.compiler_flags import leave_alone_without_chips
leave_alone_without_chips()
import jax
devices = jax.devices()
print(json.dumps([(d.device_kind, (d.memory_stats() or {}).get("bytes_limit")) for d in devices]))
"""


def machine(out: Path, stores: Sequence[str]) -> Iterator[Finding]:
    """Yields the checks of this machine."""
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
        waited = f"no answer within {DEVICE_SECONDS} s"
        return Finding("devices", waited, "end what else uses them, or set JAX_PLATFORMS=cpu", True)
    if tried.failure:
        remedy = "repair the driver, or set JAX_PLATFORMS=cpu"
        return Finding("devices", f"JAX does not start: {tried.failure}", remedy, True)
    kinds = Counter(map(tuple, json.loads(tried.printed.splitlines()[-1])))
    return Finding("devices", ", ".join(devices_in_words(kinds)))


def devices_in_words(kinds: Mapping[tuple[str, int | None], int]) -> Iterator[str]:
    """Yields `8 x TPU v5e with 16 GB` for eight equal devices."""
    for (kind, size), count in kinds.items():
        yield f"{count} x {kind}" + (f" with {bytes_in_words(size)}" if size else "")


def room(out: Path) -> Finding:
    """Returns whether this user can write in a directory, and how much."""
    there = nearest(out)
    free = shutil.disk_usage(there).free
    space = f"{bytes_in_words(free)} free in {there}"
    if not is_writable(there):
        return Finding("disk", f"{space}, which this user may not write", WRITABLE, True)
    if not free:
        return Finding("disk", space, "make room", True)
    return Finding("disk", space)


def store(address: str) -> Finding:
    """Returns whether an address on an object store can be listed."""
    if not is_remote(address):
        remedy = "name one such as s3://BUCKET/FOLDER"
        return Finding(f"store {address}", "is on no object store", remedy, True)
    try:
        return Finding(f"store {address}", f"lists {len(names_in(address)):,} names")
    except DataError as error:  # its sentence ends with what to do
        fault, _, remedy = str(error).removesuffix(".").rpartition("; ")
        return Finding(f"store {address}", fault, remedy, True)


def terminal(encoding: str, columns: int) -> Iterator[Finding]:
    """Yields the terminal's width and encoding."""
    wide = columns >= NARROWEST
    remedy = "" if wide else f"widen it to {NARROWEST} for the live view of a training"
    yield Finding("terminal", f"{columns} columns", remedy)
    remedy = "" if encoding.lower() in ("utf-8", "utf8") else "set LANG=C.UTF-8, or PYTHONUTF8=1"
    yield Finding("encoding", encoding, remedy)


def lines(findings: list[Finding]) -> Iterator[str]:
    """Yields one line per finding, those that stop a run once more at the end."""
    for finding in findings:
        remedy = f"; {finding.remedy}" if finding.remedy else ""
        yield f"{finding.mark:4}  {finding.subject}: {finding.found}{remedy}"
    stops = [finding.subject for finding in findings if finding.stops]
    yield f"A run would be stopped by: {', '.join(stops)}." if stops else "Nothing stops a run."
