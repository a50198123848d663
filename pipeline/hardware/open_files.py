"""How many files the process may open: loaders keep one or two open per shard that they read."""

import resource

MOST = 2**16  # a container's limit may be 2^30, and some libraries prepare for as many


def allow_open_files() -> None:
    """Raises the soft limit of open files, often 1,024, to the hard one, up to `MOST`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
