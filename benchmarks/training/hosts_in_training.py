"""Four hosts that train one run, one of which fails: how the others end, and what the run becomes.

    PYTHONPATH=.:tests/helpers:.ci python benchmarks/training/hosts_in_training.py
        [--acts suspend kill]

Hosts are processes with two simulated devices each. One run per fault fails at its start, in
training, in a save and in an evaluation, each time on another host. Each failure is followed by the
same command, which goes on; the last ends the run. Printed are the seconds from a failure until the
last of the others has ended, with the limits of `pipeline/hardware/hosts.py`, and the largest
relative difference of a loss from the run of one device. Replaces its rows in
benchmarks/results/hosts_in_training.json.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tests.conftest  # noqa: F401  eight simulated devices, and programs that compile in seconds

# isort: split
import numpy as np
from small_blocks import make_blocks
from small_tokens import write_tokens
from started_hosts import options
from training_runs import EVERY, EXPERTS, MESH, SIZES, STEPS, lines, start

from pipeline.runs.directory import saved_steps

COUNT, DEVICES = 4, 8
RESULT = Path(__file__).parents[1] / "results" / "hosts_in_training.json"
LAUNCHER = str(Path(__file__).parent / "material/failing_host.py")
ACTS = {
    "suspend": "suspended (SIGSTOP)",
    "kill": "killed (SIGKILL)",
    "raise": "fault of the program",
    "stop": "SIGTERM",
}
# Moment, failing host and step: each host fails once, the first while it completes a checkpoint.
FAILURES = (("start", 1, 0), ("training", 3, 4), ("saving", 0, 9), ("evaluation", 2, STEPS))
SETTINGS = (
    *("model.switch.every=1", "model.layers=1", *SIZES, *EXPERTS),
    *(f"steps={STEPS}", f"checkpoint_every={EVERY}", "evaluate_every=6"),
)


def on_devices(count: int) -> str:
    """Returns XLA's flags for a process with so many simulated devices."""
    return os.environ["XLA_FLAGS"].replace(f"device_count={DEVICES}", f"device_count={count}")


class Bench:
    """Runs of one recipe on the same tokens, below one folder."""

    def __init__(self, root: Path):
        self.root = root
        (root / "tokens").mkdir()
        write_tokens(root / "tokens", make_blocks)

    def words(self, out: Path, *mesh: str) -> list[str]:
        asked = ["pretrain", "--recipe=switch-demo", f"--tokens={self.root}/tokens"]
        return [*asked, f"--out={out}", "--set", *SETTINGS, *mesh]

    def hosts(self, out: Path, failure: tuple[str, str, int, int]) -> list[subprocess.Popen[str]]:
        """Starts the hosts, one of which fails."""
        with socket.socket() as found:
            found.bind(("localhost", 0))
            address = f"localhost:{found.getsockname()[1]}"
        flags = on_devices(DEVICES // COUNT)
        launcher = (LAUNCHER, *map(str, failure))
        words = [
            [*self.words(out, *MESH), *options(COUNT, index, address)] for index in range(COUNT)
        ]
        return [start(one, launcher=launcher, XLA_FLAGS=flags) for one in words]

    def finished(self, name: str) -> Path:
        """Returns the run, trained to its end by hosts of which none fails."""
        out = self.root / name
        hosts = self.hosts(out, ("none", "training", -1, 0))
        said = [host.communicate()[1] for host in hosts]
        assert [host.returncode for host in hosts] == [0] * COUNT, said
        return out

    def alone(self, name: str) -> Path:
        """Returns the run, trained by one process on one device."""
        out = self.root / name
        process = start(self.words(out, "mesh.data=1", "mesh.expert=1"), XLA_FLAGS=on_devices(1))
        said = process.communicate()[1]
        assert process.returncode == 0, said
        return out

    def failed(self, act: str, moment: str, host: int, step: int) -> dict:
        """Returns the row of one failure of the run of its fault."""
        out = self.root / act
        hosts = self.hosts(out, (act, moment, host, step))
        others = [one for one in hosts if one is not hosts[host]]
        while any(one.poll() is None for one in others):
            time.sleep(0.05)
        ended = time.time()
        if act == "suspend":
            hosts[host].kill()
        printed = [one.communicate()[1] for one in hosts]
        acted = re.search(r"fails at (\S+)", printed[host])
        assert acted, printed
        last = [printed[hosts.index(one)].strip().splitlines()[-1] for one in others]
        return {
            "event": ACTS[act],
            "moment": moment,
            "host": f"{host} of {COUNT}",
            "seconds": round(ended - float(acted[1]), 1),
            "statuses": sorted({one.returncode for one in others}),
            "with a traceback": sum("Traceback" in printed[hosts.index(one)] for one in others),
            "printed": sorted(set(last)),
            "saved steps": saved_steps(out) if (out / "checkpoints").exists() else [],
        }


def difference(one: Path, other: Path) -> float:
    """Returns the largest relative difference of two runs' losses."""
    losses = [
        [line["loss_nats"] for line in lines(run) if "loss_nats" in line] for run in (one, other)
    ]
    assert len(losses[0]) == len(losses[1]) == STEPS
    return float(np.max(np.abs(np.divide(*losses) - 1)))


def record(kind: str, keys: tuple[str, ...], row: dict) -> None:
    """Prints a row, and replaces the one with its keys in the result."""
    print(json.dumps(row), flush=True)
    found = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    kept = [one for one in found.get(kind, []) if any(one[key] != row[key] for key in keys)]
    RESULT.write_text(json.dumps(found | {kind: [*kept, row]}, indent=1) + "\n")


def failures(bench: Bench, act: str, moments: list[str], one: Path) -> None:
    """Records a run that fails at some moments, and its end beside the run of one device."""
    for failure in FAILURES:
        if failure[0] in moments:
            record("failures", ("event", "moment"), bench.failed(act, *failure))
    run = bench.finished(act)
    row = {
        "run": f"{ACTS[act]} at {', '.join(moments)}",
        "relative difference": difference(run, one),
    }
    record("runs", ("run",), row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    moments = [moment for moment, *_ in FAILURES]
    parser.add_argument("--acts", nargs="*", choices=ACTS, default=list(ACTS))
    parser.add_argument("--moments", nargs="+", choices=moments, default=moments)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        one = bench.alone("one")
        for act in asked.acts:
            failures(bench, act, asked.moments, one)


if __name__ == "__main__":
    sys.exit(main())
