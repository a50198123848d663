"""Artifacts: output directories, complete or marked unfinished, never silently overwritten.

A stage claims its directory before it works and writes `manifest.json` last. A claim holds the
settings of a command, a manifest its results. The same command again finds the manifest and does
nothing; with other settings it refuses and prints the difference, whose values are named by their
paths; a directory with unknown content is not touched. All of it happens under the directory's lock
(`data/files/locks.py`). Every manifest holds the schema version, the settings and the digests of
the stage's inputs, and the package's version for whoever reads it. A directory lies on this machine
or in a store.
"""

import enum
import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

from data.files.atomic import UNFINISHED
from data.files.digests import digest_of_bytes
from data.files.json_files import Name, of_shape, read_json, write_json
from data.files.locks import FOLDER, check_held
from data.files.paths import (
    exists,
    instead_of_directory,
    is_directory,
    join_path,
    names_in,
    read_bytes,
    remove,
)
from pipeline.errors import ArtifactError


def json_differences(first: Any, second: Any, name: str = "", *, other: str = "asked") -> list[str]:
    """Returns one line per value that differs between two JSON values, named by its path.

    Args:
        first: value that is said to be there.
        second: value to compare with it.
        name: path of both.
        other: word for the second value.
    """
    if isinstance(first, dict) and isinstance(second, dict):
        keys = sorted(first.keys() | second.keys())
        return [
            line
            for key in keys
            for line in json_differences(
                first.get(key), second.get(key), f"{name}.{key}".lstrip("."), other=other
            )
        ]
    if first == second:
        return []
    return [f"{name}: there {words_of(first)}, {other} {words_of(second)}"]


def words_of(value: Any) -> str:
    """Returns a JSON value in words, for people."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(words_of, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {words_of(part)}" for key, part in value.items()) or "none"
    return str(value)


def json_leaves(value: Any, name: str = "") -> dict[str, Any]:
    """Returns the values of a JSON object that are not objects themselves, by their paths."""
    if not isinstance(value, dict):
        return {name: value}
    return {
        path: leaf
        for key, part in value.items()
        for path, leaf in json_leaves(part, f"{name}.{key}".lstrip(".")).items()
    }


def unknown_fields(value: Any, known: Any, name: str = "") -> Iterator[str]:
    """Yields the paths of the fields that another JSON value of the same shape does not have."""
    if isinstance(value, (list, tuple)) and isinstance(known, (list, tuple)):
        value, known = dict(enumerate(value)), dict(enumerate(known))
    if not (isinstance(value, dict) and isinstance(known, dict)):
        return
    for key, part in value.items():
        path = f"{name}.{key}".lstrip(".")
        if key in known:
            yield from unknown_fields(part, known[key], path)
        else:
            yield path


CHECKOUT = Path(__file__).parents[1]


def source_commit() -> str | None:
    """Returns the commit of the checkout, ending in `-dirty` if files differ from it.

    For a wheel that was installed from a file it is the file's digest, which pip records (PEP 610).
    None for a package of an index, whose version identifies it, and where Git is missing.
    """
    if not (CHECKOUT / ".git").exists():
        return _wheel_digest(metadata.distribution("mswitch").read_text("direct_url.json"))
    command = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=40"]
    command.append("--exclude=*")  # tags would shorten it to a name that may be moved
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _wheel_digest(direct_url: str | None) -> str | None:
    hashes = json.loads(direct_url or "{}").get("archive_info", {}).get("hashes", {})
    return f"wheel sha256:{hashes['sha256']}" if "sha256" in hashes else None


SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
CLAIM = "unfinished.json"
Body = TypeVar("Body")

DIGEST = re.compile(r"[0-9a-f]{64}").fullmatch


@dataclass(frozen=True)
class Kind:
    """A kind of artifact: a directory that one of some commands wrote to its end.

    Attributes:
        stages: these commands; messages name the first.
    """

    stages: tuple[str, ...]

    def check(self, directory: Path | str) -> None:
        """Checks that a directory holds a finished artifact of the kind, of any schema.

        Raises:
            ArtifactError: if it is missing, unfinished, or of another kind.
        """
        head = head_in(directory)
        if head is None or head.stage not in self.stages or not is_finished(directory):
            read_manifest(directory, self.stages, Head)


SELECT = "select"
CORPUS = Kind(("clean", SELECT))
SCORES = Kind(("score",))
VOCABULARY = Kind(("vocabulary",))
TOKENS = Kind(("tokenize",))
TRAINED = ("pretrain", "distill", "finetune")
RUN = Kind((*TRAINED, "import-hf", "prune"))
EXPORT = Kind(("export-hf",))
STEP_TIMES = Kind(("time",))
REPORT = Kind(("report",))


class Head(Struct, frozen=True, kw_only=True):
    """The fields of every manifest; those of a claim are its identity.

    Attributes:
        stage: name of the stage that wrote the directory.
        settings: everything that changes the output.
        inputs: digest of each input, by name.
        schema_version: version of the manifest's format; a claim has none.
        code_version: version of the package.
    """

    stage: Name  # a message names it
    settings: dict[str, Any] = {}
    inputs: dict[str, str] = {}
    schema_version: int | None = None
    code_version: str | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What a repeated command must agree in."""
        return {"stage": self.stage, "settings": self.settings, "inputs": self.inputs}


