"""Files on this machine or on an object store, whole or not there at all.

A file is written on the local disk, and gets its name when it is complete: by a rename here, by an
upload to a temporary name and a rename there. So a reader never meets half a file, whatever was
killed when; two attempts at one piece of work write the same bytes, and the later one wins.

Paths are strings: `s3://bucket/name` goes through Beam's file systems, with the options of the job.
"""

import contextlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from data.errors import DataError
from pipeline.artifacts import as_json

PART_BYTES = 8 << 20
BYTES = "application/octet-stream"


class StorageError(OSError):
    """A store that did not take or give what it was asked for."""


def is_local(path: str) -> bool:
    """Says whether the path is one of this machine."""
    return "://" not in path


def check_scheme(path: str) -> None:
    """Raises a sentence if no file system is installed for the path.

    Raises:
        DataError: the scheme is unknown, or its package is not installed.
    """
    try:
        FileSystems.get_filesystem(path)
    except ValueError as error:
        raise DataError(
            f"{path} lies in a store that cannot be reached ({error}); give a path of this "
            "machine, or an address that Beam knows (s3://, gs://, hdfs://) with its package "
            "installed, for example apache-beam[gcp]."
        ) from error


def join(directory: str, *names: str) -> str:
    """Returns the path of something in the directory."""
    return "/".join((directory.rstrip("/"), *names))


def exists(path: str) -> bool:
    """Says whether there is such a file."""
    return Path(path).exists() if is_local(path) else FileSystems.exists(path)


def names_in(directory: str) -> list[str]:
    """Returns the names of the files in a directory, sorted; none if there is no such directory."""
    if is_local(directory):
        found = Path(directory)
        return sorted(path.name for path in found.iterdir()) if found.is_dir() else []
    (matched,) = FileSystems.match([join(directory, "*")])
    return sorted(one.path.rsplit("/", 1)[-1] for one in matched.metadata_list)


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[Path]:
    """Gives the file as one of this machine; a copy that was fetched is removed afterwards."""
    if is_local(path):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory, *path.rsplit("/", 2)[-2:])
        copy.parent.mkdir()
        with _opened(path) as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, PART_BYTES)
        yield copy


@contextlib.contextmanager
def readable(path: str) -> Iterator[pa.NativeFile]:
    """Gives the file to read parts of: mapped into memory here, by ranges from a store."""
    if is_local(path):
        with pa.memory_map(path) as mapped:
            yield mapped
    else:
        with _opened(path) as source, pa.PythonFile(source, mode="r") as file:
            yield file


@contextlib.contextmanager
def published(path: str, scratch: str) -> Iterator[Path]:
    """Gives a place to write a file, which is there under its path when the block has ended.

    Args:
        path: where the file will be.
        scratch: directory for what is not whole yet, on the same file system as the path.
    """
    name = uuid.uuid4().hex
    if is_local(path):
        unfinished = Path(scratch, name)
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        _force_to_disk(unfinished)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(unfinished, path)
        return
    with tempfile.TemporaryDirectory() as directory:
        unfinished = Path(directory, name)
        yield unfinished
        _upload(unfinished, join(scratch, name), path)


def read_json(path: str) -> Any:
    """Returns the JSON value in a file."""
    with readable(path) as file:
        return json.loads(file.read())


def write_json(path: str, value: Any, scratch: str) -> None:
    """Publishes a JSON value."""
    with published(path, scratch) as unfinished:
        unfinished.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def remove(directory: str) -> None:
    """Removes a directory and all in it, if there is one."""
    if is_local(directory):
        shutil.rmtree(directory, ignore_errors=True)
    elif FileSystems.match([join(directory, "**")])[0].metadata_list:
        FileSystems.delete([directory.rstrip("/") + "/"])


@dataclass(frozen=True)
class StoredPlace:
    """An output directory on an object store, as far as claims need it (`artifacts.Place`)."""

    directory: str

    def has(self, name: str) -> bool:
        """Says whether there is such a file."""
        return exists(join(self.directory, name))

    def holds_something(self) -> bool:
        """Says whether there is anything below the directory."""
        found = FileSystems.match([join(self.directory, "**")])[0].metadata_list
        begun = join(self.directory, "work", "")  # what a kill in the first moment leaves
        return any(not one.path.startswith(begun) for one in found)

    def read(self, name: str) -> dict[str, Any]:
        """Returns the JSON object in a file."""
        return read_json(join(self.directory, name))

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """Writes a JSON object, whole or not at all."""
        scratch = join(self.directory, "work", "scratch")
        with published(join(self.directory, name), scratch) as unfinished:
            unfinished.write_text(as_json(value), encoding="utf-8")

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        if self.has(name):
            FileSystems.delete([join(self.directory, name)])


def _upload(source: Path, temporary: str, path: str) -> None:
    plain, size = CompressionTypes.UNCOMPRESSED, source.stat().st_size
    with source.open("rb") as file, FileSystems.create(temporary, BYTES, plain) as target:
        shutil.copyfileobj(file, target, PART_BYTES)
    arrived = [one.size_in_bytes for one in FileSystems.match([temporary])[0].metadata_list]
    if arrived != [size]:
        raise StorageError(
            f"{path} was to have {size} bytes and {arrived} arrived at the store; "
            "run the same command again."
        )
    if FileSystems.exists(path):  # another attempt was faster, with the same bytes
        FileSystems.delete([temporary])
    else:
        FileSystems.rename([temporary], [path])


def _opened(path: str) -> Any:
    return FileSystems.open(path, BYTES, CompressionTypes.UNCOMPRESSED)


def _force_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
