"""The memory of this machine, or of the container that holds this process."""

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup/memory.max")  # of version 2, as a container sees its own


def machine_bytes() -> tuple[int, int]:
    """Returns the bytes of memory of this machine, and how many of them are unused."""
    size = os.sysconf("SC_PAGE_SIZE")
    whole, free = (size * os.sysconf(name) for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    return whole, free


def container_bytes() -> int | None:
    """Returns the bytes that this container may use; None without a limit."""
    limit = CGROUP.read_text().strip() if CGROUP.is_file() else "max"
    return int(limit) if limit.isdigit() else None


def usable_bytes() -> int:
    """Returns the bytes of memory that this process can have at most."""
    whole, _ = machine_bytes()
    limit = container_bytes()
    return whole if limit is None else min(whole, limit)