class Claim(enum.StrEnum):
    """What lies in a directory that a command claims."""

    FRESH = "fresh"
    UNFINISHED = "unfinished"
    FINISHED = "finished"


def claim(
    directory: Path | str, stage: str, settings: Mapping[str, Any], inputs: Mapping[str, str]
) -> Claim:
    """Claims an output directory for one stage and one set of settings.

    Args:
        directory: where the stage writes, on this machine or in an object store.
        stage: name of the stage.
        settings: everything that changes the output, as JSON values.
        inputs: digest of each input, by name.

    Returns:
        FRESH, UNFINISHED (the same command was interrupted) or FINISHED (nothing to do).

    Raises:
        ArtifactError: if the directory holds something else, or the same with other settings.
    """
    there = look(directory, stage, settings, inputs)
    if there is Claim.FRESH:
        _write(directory, CLAIM, _identity(stage, settings, inputs))
    if there is Claim.FINISHED:
        remove(join_path(directory, CLAIM))  # left by a kill between the two
    return there


def look(
    directory: Path | str, stage: str, settings: Mapping[str, Any], inputs: Mapping[str, str]
) -> Claim:
    """Returns the state that `claim` would find; writes nothing.

    Raises:
        ArtifactError: if the directory holds something else, or the same with other settings.
    """
    identity = _identity(stage, settings, inputs)
    if head := head_in(directory):
        finished = is_finished(directory)
        if head.stage != stage:
            raise ArtifactError(
                f"{stage} was asked to write to {directory}, which {held_instead(directory)}; name "
                "another directory."
            )
        if finished:
            _check_schema(directory, stage, head)
        if head.identity != identity:
            raise ArtifactError(_refusal(directory, head.identity, identity))
        return Claim.FINISHED if finished else Claim.UNFINISHED
    if _is_taken(directory):
        raise ArtifactError(
            f"{stage} was asked to write to {directory}, which already holds something that is not "
            f"a {stage} output; name an empty or new directory."
        )
    return Claim.FRESH


def _check_schema(directory: Path | str, stage: str, manifest: Head) -> None:
    if manifest.schema_version != SCHEMA_VERSION:
        raise ArtifactError(
            f"{directory} holds {stage} output of schema {manifest.schema_version}, and "
            f"this version has schema {SCHEMA_VERSION}; write it again, in another directory."
        )


def finish(
    directory: Path | str,
    stage: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    body: Mapping[str, Any],
) -> None:
    """Writes the manifest, which completes the directory, and removes the claim."""
    head = {"schema_version": SCHEMA_VERSION, "code_version": code_version()}
    _write(directory, MANIFEST, head | _identity(stage, settings, inputs) | dict(body))
    remove(join_path(directory, CLAIM))


def renew(
    directory: Path | str, stage: str, settings: Mapping[str, Any], inputs: Mapping[str, str]
) -> None:
    """Claims a directory, even a finished one, again for changed settings that its stage accepts.

    A kill between writing the claim and removing the manifest leaves both. The same command then
    reads the manifest and renews the claim again.
    """
    _write(directory, CLAIM, _identity(stage, settings, inputs))
    remove(join_path(directory, MANIFEST))


def remove_claim(directory: Path | str) -> None:
    """Removes a claim whose stage has written nothing, so that other settings may follow."""
    remove(join_path(directory, CLAIM))


def read_head(directory: Path | str, name: str = MANIFEST) -> Head:
    """Returns the head of a manifest, or of the claim of that name.

    Raises:
        DataError: if the file is damaged.
    """
    return read_json(join_path(directory, name), Head)


def is_finished(directory: Path | str) -> bool:
    """Returns whether a stage has finished a directory."""
    return exists(join_path(directory, MANIFEST))


