"""Reads mutated inputs with every reader of strangers' bytes: `make fuzz`, or this file.

Each reader's inputs are numbered and the same in every run. They are read in child processes that
may allocate 2 GiB beyond their start and spend a minute per input; a child that dies leaves its
input behind. Prints a table of readers, and replaces their rows in `benchmarks/results/fuzz.json`.
Exits with 1 if any input broke a promise (`family.py`); those inputs lie in `build/fuzz`.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE), str(ROOT / "tests/helpers")]

from all_families import FAMILIES  # noqa: E402  after the path
from family import Broken, Family  # noqa: E402

ALLOWED_BYTES = 2 << 30
SECONDS_PER_INPUT = 60  # a hang, not a slow machine: most take less than a millisecond
INPUTS_PER_CHILD = 20_000
MOST_SAVED = 20
FOUND = ROOT / "build/fuzz"
RESULT = ROOT / "benchmarks/results/fuzz.json"
HEAD = (
    f"{'reader':28}{'inputs':>9}{'accepted':>10}{'refused':>9}"
    f"{'worst work':>12}{'MiB':>6}{'broken':>8}"
)


def main() -> int:
    """Fuzzes every reader, or the numbered inputs of one; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="of all readers together")
    parser.add_argument("--family", help="one reader only")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    families = [one for one in FAMILIES if asked.family in (None, one.name)]
    if asked.child is not None:
        print(json.dumps(_child(families[0], asked.child, asked.inputs)))
        return 0
    print(HEAD)
    rows = [_fuzz(one, -(-asked.inputs // len(families))) for one in families]
    return 1 if any(row["broken"] for row in rows) else 0


def _fuzz(family: Family, inputs: int) -> dict[str, int]:
    total = Counter[str]()
    for first in range(0, inputs, INPUTS_PER_CHILD):
        count = min(INPUTS_PER_CHILD, inputs - first)
        found = _in_child(family, first, count)
        worst = {name: max(total[name], found.pop(name, 0)) for name in ("work", "MiB")}
        total.update(found)
        total |= worst
    print(
        f"{family.name:28}{total['inputs']:>9,}{total['accepted']:>10,}{total['refused']:>9,}"
        f"{total['work']:>12,}{total['MiB']:>6,}{total['broken']:>8,}",
        flush=True,
    )
    counts = ("inputs", "accepted", "refused", "work", "MiB", "broken")
    row = {name: total[name] for name in counts}
    _record(family.name, row)
    return row


def _record(reader: str, row: dict[str, int]) -> None:
    """Replaces a reader's row of the result; rows of readers that are gone go too."""
    found = json.loads(RESULT.read_text()) if RESULT.exists() else []
    rows = {one["reader"]: one for one in found} | {reader: {"reader": reader, **row}}
    kept = [rows[family.name] for family in FAMILIES if family.name in rows]
    RESULT.write_text(json.dumps(kept, indent=1) + "\n")


def _in_child(family: Family, first: int, count: int) -> dict[str, int]:
    """Reads the inputs in a child; after one that dies, goes on behind the input that killed it."""
    command = [sys.executable, __file__, "--family", family.name, "--child", str(first)]
    done = subprocess.run(
        [*command, "--inputs", str(count)], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode == 0:
        return json.loads(done.stdout)
    number = int((FOUND / "number").read_text())
    print(f"  {family.name}: input {number} ended its process with {done.returncode}", flush=True)
    _save(family, number)
    rest = (
        _in_child(family, number + 1, first + count - number - 1)
        if number + 1 < first + count
        else {}
    )
    before = {"inputs": number + 1 - first, "broken": 1}
    return dict(Counter(before) + Counter(rest))


def _child(family: Family, first: int, count: int) -> dict[str, int]:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    total, at_start = Counter[str](), _peak()
    FOUND.mkdir(parents=True, exist_ok=True)
    _limit_memory()
    with tempfile.TemporaryDirectory() as directory, (FOUND / "number").open("w") as file:
        for number in range(first, first + count):
            os.pwrite(file.fileno(), f"{number:<12}".encode(), 0)
            signal.alarm(SECONDS_PER_INPUT)
            try:
                found = family.trial(family.input(number), Path(directory))
            except Broken as error:
                total["broken"] += 1
                if total["broken"] <= MOST_SAVED:
                    print(f"  input {number}: {error}", file=sys.stderr, flush=True)
                    _save(family, number)
            else:
                total["refused" if found.refused else "accepted"] += 1
                total["work"] = max(total["work"], found.work)
    return {"inputs": count, "MiB": (_peak() - at_start) >> 10} | total


def _save(family: Family, number: int) -> None:
    name = "".join(character if character.isalnum() else "_" for character in family.name)
    (FOUND / f"{name}-{number}").write_bytes(family.input(number))


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ALLOWED_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    sys.exit(main())
