"""Several hosts: processes that join, decide the same and watch each other.

One host that is lost or stops ends the others in one sentence.

What would be decided by looking at a disk or a clock is decided by the first host, and the others
get its answer: two views of one file system must not send hosts into different collectives. Answers
are JSON in the key-value store of JAX's coordination service, so they need no device and no
compilation. Waiting has no limit here: `HostWatch` ends a host that waits for a lost one.

A thread of each host writes a beat to the coordination service. The first host reads those of all
and decides who is lost; the others read its beat and its decision. A host that stops with an error
or by a signal says so, and the others stop with that. Without this, hosts would wait for ever
inside a collective, or print the stack of a library.

A host is lost after `LOST_SECONDS` without a beat, or after `BROKEN_SECONDS` where a collective
broke, as it does if a process is killed. It is stuck after `STUCK_SECONDS` in which it answered and
did not reach the point of the program where the others wait for it.
"""

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import jax

# JAX 0.10.2 has no public name for its key-value store, nor for the search for the first host:
# `jax.distributed` has initialize, is_initialized and shutdown.
from jax._src import distributed
from jax._src.clusters import ClusterEnv

from pipeline.errors import (
    LOST_STATUS,
    REFUSALS,
    ArtifactError,
    Preempted,
    first_line,
    system_failure,
)
from pipeline.fields import Hosts
from pipeline.stopping import Stopped, leave, leave_at_the_end, say
from pipeline.terminal import redact

Answer = TypeVar("Answer")
LOOPBACK = ("127.0.0.1", "[::1]", "localhost")
KEY_PREFIX = "mswitch"  # of all keys
BEATS, DECISIONS = f"{KEY_PREFIX}/beats", f"{KEY_PREFIX}/ends"
WAIT_MILLISECONDS = 1_000  # of one call; Python looks for signals in between
JOIN_SECONDS = 300  # for all hosts to start
LEAVE_SECONDS = 60  # for all hosts to leave after the last has finished
NEVER_SECONDS = 7 * 86_400  # JAX's own watch, which ends a process with a C++ stack
BEAT_SECONDS = 1.0
LOST_SECONDS = 60.0
BROKEN_SECONDS = 10.0
STUCK_SECONDS = 900.0  # longer than a large save; all compile programs at one point
READ_SECONDS = 4.0  # after which every host has read what the first one decided
STARTING = (
    "start the same command on every host, and outside Slurm and TPU pods give --hosts.coordinator "
    "HOST:PORT and --hosts.index."
)
RESTART = (
    "start the same command again on all hosts, or with another --hosts.count and mesh on those "
    "that are left; a run goes on from its last whole checkpoint."
)
_sync_points = itertools.count(1)
_sync_point = [0]  # the last one that this host has reached
_watches: list["HostWatch"] = []  # one per process at most, as JAX's own client


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
    jax.config.update("jax_enable_preemption_service", False)  # training/loop.py
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
    return _wait_for(name)


@contextmanager
def held_by_first_host(context: Callable[[], AbstractContextManager[Answer]]) -> Iterator[Answer]:
    """Enters a context on the first host, for all; yields its value, of JSON values, on all.

    Args:
        context: returns the context; called on the first host.
    """
    with ExitStack() as held:
        yield on_first_host(lambda: held.enter_context(context()))


