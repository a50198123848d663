"""Files on this machine or on an object store, whole or not there at all.

A file is written on the local disk, and gets its name when it is complete. Here that is a rename;
on a store it is uploaded under a temporary name, read back, compared by its SHA-256, and then
renamed. So a reader never meets half a file or an altered one, whatever was killed when; two
attempts at one piece of work write the same bytes.

It is read back because stores' own checksums are no common ground: S3's ETag is a digest of parts'
digests, or of nothing known where a key encrypts, Google's is a CRC32C, others have none.

Paths are strings: `s3://bucket/name` goes through fsspec (`store_access`), what fails is done again
(`data.stores.retry`).
"""

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from data.stores.retry import Damaged, persist
from pipeline.store_access import open_store

PART_BYTES = 8 << 20
AHEAD_BYTES = 256 << 10  # is read with every small request: a footer, the head of a batch
WORK = "work"  # below an output directory: what a stage keeps for itself until it is finished
STAMPS = ("generation", "ETag", "etag", "mtime", "LastModified", "last_modified", "created")
GLOB = re.compile(r"[*?\[]")


def is_local(path: str) -> bool:
    """Says whether the path is one of this machine."""
    return "://" not in path


def absolute(path: str) -> str:
    """Returns the path as any process of this machine understands it, wherever it was started."""
    return os.path.abspath(path) if is_local(path) else path


def join(directory: str, *names: str) -> str:
    """Returns the path of something in the directory."""
    return "/".join((directory.rstrip("/"), *names))


def exists(path: str) -> bool:
    """Says whether there is such a file."""
    return Path(path).exists() if is_local(path) else _info(path) is not None


def sizes_in(directory: str) -> dict[str, int]:
    """Returns names and bytes of the files in a directory, sorted; nothing if there is none."""
    if is_local(directory):
        found = Path(directory)
        files = sorted(found.iterdir()) if found.is_dir() else []
        return {file.name: file.stat().st_size for file in files if file.is_file()}
    entries = (one for one in _entries(directory) if one["type"] == "file")
    return dict(sorted((one["name"].rsplit("/", 1)[-1], one["size"]) for one in entries))


def names_in(directory: str) -> list[str]:
    """Returns the names of the files in a directory, sorted; none if there is no such directory."""
    if is_local(directory):
        found = Path(directory)
        return sorted(path.name for path in found.iterdir()) if found.is_dir() else []
    return list(sizes_in(directory))


def directories_in(directory: str) -> list[str]:
    """Returns the names of the directories in a directory, sorted; none if there is no such one."""
    if is_local(directory):
        found = Path(directory)
        return sorted(one.name for one in found.iterdir() if one.is_dir()) if found.is_dir() else []
    entries = (one for one in _entries(directory) if one["type"] == "directory")
    return sorted(one["name"].rstrip("/").rsplit("/", 1)[-1] for one in entries)


def holds_something(directory: str, but: str) -> bool:
    """Says whether a directory of a store holds anything but one thing of this name."""
    return any(entry["name"].rstrip("/").rsplit("/", 1)[-1] != but for entry in _entries(directory))


class Matched(NamedTuple):
    """A file that a glob names.

    Attributes:
        path: where it is.
        size: in bytes.
        stamp: what changes when the file is written anew, in its store's words; "" if none says it.
    """

    path: str
    size: int
    stamp: str


def matched(pattern: str) -> Iterator[Matched]:
    """Yields the files of a store that a glob names; Beam's rules of globbing."""
    from apache_beam.io.filesystem import FileSystem  # a second to load, for this alone

    fixed = GLOB.split(pattern)[0]
    filesystem, root = open_store(fixed if fixed == pattern else fixed.rpartition("/")[0])
    wanted = re.compile(FileSystem.translate_pattern(pattern))
    # Not by fsspec's own glob: it passes over directories that the store fails to list.
    found = persist(lambda: filesystem.find(root, detail=True), pattern)
    for name, entry in sorted(found.items()):
        path = filesystem.unstrip_protocol(name)
        if wanted.fullmatch(path):
            stamp = next((str(entry[name]) for name in STAMPS if entry.get(name)), "")
            yield Matched(path, entry["size"], stamp)


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[Path]:
    """Gives the file as one of this machine; a copy that was fetched is removed afterwards."""
    if is_local(path):
        yield Path(path)
        return
    filesystem, root = open_store(path)
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory, *path.rsplit("/", 2)[-2:])
        copy.parent.mkdir()
        persist(lambda: filesystem.get_file(root, str(copy)), path)
        yield copy


