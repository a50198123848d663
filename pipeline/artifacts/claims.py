"""Output directories that stay honest: whole or marked unfinished, never silently overwritten.

A stage claims its directory before it works and finishes it with `manifest.json`, written last.
The same command again finds the finished manifest and does nothing; with other settings it refuses
and shows the difference; a directory of unknown content is not touched. Every manifest carries the
schema version, the code version, the settings and the digests of the stage's inputs.
"""

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from pipeline.artifacts.digests import digest_of_bytes
from pipeline.errors import ArtifactError
from pipeline.json_files import read_json, write_json

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
CLAIM = "unfinished.json"


class Claim(enum.Enum):
    """What `claim` found."""

    FRESH = "fresh"
    UNFINISHED = "unfinished"
    FINISHED = "finished"


def claim(
    directory: Path | str, stage: str, settings: Mapping[str, Any], inputs: Mapping[str, str]
) -> Claim:
    """Claims an output directory for one stage and one set of settings.

    Args:
        directory: where the stage will write; a string may name a place on an object store.
        stage: the stage's name.
        settings: everything that changes the output, as JSON values.
        inputs: digest of each input, by name.

    Returns:
        FRESH, UNFINISHED (the same command was cut short) or FINISHED (nothing to do).

    Raises:
        ArtifactError: the directory holds something else, or the same with other settings.
    """
    wanted, place = _identity(stage, settings, inputs), place_of(directory)
    for name, status in ((MANIFEST, Claim.FINISHED), (CLAIM, Claim.UNFINISHED)):
        if place.has(name):
            there = place.read(name)
            if status is Claim.FINISHED:
                _check_schema(directory, stage, there)
                place.remove(CLAIM)  # left by a kill between the two
            found = {key: there.get(key) for key in wanted}
            if found != wanted:
                raise ArtifactError(_refusal(directory, found, wanted))
            return status
    if place.holds_something():
        raise ArtifactError(
            f"{stage} was asked to write to {directory}, which already holds something that is not "
            f"a {stage} output; name an empty or new directory, or remove it."
        )
    place.write(CLAIM, wanted)
    return Claim.FRESH


def _check_schema(directory: Path | str, stage: str, manifest: Mapping[str, Any]) -> None:
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise ArtifactError(
            f"{directory} holds {stage} output of schema {manifest.get('schema_version')}, and "
            f"this version writes schema {SCHEMA_VERSION}; remove it, or name another directory."
        )


def finish(
    directory: Path | str,
    stage: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    body: Mapping[str, Any],
) -> None:
    """Writes the manifest, which makes the directory whole, and takes the claim away."""
    head, place = (
        {"schema_version": SCHEMA_VERSION, "code_version": code_version()},
        place_of(directory),
    )
    place.write(MANIFEST, head | _identity(stage, settings, inputs) | dict(body))
    place.remove(CLAIM)


def read_manifest(directory: Path | str, stage: str) -> dict[str, Any]:
    """Returns the manifest of a finished stage, here or on an object store.

    Raises:
        ArtifactError: missing, unfinished, or another stage's.
    """
    place = place_of(directory)
    if not place.has(MANIFEST):
        if not place.is_there():
            raise ArtifactError(
                f"{stage} output was expected in {directory}, which does not exist; "
                f"run {stage} first."
            )
        found = "an unfinished run" if place.has(CLAIM) else "no manifest.json"
        raise ArtifactError(
            f"{stage} output was expected in {directory}, which holds {found}; "
            f"run {stage} with --out {directory} to its end first."
        )
    manifest = place.read(MANIFEST)
    if manifest.get("stage") != stage or manifest.get("schema_version") != SCHEMA_VERSION:
        raise ArtifactError(
            f"{stage} output of schema {SCHEMA_VERSION} was expected in {directory}, which holds "
            f"{manifest.get('stage')!r} of schema {manifest.get('schema_version')!r}; "
            f"name the directory that {stage} wrote, or write it again."
        )
    return manifest


def digest_of_manifest(directory: Path | str) -> str:
    """Returns a digest that changes whenever the artifact in the directory does."""
    return digest_of_bytes(place_of(directory).contents(MANIFEST))


def code_version() -> str:
    """Returns the version of the installed distribution."""
    return metadata.version("mswitch")


class Place(Protocol):
    """A directory as far as claims need it."""

    def has(self, name: str) -> bool:
        """Says whether there is such a file."""
        ...

    def is_there(self) -> bool:
        """Says whether there is such a directory."""
        ...

    def holds_something(self) -> bool:
        """Says whether there is anything, a file of that name included."""
        ...

    def contents(self, name: str) -> bytes:
        """Returns the bytes of a file."""
        ...

    def read(self, name: str) -> dict[str, Any]:
        """Returns the JSON object in a file."""
        ...

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """Writes a JSON object, whole or not at all."""
        ...

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        ...


@dataclass(frozen=True)
class LocalPlace:
    """A directory of this machine."""

    directory: Path

    def has(self, name: str) -> bool:
        """Says whether there is such a file."""
        return (self.directory / name).exists()

    def is_there(self) -> bool:
        """Says whether there is such a directory."""
        return self.directory.is_dir()

    def holds_something(self) -> bool:
        """Says whether there is anything."""
        place = self.directory
        begun = f"{CLAIM}.tmp"  # all that a kill in the first moment leaves
        return place.is_file() or (
            place.is_dir() and any(path.name != begun for path in place.iterdir())
        )

    def contents(self, name: str) -> bytes:
        """Returns the bytes of a file."""
        return (self.directory / name).read_bytes()

    def read(self, name: str) -> dict[str, Any]:
        """Returns the JSON object in a file."""
        return read_json(self.directory / name)

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """Writes a JSON object, whole or not at all."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            write_json(self.directory / name, value)
        except OSError as error:
            raise ArtifactError(
                f"{self.directory / name} was to be written and cannot be ({error}); "
                "name a directory that can be written, or make room."
            ) from error

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        (self.directory / name).unlink(missing_ok=True)


def place_of(directory: Path | str) -> Place:
    """Returns the directory as claims and manifests need it."""
    if isinstance(directory, str) and "://" in directory:
        from pipeline.stored_place import StoredPlace  # fsspec, which most commands do without

        return StoredPlace(directory)
    return LocalPlace(Path(directory))


def differences(found: Any, wanted: Any, name: str = "") -> list[str]:
    """Returns one line a value that differs between two JSON values, named by its path."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = sorted(found.keys() | wanted.keys())
        return [
            line
            for key in keys
            for line in differences(found.get(key), wanted.get(key), f"{name}.{key}".lstrip("."))
        ]
    return [] if found == wanted else [f"{name}: there {found!r}, asked {wanted!r}"]


def leaves(value: Any, name: str = "") -> dict[str, Any]:
    """Returns the values of a JSON object that are no objects themselves, named by their paths."""
    if not isinstance(value, dict):
        return {name: value}
    return {
        path: leaf
        for key, part in value.items()
        for path, leaf in leaves(part, f"{name}.{key}".lstrip(".")).items()
    }


def _identity(stage: str, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, Any]:
    # Through JSON, so that tuples and numbers compare as they will be read back.
    return json.loads(json.dumps({"stage": stage, "settings": settings, "inputs": inputs}))


def _refusal(directory: Path | str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    lines = "; ".join(differences(dict(found), dict(wanted)))
    return (
        f"{directory} was made with other settings ({lines}); "
        "use the same settings, name another directory, or remove it."
    )