def agree_on(here: Any, decide: Callable[[Sequence[Any]], Answer], name: str = "") -> Answer:
    """Returns the first host's decision on a value of each host; every host must call this.

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
        _publish(name, decide([_wait_for(f"{name}/{host}") for host in range(count)]))
    return _wait_for(name)


def client() -> Any:
    """Returns the client of the coordination service, for which JAX 0.10 has no public name."""
    return distributed.global_state.client


def _publish(name: str, answer: Any) -> None:
    client().key_value_set(f"{KEY_PREFIX}/{name}", json.dumps(answer))


def _wait_for(name: str) -> Any:
    while True:
        try:
            return json.loads(
                client().blocking_key_value_get(f"{KEY_PREFIX}/{name}", WAIT_MILLISECONDS)
            )
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise


@dataclass
class _Seen:
    """The last beat of a host and the last synchronization point that it reached.

    Attributes:
        answered: time of its last beat.
        moved: time when it reached its last synchronization point.
        beat: number of its last beat.
        sync_point: number of that point.
    """

    answered: float
    moved: float
    beat: int = 0
    sync_point: int = 0


class HostWatch:
    """The watch of this host; it starts with the first beat.

    Args:
        stage: name of the command, for messages.
    """

    def __init__(self, stage: str):
        self._stage = stage
        self._names = agree_on(socket.gethostname(), list)
        self._limit, self._beats = LOST_SECONDS, 0
        self._ended = threading.Event()
        self._ending = threading.Lock()
        self._when_asked: Callable[[str], None] | None = None
        self._forget()
        self._threads = [
            threading.Thread(target=self._repeat, args=(work,), daemon=True)
            for work in (self._exchange, self._judge)
        ]
        for thread in self._threads:
            thread.start()

    def when_asked(self, act: Callable[[str], None]) -> None:
        """Calls a function in a thread once any host asks all to stop, with its reason."""
        self._when_asked = act

    def ask_all_to_stop(self, reason: str) -> None:
        """Publishes the request that all hosts stop at one point, this one too."""
        said = f"host {self._name(jax.process_index())}: {reason}"
        client().key_value_set(f"{DECISIONS}/stop", said, allow_overwrite=True)

    def finish(self) -> None:
        """Waits until all hosts are finished, ends the watch and leaves the other hosts.

        The first host, whose store the others read, is left last: JAX's `shutdown` is a barrier.
        """
        agree_on(True, all)
        self._ended.set()
        for thread in self._threads:
            thread.join(BROKEN_SECONDS)
        with suppress(jax.errors.JaxRuntimeError):  # a host that was lost after it had finished
            jax.distributed.shutdown()

    def fail(self, error: BaseException) -> None:
        """Ends the other hosts because of an error that ends this one.

        An error of JAX's runtime may mean that another host is lost, which broke a collective. This
        therefore waits first: the watch then ends this host with a sentence about the lost one.
        """
        if _is_of_jax(error):
            self._limit = BROKEN_SECONDS
            time.sleep(BROKEN_SECONDS + READ_SECONDS)
        self._ending.acquire()  # from here on this host prints its own error alone
        leave_at_the_end()
        sentence, status = _sentence_and_status(error)
        here = f"host {self._name(jax.process_index())}"
        self._publish(f"{here} ended, and the others end with it: {sentence}", status)
        self._wait_for_readers()
        self._ended.set()

    def _repeat(self, work: Callable[[], None]) -> None:
        while not self._ended.is_set():
            with suppress(jax.errors.JaxRuntimeError):  # silence, which `_judge` measures
                work()
            self._ended.wait(BEAT_SECONDS)

    def _exchange(self) -> None:
        """Writes a beat, and reads what the first host decided; on the first, all beats too."""
        self._beats += 1
        beat = f"{self._beats} {sync_point()}"
        client().key_value_set(f"{BEATS}/{jax.process_index()}", beat, allow_overwrite=True)
        if is_first():
            self._see(dict(client().key_value_dir_get(BEATS)))
            client().key_value_set(f"{DECISIONS}/beat", beat, allow_overwrite=True)
        decided = dict(client().key_value_dir_get(DECISIONS))
        if not is_first():
            self._see({f"{BEATS}/0": decided.get(f"{DECISIONS}/beat", "0 0")})
        if (reason := decided.get(f"{DECISIONS}/stop")) and self._when_asked is not None:
            threading.Thread(target=self._when_asked, args=(reason,), daemon=True).start()
            self._when_asked = None
        if verdict := decided.get(f"{DECISIONS}/verdict"):
            self._end(**json.loads(verdict))

    def _see(self, beats: dict[str, str]) -> None:
        now = time.monotonic()
        for key, value in beats.items():
            beat, reached = map(int, value.split())
            seen = self._seen[int(key.rpartition("/")[2])]
            if seen.beat != beat:
                seen.beat, seen.answered = beat, now
            if seen.sync_point != reached:
                seen.sync_point, seen.moved = reached, now

    def _forget(self) -> None:
        """Begins to wait for beats anew, also after this host itself was stopped for a while."""
        self._looked = time.monotonic()
        watched = range(len(self._names) if is_first() else 1)
        self._seen = {host: _Seen(self._looked, self._looked) for host in watched}

    def _judge(self) -> None:
        now = time.monotonic()
        if now - self._looked > BROKEN_SECONDS:
            return self._forget()
        self._looked = now
        host, silent = min(self._seen.items(), key=lambda item: item[1].answered)
        if now - silent.answered > self._limit:
            self._decide(
                f"host {self._name(host)} has not answered for {now - silent.answered:.0f} s, so "
                f"all hosts stop; look at its machine and its last message, then {RESTART}"
            )
        host, last = min(self._seen.items(), key=lambda item: item[1].sync_point)
        waited = _seconds_waited(now, last, self._seen.values())
        if waited > STUCK_SECONDS:
            self._decide(
                f"host {self._name(host)} answers, but the others have waited for it for "
                f"{waited:.0f} s, so all hosts stop; look at its disks and its last "
                f"message, then {RESTART}"
            )

    def _decide(self, said: str) -> None:
        if is_first():
            self._publish(said, LOST_STATUS)
        self._end(said, LOST_STATUS)

    def _publish(self, said: str, status: int) -> None:
        """Publishes the reason for which all hosts end."""
        verdict = json.dumps({"said": said, "status": status})
        with suppress(jax.errors.JaxRuntimeError):  # there is one, or the first host is gone
            client().key_value_set(f"{DECISIONS}/verdict", verdict)

    def _end(self, said: str, status: int) -> None:
        with self._ending:
            say(f"{self._stage}: {said}")
            self._wait_for_readers()
            leave(status)

    def _wait_for_readers(self) -> None:
        """Keeps the store of the first host open until the others have read why to end."""
        if is_first():
            time.sleep(READ_SECONDS)

    def _name(self, host: int) -> str:
        return f"{host} of {len(self._names)} ({self._names[host]})"


def _seconds_waited(now: float, last: _Seen, hosts: Iterable[_Seen]) -> float:
    """Returns the seconds since another host reached a point where it waits for the last one."""
    ahead = [host.moved for host in hosts if host.sync_point > last.sync_point]
    return now - max(min(ahead), last.moved) if ahead else 0.0


def _is_of_jax(error: BaseException | None) -> bool:
    """Returns whether an error, or one that it was raised from, is one of JAX's runtime."""
    while error is not None:
        if isinstance(error, jax.errors.JaxRuntimeError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _sentence_and_status(error: BaseException) -> tuple[str, int]:
    """Returns a sentence about an error, without credentials, and the status of its command."""
    if isinstance(error, Stopped):
        return str(error), error.status
    if isinstance(error, REFUSALS):
        return redact(str(error)), 2
    if (sentence := system_failure(error)) is not None:
        return redact(sentence), 2
    return redact(f"{type(error).__name__}: {first_line(error)}"), 1


@contextmanager
def joined_hosts(hosts: Hosts, stage: str) -> Iterator[None]:
    """Joins the hosts of a command within the block, and watches over them.

    Args:
        hosts: the hosts; one host is joined with nothing.
        stage: name of the command, for messages.

    Raises:
        ArtifactError: if the other hosts cannot be found.
    """
    if hosts.count == 1:
        yield
        return
    connect(hosts)
    watch = HostWatch(stage)
    _watches.append(watch)
    try:
        yield
    except Preempted:  # all agreed
        watch.finish()
        raise
    except BaseException as error:
        watch.fail(error)
        raise
    watch.finish()


def host_watch() -> HostWatch | None:
    """Returns the watch of the joined hosts; None where there is one host."""
    return _watches[-1] if _watches else None
