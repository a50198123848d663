"""Several hosts as processes of this machine, each with its part of eight simulated devices."""

import os
import socket
from collections.abc import Callable
from typing import NamedTuple

import forked

PROGRAM = ("pipeline.cli",)


class Ended(NamedTuple):
    """Exit status and standard error of a host."""

    status: int
    err: str


def run_hosts(
    count: int, words: Callable[[int, str], list[str]], launcher: tuple[str, ...] = PROGRAM
) -> list[Ended]:
    """Runs one process per host to its end.

    Args:
        count: number of hosts.
        words: function from a host's index and the first host's HOST:PORT to the arguments.
        launcher: a program and its first arguments.
    """
    with socket.socket() as found:
        found.bind(("localhost", 0))
        address = f"localhost:{found.getsockname()[1]}"
    flags = os.environ["XLA_FLAGS"].replace("device_count=8", f"device_count={8 // count}")
    program, *first = launcher
    hosts = [
        forked.start(program, [*first, *words(index, address)], XLA_FLAGS=flags)
        for index in range(count)
    ]
    printed = [host.communicate()[1] for host in hosts]
    return [Ended(host.returncode, err) for host, err in zip(hosts, printed, strict=True)]


def options(count: int, index: int, address: str) -> list[str]:
    """Returns the options that join a host."""
    return [f"--hosts.count={count}", f"--hosts.index={index}", f"--hosts.coordinator={address}"]
