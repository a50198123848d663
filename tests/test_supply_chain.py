"""What is installed is locked, by version and hash, and has a licence that allows it."""

import re
from pathlib import Path

import licences
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from required import OFFERED, locked, required

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PYTHONS = ("3.11.5", "3.12.0", "3.13.0")


def pins(text: str) -> list[Requirement]:
    """Returns the pinned packages of a lock or of constraints."""
    lines = (line.removesuffix("\\") for line in text.splitlines() if re.match(r"[\w.-]+==", line))
    return [Requirement(line) for line in lines]


def versions(text: str, python: str) -> dict[str, Version]:
    """Returns the version of each package on Linux with this Python."""
    minor = python.rpartition(".")[0]
    place = {"python_version": minor, "python_full_version": python, "sys_platform": "linux"}
    return {
        canonicalize_name(pin.name): Version(next(iter(pin.specifier)).version)
        for pin in pins(text)
        if pin.marker is None or pin.marker.evaluate(place)
    }


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_holds_every_requirement_at_the_version_of_the_constraints(python):
    locked = versions(LOCK, python)
    for requirement in map(Requirement, required(OFFERED)):
        assert locked[canonicalize_name(requirement.name)] in requirement.specifier
    constraints = versions((ROOT / "constraints.txt").read_text(encoding="utf-8"), python)
    assert locked == {name: constraints.get(name) for name in locked}


def test_every_package_of_the_lock_has_hashes_and_no_address():
    packages = re.split(r"\n(?=\S)", LOCK.strip())
    assert len(packages) == len(pins(LOCK)) > 200
    for package in packages:
        head, *hashes = package.split("\n")
        assert hashes
        assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", one) for one in hashes)
        assert not re.search(r"://| @ |\+", head)  # any index serves, and no local build


def test_an_extra_brings_what_its_extras_bring():
    assert "s3fs>=2026.9" in required(["engines"])
    assert "s3fs>=2026.9" not in required(["demo"])
    assert not [one for extra in OFFERED for one in required([extra]) if one.startswith("mswitch")]


def test_what_is_installed_is_printed_from_the_lock_whatever_its_spelling():
    printed = locked("apache-beam[gcp]==2.77.0\ntensorflow_text==2.21.0\njax==0.12.0.1\n")
    names = {pin.name for pin in pins("\n".join(printed))}
    assert names == {"apache-beam", "tensorflow-text", "jax"}
    assert all("--hash=sha256:" in package for package in printed)


def test_everything_is_installed_with_hashes():
    """Environments of the references that this project is compared with are constrained only."""
    recipes = (ROOT / "Makefile").read_text(encoding="utf-8") + (ROOT / "Dockerfile").read_text()
    recipes = recipes.replace("\\\n", " ")
    installs = [line for line in recipes.split("\n") if "pip install" in line]
    free = "--require-hashes", "--no-deps", "-parity", "-streaming"
    unlocked = [line for line in installs if not any(word in line for word in free)]
    assert len(installs) > 5
    assert unlocked == []


def test_licences_are_told_apart():
    either = "MIT OR (Apache-2.0 AND BSD-3-Clause)"
    for text in ("Apache-2.0", either, "BSD License; Apache Software License"):
        assert licences.is_permissive(text)
    for text in ("GPL-3.0-only", "MIT AND AGPL-3.0", ""):
        assert not licences.is_permissive(text)


def test_the_image_of_workers_is_of_the_locked_beam():
    """The base is the tag of that Beam, as `docker build` takes no digest from a lock."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    beam = re.search(r"(?m)^apache-beam==(\S+)", (ROOT / "constraints.txt").read_text())
    assert beam
    assert f"ARG BASE=apache/beam_python3.11_sdk:{beam[1]}" in lines
    assert [line for line in lines if line.startswith("FROM")] == ["FROM ${BASE}"]
