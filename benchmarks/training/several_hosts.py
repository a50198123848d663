"""How soon the other hosts end, and how, when one of 2 or 4 processes is lost, fails or is stopped.

    PYTHONPATH=.:tests/helpers python benchmarks/training/several_hosts.py
        [--counts 2 4] [--rounds 1]

The processes of `tests/helpers/joined_hosts.py` add numbers together; the victim, the first or the
last one, does what the row says. Printed are the seconds from then until the last of the others has
ended, with the limits of `pipeline/hardware/hosts.py`, and what the others printed: one line.
Writes benchmarks/results/several_hosts.json.
"""

import argparse
import json
import re
import sys
import time
from pathlib import Path

from joined_hosts import started

from pipeline.hardware.hosts import BROKEN_SECONDS, LOST_SECONDS

RESULT = Path(__file__).parents[1] / "results" / "several_hosts.json"
ACTS = {
    "kill": "killed (SIGKILL)",
    "stall": "suspended (SIGSTOP)",
    "refuse": "refuses something",
    "break": "fault of the program",
    "interrupt": "SIGTERM outside training",
    "stop": "SIGTERM in training",
}


def one(act: str, count: int, victim: int) -> dict:
    """Returns the row of one round."""
    hosts = started(act, count, victim, (LOST_SECONDS, BROKEN_SECONDS))
    others = [host for index, host in enumerate(hosts) if index != victim]
    while any(host.poll() is None for host in others):
        time.sleep(0.05)
    ended = time.time()
    hosts[victim].kill()
    printed = [host.communicate() for host in hosts]
    acted = float(re.search(r"acts at (\S+)", printed[victim][0])[1])
    lines = [printed[hosts.index(host)][1].splitlines() for host in others]
    assert {len(one) for one in lines} == {1}, lines
    return {
        "victim": f"{victim} of {count}",
        "event": ACTS[act],
        "seconds": round(ended - acted, 1),
        "statuses": sorted({host.returncode for host in others}),
        "printed": lines[0][0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    rows = []
    for count in asked.counts:
        for act in ACTS:
            for victim in (0, count - 1)[act == "kill" :]:  # JAX ends the others of the first one
                for _ in range(asked.rounds):
                    rows.append(one(act, count, victim))
                    print(json.dumps(rows[-1]), flush=True)
    RESULT.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
