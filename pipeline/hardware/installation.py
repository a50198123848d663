"""The installed packages: versions, extras, and what is in each other's way."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata

from packaging.requirements import Requirement

from pipeline.artifacts.claims import code_version
from pipeline.artifacts.source_commit import source_commit
from pipeline.hardware.finding import Finding
from pipeline.hardware.tried_alone import tried_alone

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
    required = [Requirement(one) for one in metadata.requires(PACKAGE) or ()]
    yield Finding("packages", ", ".join(f"{name} {version_of(name)}" for name in SHOWN))
    yield unmet_requirements(of_extra(required, ""))
    extras = metadata.metadata(PACKAGE).get_all("Provides-Extra") or []
    yield from (extra(name, list(of_extra(required, name))) for name in extras)
    yield plugins([one.name for one in metadata.entry_points(group="jax_plugins")])
    yield tensorflow(sys.modules)
    yield loads(LOADS)


def python_version(version: tuple[int, ...]) -> Finding:
    """Returns whether mswitch has been made for this Python."""
    found = ".".join(map(str, version))
    if PYTHONS[0] <= version[:2] <= PYTHONS[1]:
        return Finding("Python", found)
    known = " to ".join(f"{major}.{minor}" for major, minor in PYTHONS)
    return Finding("Python", found, f"make an environment with Python {known}", stops=True)


def of_extra(required: Iterable[Requirement], name: str) -> Iterator[Requirement]:
    """Yields the requirements of an extra; those of the package itself for ""."""
    for one in required:
        by_extra = one.marker is not None and "extra" in str(one.marker)
        if by_extra == bool(name) and (not one.marker or one.marker.evaluate({"extra": name})):
            yield one


def unmet(required: Iterable[Requirement]) -> list[str]:
    """Returns each requirement that no installed version meets, with what is there."""
    found = ((one, version_of(one.name)) for one in required)
    return [
        f"{one.name}{one.specifier} ({there})"
        for one, there in found
        if there == "missing" or not one.specifier.contains(there, prereleases=True)
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
    remedy = f"`make install EXTRAS=demo,dev,{name}` in the checkout, if you need it"
    return Finding(f"extra {name}", "not installed", remedy)


def plugins(names: list[str]) -> Finding:
    """Returns whether at most one plugin gives devices to JAX: with two, neither may start."""
    found = ", ".join(sorted(names)) or "none"
    if len(set(names)) < 2:
        return Finding("plugins of JAX", found)
    remedy = "keep the one of your devices and uninstall the others"
    return Finding("plugins of JAX", found, remedy, stops=True)


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