@contextlib.contextmanager
def readable(path: str) -> Iterator[pa.NativeFile]:
    """Gives the file to read parts of: mapped into memory here, by ranges from a store."""
    if is_local(path):
        with pa.memory_map(path) as mapped:
            yield mapped
    else:
        source = io.BufferedReader(_Ranges(path), AHEAD_BYTES)
        with source, pa.PythonFile(source, mode="r") as file:
            yield file


def read_bytes(path: str) -> bytes:
    """Returns the content of a file that fits into memory."""
    if is_local(path):
        return Path(path).read_bytes()
    filesystem, root = open_store(path)
    return persist(lambda: filesystem.cat_file(root), path)


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


def send(source: Path, path: str, scratch: str) -> None:
    """Copies a file of this machine to a store, whole or not at all; see `published`."""
    _upload(source, join(scratch, uuid.uuid4().hex), path)


def read_json(path: str) -> Any:
    """Returns the JSON value in a file."""
    return json.loads(read_bytes(path))


def write_json(path: str, value: Any, scratch: str) -> None:
    """Publishes a JSON value."""
    with published(path, scratch) as unfinished:
        unfinished.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def remove(path: str) -> None:
    """Removes a file, or a directory and all in it, if there is one."""
    if is_local(path):
        if Path(path).is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            Path(path).unlink(missing_ok=True)
        return
    filesystem, root = open_store(path)

    def removed() -> None:
        with contextlib.suppress(FileNotFoundError):
            filesystem.rm(root, recursive=True)

    persist(removed, path, "removed")


class _Ranges(io.RawIOBase):
    """A file of a store, each read a request for so many bytes."""

    def __init__(self, path: str):
        self._filesystem, self._root = open_store(path)
        self._path, self._at = path, 0
        self._size = persist(lambda: self._filesystem.info(self._root), path)["size"]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        first, end = self._at, min(self._at + len(buffer), self._size)
        if first >= end:
            return 0
        content = persist(
            lambda: self._filesystem.cat_file(self._root, start=first, end=end), self._path
        )
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def _upload(source: Path, temporary: str, path: str) -> None:
    filesystem, unfinished = open_store(temporary)
    final = open_store(path)[1]
    with source.open("rb") as file:
        sent = hashlib.file_digest(file, "sha256").hexdigest()

    def send() -> None:
        filesystem.put_file(str(source), unfinished)
        with io.BufferedReader(_Ranges(temporary), PART_BYTES) as arrived:
            found = hashlib.file_digest(arrived, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
        if found != sent:
            raise Damaged(
                f"{path} was sent with SHA-256 {sent[:16]}… and lies at the store with "
                f"{found[:16]}…, again and again; look at the store and run the same command again."
            )

    def rename() -> None:
        if _info(path) is None:  # or another attempt was faster, with the same bytes
            filesystem.cp_file(unfinished, final)
        with contextlib.suppress(FileNotFoundError):
            filesystem.rm_file(unfinished)

    persist(send, path, "written")
    persist(rename, path, "written")


def _info(path: str) -> dict[str, Any] | None:
    """Returns what a store says of a file, None if there is none."""
    filesystem, root = open_store(path)

    def info() -> dict[str, Any] | None:
        try:
            return filesystem.info(root)
        except FileNotFoundError:
            return None

    found = persist(info, path)
    return found if found is not None and found["type"] == "file" else None


def _entries(directory: str) -> list[dict[str, Any]]:
    """Returns what a store says of the entries of a directory; none if there is no such one."""
    filesystem, root = open_store(directory)

    def entries() -> list[dict[str, Any]]:
        try:
            return filesystem.ls(root, detail=True)
        except FileNotFoundError:
            return []

    return persist(entries, directory)


def _force_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
