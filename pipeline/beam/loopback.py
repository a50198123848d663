"""Beam's servers of this machine, bound to loopback.

Beam (2.77.0) lets the servers of its embedded runner, of its worker processes' logs and of its pool
of workers listen on all interfaces, without authentication, and offers no option for it. Whoever
reached one could read the job's settings and graph, and could start programs through a pool. All of
these servers come from `grpc.server` in four modules of Beam; these get one that binds elsewhere.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import grpc
from apache_beam.runners.portability import abstract_job_service, local_job_service
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.worker import worker_pool_main

ALL_INTERFACES = "[::]"
LOOPBACK = "127.0.0.1"  # clients connect to "localhost"
SERVE = (abstract_job_service, local_job_service, worker_handlers, worker_pool_main)


class LoopbackGrpc:
    """The module `grpc`, as Beam's servers see it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(grpc, name)

    @staticmethod
    def server(*arguments: Any, **settings: Any) -> grpc.Server:
        """Returns a server that binds to loopback where it is asked to bind to all interfaces."""
        made = grpc.server(*arguments, **settings)
        vars(made)["add_insecure_port"] = _on_loopback(made.add_insecure_port)
        return made


def bind_to_loopback() -> None:
    """Makes every server that Beam starts in this process from now on listen on loopback only."""
    for module in SERVE:
        vars(module)["grpc"] = LoopbackGrpc()


def _on_loopback(bind: Callable[[str], int]) -> Callable[[str], int]:
    @wraps(bind)
    def bound(address: str) -> int:
        return bind(address.replace(ALL_INTERFACES, LOOPBACK))

    return bound
