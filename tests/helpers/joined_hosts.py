"""Hosts that only agree and add numbers: processes that start in seconds, to be lost or stopped.

    FILE ACT VICTIM LOST_SECONDS BROKEN_SECONDS COUNT INDEX HOST:PORT

After some rounds the victim does what `ACT` says; the other hosts go on. After `stop` every host
prints the round in which it stopped. With `finish` all end at once, and the victim learns it late.
With `late` a signal comes after the last round, and every host prints whether it knows of it.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROUNDS, AT = 10_000, 3
STUCK_SECONDS, LATE_SECONDS, HOUR = 8.0, 3.0, 3600
QUICK = 12.0, 4.0  # seconds after which a host is lost, and where a collective broke


def started(
    act: str, count: int, victim: int, limits: tuple[float, float] = QUICK
) -> list[subprocess.Popen[str]]:
    """Starts the hosts."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        address = f"localhost:{found.getsockname()[1]}"
    devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    words = [act, str(victim), *map(str, limits), str(count)]
    return [
        subprocess.Popen(
            [sys.executable, __file__, *words, str(index), address],
            env=os.environ | {"PYTHONPATH": str(ROOT)} | devices,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(count)
    ]


def ends(act: str, count: int, victim: int) -> list[tuple[int, str, str]]:
    """Returns status, standard output and standard error of each host."""
    hosts = started(act, count, victim)
    stalled = victim if act == "stall" else count  # a host that does not end
    printed = {index: host.communicate() for index, host in enumerate(hosts) if index != stalled}
    if act == "stall":
        hosts[victim].kill()
        printed[victim] = hosts[victim].communicate()
    return [(host.returncode, *printed[index]) for index, host in enumerate(hosts)]


def stopped_late(is_victim: bool) -> int:
    from pipeline.hardware.hosts import agree_on
    from pipeline.terminal import print_lines
    from pipeline.training import loop

    loop.GRACE_SECONDS = 2
    with loop.Preemption("example") as listening:
        assert not listening.should_stop()
        if is_victim:
            os.kill(os.getpid(), signal.SIGTERM)
            while not listening.asked:
                time.sleep(0.001)
    stopped = agree_on(listening.asked, any)
    time.sleep(LATE_SECONDS)  # what follows
    print_lines(f"stopped: {stopped}")
    return 0


def main(
    act: str, victim: str, lost: str, broken: str, count: str, index: str, address: str
) -> int:
    import numpy as np
    from jax.experimental import multihost_utils

    from pipeline.errors import ArtifactError
    from pipeline.fields import Hosts
    from pipeline.hardware import hosts as coordination
    from pipeline.hardware import hosts as host_watch
    from pipeline.hardware.hosts import agree_on, on_first_host
    from pipeline.stopping import Stopped, leave, stoppable
    from pipeline.terminal import print_lines, print_message
    from pipeline.training.loop import Preemption

    host_watch.LOST_SECONDS, host_watch.BROKEN_SECONDS = float(lost), float(broken)
    if act == "hang":
        host_watch.STUCK_SECONDS = STUCK_SECONDS

    def act_now() -> None:
        if act in ("kill", "stall", "interrupt", "stop"):
            names = {"kill": "SIGKILL", "stall": "SIGSTOP"}
            os.kill(os.getpid(), getattr(signal, names.get(act, "SIGTERM")))
        if act == "refuse":
            raise ArtifactError("The disk of this host is full; make room.")
        if act == "hang":
            time.sleep(HOUR)
        if act == "break":
            raise ZeroDivisionError("a fault of the program\nof several lines")

    def late() -> int:
        waited = coordination._wait_for
        coordination._wait_for = lambda name: (time.sleep(LATE_SECONDS), waited(name))[1]
        return 0

    def rounds() -> int:
        assert on_first_host(lambda: {"host": index}) == {"host": "0"}
        assert agree_on(int(index), sorted) == list(range(int(count)))
        if act == "late":
            return stopped_late(index == victim)
        if act == "finish":
            return late() if index == victim else 0
        with Preemption("example") as preemption:
            if act != "stop":
                preemption.__exit__()  # signals interrupt the command, as they do outside training
            for number in range(ROUNDS):
                if number == AT and index == victim:
                    print(f"acts at {time.time()}", flush=True)
                    act_now()
                if preemption.should_stop():
                    print_lines(f"stopped in round {number}")
                    return 143
                multihost_utils.process_allgather(np.int32(number))
                time.sleep(random.uniform(0.0, 0.02))
        return 0

    hosts = Hosts(count=int(count), index=int(index), coordinator=address)
    try:
        with stoppable("example"), host_watch.joined_hosts(hosts, "example"):
            status = rounds()
        leave(status)  # what libraries do at exit is not what keeps hosts together
    except ArtifactError as error:
        print_message(f"mswitch: {error}")
        return 2
    except Stopped as stopped:
        print_message(f"mswitch: {stopped}")
        return stopped.status
    except ZeroDivisionError as error:
        print_message(f"mswitch: {error}")
        return 1


if __name__ == "__main__":
    from pipeline.stopping import end

    end(main(*sys.argv[1:]))