def head_in(directory: Path | str) -> Head | None:
    """Returns the head of a directory's manifest, or of its claim; None if it has neither.

    Raises:
        DataError: if the file is damaged.
    """
    for name in (MANIFEST, CLAIM):
        if exists(join_path(directory, name)):
            return read_head(directory, name)
    return None


def held_instead(directory: Path | str) -> str:
    """Returns what lies in a place where something else was expected, in words."""
    if head := head_in(directory):
        return f"holds {'' if is_finished(directory) else 'unfinished '}{head.stage} output"
    return f"holds no {MANIFEST}" if is_directory(directory) else instead_of_directory(directory)


def read_manifest(directory: Path | str, stages: str | Sequence[str], body: type[Body]) -> Body:
    """Returns the manifest of a finished stage, local or remote.

    Args:
        directory: the artifact.
        stages: name of the stage that wrote it, or of all that may have; messages name the first.
        body: shape of its manifest.

    Raises:
        ArtifactError: if it is missing, unfinished, or another stage's.
        DataError: if it is damaged.
    """
    path = join_path(directory, MANIFEST)
    stages = (stages,) if isinstance(stages, str) else stages
    manifest = read_json(path, dict[str, Any]) if exists(path) else None  # once: it may have 40 MB
    head = head_in(directory) if manifest is None else of_shape(manifest, Head, path)
    stage = head.stage if head is not None and head.stage in stages else stages[0]
    if manifest is None or head is None or head.stage != stage:
        other = head is not None and head.stage != stage
        do = f"name the --out of `mswitch {stage}`" if other else f"run {stage} to its end first"
        if exists(directory) and not is_directory(directory):
            do = "name its directory"
        raise ArtifactError(
            f"{stage} output was expected in {directory}, which {held_instead(directory)}; {do}."
        )
    _check_schema(directory, stage, head)
    return of_shape(manifest, body, path)


def digest_of_manifest(directory: Path | str) -> str:
    """Returns a digest that changes whenever the artifact in the directory does."""
    return digest_of_bytes(read_bytes(join_path(directory, MANIFEST)))


def code_version() -> str:
    """Returns the version of the installed package: provenance only, nothing depends on it."""
    return metadata.version("mswitch")


def _is_taken(directory: Path | str) -> bool:
    """Returns whether a directory holds anything but a lock and what a kill in the claim leaves."""
    return Path(directory).is_file() or any(
        name != FOLDER and not UNFINISHED.fullmatch(name) for name in names_in(directory)
    )


def _write(directory: Path | str, name: str, value: Mapping[str, Any]) -> None:
    check_held(directory)
    try:
        write_json(join_path(directory, name), value)
    except OSError as error:
        raise ArtifactError(
            f"{join_path(directory, name)} was to be written and cannot be ({error}); "
            "name a directory that can be written, or make room."
        ) from error


def _identity(stage: str, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, Any]:
    # Through JSON, so that tuples and numbers compare as they will be read back.
    return json.loads(json.dumps({"stage": stage, "settings": settings, "inputs": inputs}))


def _refusal(directory: Path | str, there: Mapping[str, Any], requested: Mapping[str, Any]) -> str:
    """Returns a sentence on how an output differs from the requested one.

    Args:
        directory: the output's directory.
        there: settings and inputs that it was made with.
        requested: those of the command, of the same stage.
    """
    settings = json_differences(there.get("settings", {}), requested["settings"])
    inputs = list(_other_inputs(there.get("inputs", {}), requested["inputs"]))
    of_recipes = [value.get("settings", {}).get("name") for value in (there, requested)]
    if None not in of_recipes and of_recipes[0] != of_recipes[1]:
        return (
            f"{directory} was made with the recipe {of_recipes[0]}, and {of_recipes[1]} was asked "
            "for; ask for the same, name another directory, or remove it (all that differs: "
            f"{'; '.join([*settings, *inputs])})."
        )
    kinds = {"with other settings": settings, "from other inputs": inputs}
    made = " and ".join(f"{kind} ({'; '.join(lines)})" for kind, lines in kinds.items() if lines)
    made = made or "by another version, which knows other settings"
    return f"{directory} was made {made}; ask for the same, name another directory, or remove it."


def _other_inputs(former: Mapping[str, str], requested: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(former.keys() | requested.keys()):
        there, asked = former.get(name), requested.get(name)
        if there != asked and all(DIGEST(value) for value in (there, asked) if value):
            which = "new" if not there else "gone" if not asked else "another, or changed since"
            yield f"{name}: {which}"
        else:
            yield from json_differences(there, asked, name)
