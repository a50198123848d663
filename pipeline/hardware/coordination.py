"""Decisions of several hosts: joined processes, and answers that are the same on all of them.

What would be decided by looking at a disk or a clock is decided by the first host, and the others
get its answer: two views of one file system must not send hosts into different collectives. Answers
are JSON in the key-value store of JAX's coordination service, so they need no device and no
compilation. Waiting has no limit here: `host_watch.py` ends a host that waits for a lost one.
"""

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeVar

import jax

# JAX 0.10.2 has no public name for its key-value store, nor for the search for the first host:
# `jax.distributed` has initialize, is_initialized and shutdown.
from jax._src import distributed
from jax._src.clusters import ClusterEnv

from pipeline.arguments import Hosts
from pipeline.errors import ArtifactError, first_line
from pipeline.stopping import leave, say

Answer = TypeVar("Answer")
LOOPBACK = ("127.0.0.1", "[::1]", "localhost")
KEY_PREFIX = "mswitch"  # of all keys
WAIT_MILLISECONDS = 1_000  # of one call; Python looks for signals in between
JOIN_SECONDS = 300  # for all hosts to start
LEAVE_SECONDS = 60  # for all hosts to leave after the last has finished
NEVER_SECONDS = 7 * 86_400  # JAX's own watch, which ends a process with a C++ stack
STARTING = (
    "start the same command on every host, and outside Slurm and TPU pods give --hosts.coordinator "
    "HOST:PORT and --hosts.index."
)
_sync_points = itertools.count(1)
_sync_point = [0]  # the last one that this host has reached


def connect(hosts: Hosts) -> None:
    """Joins the processes of a command; call before any use of JAX's devices.

    If they are not all there within `JOIN_SECONDS`, this process ends with a sentence; JAX would
    end it with a C++ stack.

    Raises:
        ArtifactError: if the first host's address or this host's index is unknown.
    """
    late = threading.Timer(JOIN_SECONDS, _end_late, [hosts.count])
    late.daemon = True
    late.start()
    try:
        _join(hosts)
    except (RuntimeError, ValueError) as error:
        raise ArtifactError(
            f"{hosts.count} hosts were asked for and could not be joined ({first_line(error)}); "
            f"{STARTING}"
        ) from error
    finally:
        late.cancel()


def _join(hosts: Hosts) -> None:
    address, count, index, _ = ClusterEnv.auto_detect_unset_distributed_params(
        hosts.coordinator, hosts.count, hosts.index, None, None, JOIN_SECONDS
    )
    if address is None or index is None:
        raise ValueError("neither Slurm nor a TPU pod was found")
    is_local = address.rpartition(":")[0] in LOOPBACK
    jax.config.update("jax_enable_preemption_service", False)  # training/preemption.py
    jax.distributed.initialize(
        address,
        count,
        index,
        cluster_detection_method="deactivate",  # or Slurm would hide all devices but the first
        initialization_timeout=2 * JOIN_SECONDS,
        heartbeat_timeout_seconds=NEVER_SECONDS,
        shutdown_timeout_seconds=LEAVE_SECONDS,
        # JAX's own default is all interfaces; a host's name may stand for an address behind NAT.
        coordinator_bind_address=address if is_local else None,
    )


def _end_late(count: int) -> None:
    say(
        f"mswitch: {count} hosts were asked for and were not all there within {JOIN_SECONDS} s; "
        f"{STARTING}"
    )
    leave(2)


def is_first() -> bool:
    """Returns whether this is the first host, which writes."""
    return jax.process_index() == 0


def sync_point() -> int:
    """Returns the number of the last synchronization point that this host has reached.

    Hosts wait for one another at decisions, steps and batches of an evaluation. Such a point has
    the same number on every host.
    """
    return _sync_point[0]


def reach_sync_point() -> None:
    """Counts a point where hosts wait for one another; every host must call this."""
    _sync_point[0] = next(_sync_points)


def on_first_host(action: Callable[[], Answer]) -> Answer:
    """Runs an action on the first host and returns its answer, of JSON values, on all hosts.

    Every host must call this. If the action fails, the first host raises its error, which ends the
    other hosts too.
    """
    if jax.process_count() == 1:
        return action()
    name = f"decision-{sync_point()}"
    if is_first():  # behind the others until it has an answer
        _publish(name, action())
    reach_sync_point()
    return _waited(name)


@contextmanager
def held_by_first_host(context: Callable[[], AbstractContextManager[Answer]]) -> Iterator[Answer]:
    """Enters a context on the first host, for all; yields its value, of JSON values, on all.

    Args:
        context: returns the context; called on the first host.
    """
    with ExitStack() as held:
        yield on_first_host(lambda: held.enter_context(context()))


def agreed(here: Any, decide: Callable[[Sequence[Any]], Answer], name: str = "") -> Answer:
    """Returns what the first host decides on a value of each host; every host must call this.

    Args:
        here: this host's value, of JSON values.
        decide: function of the values of all hosts in their order, to JSON values.
        name: name of the decision, used once; needed only outside the main thread, whose decisions
            have numbers.
    """
    count = jax.process_count()
    if count == 1:
        return decide([here])
    if not name:
        name = f"decision-{sync_point()}"
        reach_sync_point()
    _publish(f"{name}/{jax.process_index()}", here)
    if is_first():
        _publish(name, decide([_waited(f"{name}/{host}") for host in range(count)]))
    return _waited(name)


def client() -> Any:
    """Returns the client of the coordination service, for which JAX 0.10 has no public name."""
    return distributed.global_state.client


def _publish(name: str, answer: Any) -> None:
    client().key_value_set(f"{KEY_PREFIX}/{name}", json.dumps(answer))


def _waited(name: str) -> Any:
    while True:
        try:
            return json.loads(
                client().blocking_key_value_get(f"{KEY_PREFIX}/{name}", WAIT_MILLISECONDS)
            )
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise
