"""Faults every stage and prints what came out: `make faults`.

    PYTHONPATH=tests/helpers python -m tests.faults [--kills 20] [--rounds 2] [--seed 0]

Every fault must end in the right bytes or in one sentence. Prints a table of stage, fault and
outcomes, replaces its rows in `benchmarks/results/faults.json`, and exits with 1 if anything else
came out. Disks are mounted in memory, which needs root; without it their faults are not run.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before anything imports JAX

from tests.faults.kinds import FAULTS, HARMLESS, Bench
from tests.faults.material import make

RESULT = Path("benchmarks/results/faults.json")
NOT_RUN = "not run: mounting a disk needs root"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=list(FAULTS))
    parser.add_argument("--stages", nargs="+", default=[])
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        bench, stages = Bench(Path(name), random.Random(asked.seed)), make(Path(name))
        for fault in asked.only:
            names, strike = FAULTS[fault]
            for stage in names:
                if asked.stages and stage not in asked.stages:
                    continue
                count = asked.kills if fault == "SIGKILL" else asked.rounds
                started = time.monotonic()
                if "disk" in fault and os.geteuid() != 0:
                    outcomes = Counter({NOT_RUN: 1})
                else:
                    outcomes = strike(bench, stages[stage], count)
                rows.append({"stage": stage, "fault": fault, "rounds": count, **outcomes})
                print(json.dumps(rows[-1]), f"{time.monotonic() - started:.0f} s", flush=True)
                record(rows[-1])
    print_table(rows)
    sys.exit(int(any(name not in (*KEYS, *HARMLESS, NOT_RUN) for row in rows for name in row)))


KEYS = ("stage", "fault", "rounds")
ROWS = [(fault, stage) for fault, (names, _) in FAULTS.items() for stage in names]


def record(row: dict) -> None:
    """Replaces the row of this stage and fault in the result."""
    found = json.loads(RESULT.read_text()) if RESULT.exists() else []
    rows = {(one["fault"], one["stage"]): one for one in (*found, row)}
    kept = [rows[pair] for pair in ROWS if pair in rows]
    RESULT.write_text(json.dumps(kept, indent=1) + "\n")


def print_table(rows: list[dict]) -> None:
    table = Table("stage", "fault", "rounds", "outcomes", box=None)
    for row in rows:
        outcomes = ", ".join(f"{name}: {n}" for name, n in row.items() if name not in KEYS)
        table.add_row(row["stage"], row["fault"], str(row["rounds"]), outcomes)
    Console().print(table)


if __name__ == "__main__":
    main()
