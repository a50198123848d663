"""An object store that misbehaves: a folder behind the scheme store://."""

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import fsspec
from fsspec import AbstractFileSystem

SLOW_SECONDS = 1.0


class Misbehaviour(OSError):
    """What a store does now and then."""


class Store(AbstractFileSystem):
    """Files of `store://name` under a folder; no directories, as in a bucket.

    What a kind of call does wrong is in `faults`: "fail", "lose" the second half, or refuse a file
    whose bytes the network did "alter", or be "slow", or end the process ("kill"); and how often:
    every so many calls of the kind, or, if `lasting`, all from that one on.
    """

    protocol = "store"
    root = Path()
    cachable = False
    faults: dict[str, tuple[str, int]] = {}  # noqa: RUF012
    lasting = False
    calls: Counter[str] = Counter()  # noqa: RUF012

    def _fault(self, call: str) -> str:
        Store.calls[call] += 1
        fault, when = self.faults.get(call, ("", 1))
        happens = self.calls[call] >= when if self.lasting else self.calls[call] % when == 0
        if fault == "fail" and happens:
            raise Misbehaviour(f"503 at {call}")
        if fault == "slow" and happens:
            time.sleep(SLOW_SECONDS)
        if fault == "kill" and happens:
            os.kill(os.getpid(), signal.SIGKILL)
        return fault if happens else ""

    def put_file(self, lpath, rpath, **kwargs):
        content, fault = Path(lpath).read_bytes(), self._fault("put")
        if fault == "lose":
            content = content[: len(content) // 2]
        if fault == "alter":  # on the way: the store compares a checksum, and keeps nothing
            raise Misbehaviour("400 BadDigest")
        at(rpath).parent.mkdir(parents=True, exist_ok=True)
        at(rpath).write_bytes(content)

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        self._fault("put")
        at(path).parent.mkdir(parents=True, exist_ok=True)
        with at(path).open("xb" if mode == "create" else "wb") as file:
            file.write(value)

    def cp_file(self, path1, path2, **kwargs):
        content, fault = at(path1).read_bytes(), self._fault("copy")
        at(path2).parent.mkdir(parents=True, exist_ok=True)
        at(path2).write_bytes(content[: len(content) // 2] if fault == "lose" else content)

    def get_file(self, rpath, lpath, **kwargs):
        self._fault("get")
        shutil.copy(at(rpath), lpath)

    def cat_file(self, path, start=None, end=None, **kwargs):
        self._fault("get")
        return at(path).read_bytes()[start:end]

    def info(self, path, **kwargs):
        self._fault("look")
        if not at(path).is_file():
            raise FileNotFoundError(path)
        return {"name": self._strip_protocol(path), "size": at(path).stat().st_size, "type": "file"}

    def ls(self, path, detail=True, **kwargs):
        self._fault("look")
        if not at(path).is_dir():
            raise FileNotFoundError(path)
        return [self._entry(file) for file in sorted(at(path).iterdir())]

    def find(self, path, **kwargs):
        self._fault("look")
        files = sorted(file for file in at(path).rglob("*") if file.is_file())
        return {entry["name"]: entry for entry in map(self._entry, files)}

    def _entry(self, file: Path):
        name, kind = str(file.relative_to(Store.root)), "file" if file.is_file() else "directory"
        about = file.stat()
        return {"name": name, "size": about.st_size, "type": kind, "ETag": f"{about.st_mtime_ns}"}

    def rm_file(self, path):
        at(path).unlink()

    def rm(self, path, recursive=False, maxdepth=None):
        shutil.rmtree(at(path)) if at(path).is_dir() else at(path).unlink()


def at(path: str) -> Path:
    """Returns the file behind an address."""
    return Store.root / path.removeprefix("store://")


def use(root: Path, faults: Mapping[str, tuple[str, int]], lasting: bool) -> None:
    """Registers the store in this process."""
    fsspec.register_implementation("store", Store, clobber=True)
    Store.root, Store.faults, Store.lasting = root, dict(faults), lasting
