"""Atomic writes: a reader finds the old file or the whole new one, never a part.

On this machine a file is written under a temporary name, forced to disk and renamed. Temporary
names are unique, so no two processes write one temporary file. In a store an upload is atomic by
itself: S3 and Google show an object only when its last byte has arrived, and compare it with a
checksum (`stores.ALWAYS`). So it goes straight to its name; elsewhere (`hdfs://`, `file://`) it is
renamed, too. Two attempts at one work item write the
same bytes, so the later upload changes nothing.

A copy of a file that no one changes in place is made without reading it where that is possible. On
one disk it is another name of the same file (a hard link), and in one store the store copies by
itself. Elsewhere the bytes travel through this machine.
"""

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from data.files.paths import exists, is_remote, local_copy, temporary_folder
from data.files.stores import Damaged, open_store, with_retries

UNFINISHED = re.compile(r"(?:.+\.)?[0-9a-f]{32}\.tmp")
SHOW_PARTS = ("file", "local", "hdfs", "webhdfs", "sftp", "ssh", "smb", "ftp")  # schemes


@contextlib.contextmanager
def atomic_write(path: str | Path, scratch: str | Path | None = None) -> Iterator[Path]:
    """Yields a local path to write to; the file appears under its own path when the block ends.

    Args:
        path: final path, local or remote.
        scratch: directory for the unfinished local file, on the same disk as the path, for files
            that others find by listing a directory; beside the path if left out.
    """
    if is_remote(path):
        with temporary_folder() as directory:
            unfinished = directory / Path(path).name
            yield unfinished
            upload(unfinished, str(path))
        return
    final = Path(path)
    folder, name = (Path(scratch), "") if scratch else (final.parent, f"{final.name}.")
    unfinished = folder / f"{name}{temporary_name()}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield unfinished
        publish(unfinished, final)
    except BaseException:
        unfinished.unlink(missing_ok=True)  # on a full disk this is the room for the next attempt
        raise


def temporary_name() -> str:
    """Returns a name that no other file has, for one that is being written."""
    return f"{uuid.uuid4().hex}.tmp"


def publish(unfinished: Path, path: Path) -> None:
    """Renames a complete local file to its final path, after forcing it to disk."""
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(unfinished, path)


def remove_unfinished(directory: str | Path) -> None:
    """Removes the unfinished local files of killed processes; only for the lock's holder.

    A user's own `.tmp` files have other names.
    """
    if not is_remote(directory):
        for path in Path(directory).glob("*.tmp"):
            if UNFINISHED.fullmatch(path.name) and path.is_file():
                path.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes a small file atomically, as UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a small file atomically."""
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(content)


def create(path: str | Path, content: bytes) -> bool:
    """Writes a small file unless it exists; returns whether it did.

    Of several processes one succeeds. A retried request may find the file of its own first attempt.
    """
    if not is_remote(path):
        return _create_here(Path(path), content)
    filesystem, root = open_store(str(path))

    def send() -> bool:
        try:
            filesystem.pipe_file(root, content, mode="create")
        except OSError as error:
            response = getattr(error.__cause__, "response", None) or {}  # of S3
            code = response.get("Error", {}).get("Code")
            if isinstance(error, FileExistsError) or code == "PreconditionFailed":
                return False
            raise
        return True

    return with_retries(send, str(path), "written")


def _create_here(path: Path, content: bytes) -> bool:
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    except OSError:  # a full disk
        path.unlink(missing_ok=True)
        raise
    return True


def put(path: str, content: bytes) -> None:
    """Writes a small file in one attempt, not atomically on this machine."""
    if not is_remote(path):
        Path(path).write_bytes(content)
        return
    filesystem, root = open_store(path)
    filesystem.pipe_file(root, content)


def upload(source: Path, path: str) -> None:
    """Copies a local file to a store, and retries until the store holds it whole.

    Raises:
        DataError: if the store keeps failing, or keeps another number of bytes.
    """
    filesystem, _ = open_store(path)
    send_whole(lambda to: filesystem.put_file(str(source), to), path, source.stat().st_size)


def send_whole(send: Callable[[str], object], path: str, size: int) -> None:
    """Calls a function that writes a store's file, until the store holds all bytes of it.

    A store that shows a file while it is written, such as HDFS, gets it under another name first.

    Args:
        send: function that writes the file to a place of the store.
        path: address of the file.
        size: number of its bytes.

    Raises:
        DataError: if the store keeps failing, or keeps another number of bytes.
    """
    filesystem, root = open_store(path)
    shows_parts = path.partition("://")[0] in SHOW_PARTS
    first = f"{root}.{temporary_name()}" if shows_parts else root

    def attempt() -> None:
        send(first)
        arrived = filesystem.info(first)["size"]
        if arrived != size:
            filesystem.rm_file(first)  # a file that exists is taken for whole
            raise Damaged(
                f"{path} was written with {size:,} bytes and the store holds {arrived:,}, in "
                "every attempt; look at the store and run the same command again."
            )
        if shows_parts:
            if filesystem.exists(root):  # HDFS renames to no name that is taken
                filesystem.rm_file(root)
            filesystem.mv(first, root)

    with_retries(attempt, path, "written")


def copy_file(source: str, target: str, scratch: str) -> None:
    """Makes the target the same file as the source, unless it exists.

    Args:
        source: a file that is only ever replaced as a whole.
        target: its new path or address.
        scratch: directory for an unfinished local file.
    """
    if exists(target):
        return
    if is_remote(source) and source.partition("://")[0] == target.partition("://")[0]:
        filesystem, root = open_store(source)
        size = with_retries(lambda: filesystem.info(root)["size"], source)
        send_whole(lambda to: filesystem.cp_file(root, to), target, size)
        return
    with local_copy(source) as here:
        if is_remote(target):
            upload(here, target)
        else:
            _copy_here(here, target, scratch, link=not is_remote(source))


def _copy_here(source: Path, target: str, scratch: str, *, link: bool) -> None:
    with atomic_write(target, scratch) as unfinished:
        if link:
            with contextlib.suppress(OSError):  # another disk, or one without links
                os.link(source, unfinished)
                return
        shutil.copyfile(source, unfinished)
