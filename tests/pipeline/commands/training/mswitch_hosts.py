"""`mswitch` on several hosts with a fault, or several commands on the same hosts.

FILE killed COMMAND...       the last host is killed after step 4, a step after a save
FILE impatient COMMAND...    a host waits half a second for a checkpoint
FILE read RUN TOKENS OUT COUNT INDEX HOST:PORT      evaluate, fill and export-hf
"""

import os
import signal
import sys
from pathlib import Path

import jax

from pipeline import cli
from pipeline.hardware import hosts as host_watch
from pipeline.runs import opened_run
from pipeline.training.log import metrics

KILLED_AFTER = 4


def kill_the_last_host() -> None:
    inner = metrics.MetricsLog.step

    def step(self, number: int, metrics: object) -> None:
        inner(self, number, metrics)
        last = jax.process_index() == jax.process_count() - 1
        if number == KILLED_AFTER and last:
            os.kill(os.getpid(), signal.SIGKILL)

    metrics.MetricsLog.step = step


def read(run: str, tokens: str, out: str, count: str, index: str, address: str) -> None:
    """Joins the hosts once and runs three commands, which takes a third of the time."""
    from pipeline.commands.evaluate import Evaluate
    from pipeline.commands.export_hf import ExportHf
    from pipeline.commands.fill import Fill
    from pipeline.fields import Hosts

    directory = Path(run)
    hosts = Hosts(count=int(count), index=int(index), coordinator=address)
    with host_watch.joined_hosts(hosts, "read"):
        Evaluate(run=directory, tokens=tokens).execute()
        Fill(text="Watu <extra_id_0> huru", run=directory, tokens=4).execute()
        ExportHf(run=directory, out=Path(out)).execute()


if __name__ == "__main__":
    act, *words = sys.argv[1:]
    host_watch.LOST_SECONDS, host_watch.BROKEN_SECONDS = 15.0, 5.0
    if act == "read":
        read(*words)
    else:
        if act == "killed":
            kill_the_last_host()
        opened_run.VIEW_SECONDS = 0.5
        cli.main(words)
