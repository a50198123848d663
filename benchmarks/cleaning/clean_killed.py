"""Kills `mswitch clean` at random moments (SIGKILL), all its processes at once, until it is done.

    python benchmarks/cleaning/clean_killed.py [--kills 10]
        [--rules mswitch-web mc4 demo] [--workers 1 2 4]

The input is the web pages of the shared data, for each rule set and number of worker processes, cut
into many small work items as a cluster cuts terabytes. Each start runs for a random time, from a
fifth of a whole run's length with as many workers to nearly all of it. A run that ends before its
kill is compared and another begun, until there were enough kills. A kill counts as inside a write
if it leaves a new file in a scratch folder. No work item with a tally, and no file of the corpus,
may be written again; the output must be, byte for byte, that of one undisturbed process. Writes
benchmarks/results/clean_killed.json. Exits with 1 if anything differs, or if no kill came inside a
write or after a finished work item.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from grown_web import WEB

RESULT = Path(__file__).parents[1] / "results" / "clean_killed.json"
SMALL_PIECES = Path(__file__).parents[2] / "tests/engines/small_pieces.py"
SEED = 0


class Seen(NamedTuple):
    """Observations of one or several runs that were killed.

    Attributes:
        kills: number of kills.
        kills_inside_a_write: number of kills that left a file that was not whole.
        kills_behind_finished_pieces: number of kills after finished work items.
        written_again: finished work items and files of the corpus that were written again.
    """

    kills: int = 0
    kills_inside_a_write: int = 0
    kills_behind_finished_pieces: int = 0
    written_again: int = 0

    def plus(self, other: "Seen") -> "Seen":
        """Returns the sums."""
        return Seen(*map(sum, zip(self, other, strict=True)))


def command(out: Path, rules: str, workers: int) -> list[str]:
    """Returns the command; a single worker is also a process of its own."""
    beam = ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    asked = ["clean", f"--input={WEB}/*.warc.wet.gz", f"--rules={rules}", f"--out={out}"]
    return [sys.executable, str(SMALL_PIECES), *asked, "--", *beam]


def run(asked: list[str], seconds: float | None) -> bool:
    """Runs it within a time limit; returns whether it ended by itself."""
    with subprocess.Popen(asked, stderr=subprocess.PIPE, start_new_session=True) as process:
        try:
            _, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return False
    if process.returncode:
        sys.exit(f"{asked} failed: {said.decode()[-2000:]}")
    return True


def finished(out: Path) -> dict[Path, int]:
    """Returns when each tally and each file of the corpus was written."""
    tallies = {path for path in out.glob("work/*/*/*.json")}
    files = {path for path in out.rglob("*.parquet") if "work" not in path.parts}
    return {path: path.stat().st_mtime_ns for path in tallies | files}


def unfinished(out: Path) -> set[Path]:
    """Returns incomplete files; what kills leave stays until the run ends."""
    return {path for path in out.glob("work/**/scratch/**/*") if path.is_file()}


def contents(out: Path) -> dict[str, bytes]:
    """Returns the files of a corpus."""
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def killed(out: Path, asked: list[str], kills: int, whole: float, draw: random.Random) -> Seen:
    """Runs it to its end with a limited number of kills; returns the observations."""
    seen, done, left = Seen(), {}, set()
    while not run(asked, whole * draw.uniform(0.2, 0.95) if seen.kills < kills else None):
        now, scraps = finished(out), unfinished(out)
        gone = (out / "manifest.json").exists()  # the run is whole, its workspace is being removed
        again = sum(now.get(path, 0 if not gone else at) != at for path, at in done.items())
        seen = seen.plus(Seen(1, bool(scraps - left), bool(now), again))
        done, left = now, scraps
    last = finished(out)
    return seen.plus(
        Seen(written_again=sum(last[path] != done[path] for path in last.keys() & done.keys()))
    )


def rounds(directory: Path, rules: str, workers: int, kills: int) -> dict[str, Any]:
    """Returns the observations of so many kills, and whether all outputs are equal."""
    draw, seen, number = random.Random(f"{SEED} {rules} {workers}"), Seen(), 0
    started = time.monotonic()
    run(command(directory / "whole", rules, workers), None)
    seconds = time.monotonic() - started
    outs = [directory / "whole"]
    while seen.kills < kills:
        number += 1
        outs.append(directory / f"killed-{number}")
        asked = command(outs[-1], rules, workers)
        seen = seen.plus(killed(outs[-1], asked, kills - seen.kills, seconds, draw))
    same = all(contents(out) == contents(directory.parent / "one") for out in outs)
    return {"rules": rules, "workers": workers, "runs": number, **seen._asdict(), "identical": same}


def main() -> None:
    """Runs all cases and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rules", nargs="+", default=["mswitch-web", "mc4", "demo"])
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 4])
    asked = parser.parse_args()
    if not WEB.exists():
        sys.exit(f"Web pages were expected in {WEB}, which does not exist.")
    results = []
    for rules in asked.rules:
        with tempfile.TemporaryDirectory() as name:
            run(command(Path(name, "one"), rules, 1), None)
            for workers in asked.workers:
                directory = Path(name, str(workers))
                directory.mkdir()
                results.append(rounds(directory, rules, workers, asked.kills))
                print(json.dumps(results[-1]), flush=True)
    RESULT.write_text(json.dumps(results, indent=1) + "\n")
    if not all(map(holds, results)):
        sys.exit("A killed run differs from the undisturbed one, or the kills showed nothing.")


def holds(result: dict[str, Any]) -> bool:
    """Returns whether a row has the kills that it needs and no difference."""
    showed = result["kills_inside_a_write"] and result["kills_behind_finished_pieces"]
    return bool(showed and result["identical"] and not result["written_again"])


if __name__ == "__main__":
    main()
