"""Atomic writes: a reader finds the old file or the whole new one, never a part.

Here a file is written under a temporary name, forced to disk and renamed. In a store an upload is
atomic by itself: S3 and Google show an object only when its last byte has arrived, and compare it
with a checksum (`object_stores.ALWAYS`). So it goes straight to its name. Two attempts at one work
item write the same bytes, so the later upload changes nothing.
"""

import contextlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from data.stores.files import is_remote
from data.stores.object_stores import open_store
from data.stores.retry import Damaged, with_retries

TEMPORARY = ".tmp"


@contextlib.contextmanager
def atomic_write(path: str | Path, scratch: str | Path | None = None) -> Iterator[Path]:
    """Yields a local path to write to; the file appears under its own path when the block ends.

    Args:
        path: final path, local or remote.
        scratch: directory for the unfinished local file, on the same disk as the path, for files
            that others find by listing a directory; beside the path if left out.
    """
    if is_remote(path):
        with tempfile.TemporaryDirectory() as directory:
            unfinished = Path(directory, Path(path).name)
            yield unfinished
            upload(unfinished, str(path))
        return
    final = Path(path)
    unfinished = Path(scratch, uuid.uuid4().hex) if scratch else _beside(final)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    yield unfinished
    publish(unfinished, final)


def publish(unfinished: Path, path: Path) -> None:
    """Renames a complete local file to its final path, after forcing it to disk."""
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(unfinished, path)


def write_text(path: str | Path, text: str) -> None:
    """Writes a small file atomically, as UTF-8."""
    with atomic_write(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def upload(source: Path, path: str) -> None:
    """Copies a local file to a store, and retries until the store holds it whole.

    Raises:
        DataError: if the store keeps failing, or keeps another number of bytes.
    """
    filesystem, root = open_store(path)
    size = source.stat().st_size

    def send() -> None:
        filesystem.put_file(str(source), root)
        arrived = filesystem.info(root)["size"]
        if arrived != size:
            filesystem.rm_file(root)  # a file that exists is taken for whole
            raise Damaged(
                f"{path} was uploaded with {size:,} bytes and the store holds {arrived:,}, in "
                "every attempt; look at the store and run the same command again."
            )

    with_retries(send, path, "written")


def _beside(path: Path) -> Path:
    return path.with_name(path.name + TEMPORARY)
