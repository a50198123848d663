"""Copies of files that no one changes in place, without reading them where that is possible.

On one disk a copy is another name of the same file (a hard link), and in one store the store copies
by itself. Elsewhere the bytes travel through this machine.
"""

import contextlib
import os
import shutil
from pathlib import Path

from data.stores.atomic import atomic_write, send_whole, upload
from data.stores.files import exists, is_remote, local_copy
from data.stores.object_stores import open_store
from data.stores.retry import with_retries


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
        _, to = open_store(target)
        size = with_retries(lambda: filesystem.info(root)["size"], source)
        send_whole(lambda: filesystem.cp_file(root, to), target, size)
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
