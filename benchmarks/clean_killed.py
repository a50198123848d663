"""Kills `mswitch clean` at random moments (SIGKILL), all its processes at once, until it is done.

    python benchmarks/clean_killed.py [--kills 10] [--rules mswitch-web mc4 demo] [--workers 1 2 4]

On the web pages of the shared data, for each rule set and number of workers. Each start is left
alone for a random time, up to three quarters of a whole run's length; a run that ends in spite of
it is compared and another begun, until enough kills have fallen; then it may end. A kill falls into
a write where it leaves a file that is not whole yet in a scratch folder; those are counted, since
renames alone are tested elsewhere. No piece that had its tally may be done again, and the output
must be, byte for byte, that of one undisturbed process.
Writes benchmarks/results/clean_killed.json; exits with 1 if anything differs.
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

RESULT = Path(__file__).parent / "results" / "clean_killed.json"
SEED = 0
EARLIEST = 2.0  # seconds; before, Python loads modules


def command(out: Path, rules: str, workers: int) -> list[str]:
    """Returns the command; one worker is a process of its own, too, as two are."""
    beam = ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    asked = ["clean", f"--input={WEB}/*.warc.wet.gz", f"--rules={rules}", f"--out={out}"]
    return [sys.executable, "-m", "pipeline.cli", *asked, "--", *beam]


def run(asked: list[str], seconds: float | None) -> bool:
    """Runs it, for so long at most; says whether it ended by itself."""
    with subprocess.Popen(asked, stderr=subprocess.PIPE, start_new_session=True) as process:
        try:
            _, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return False
    if process.returncode:
        sys.exit(f"{asked} failed: {said.decode()[-2000:]}")
    return True


def finished_pieces(out: Path) -> dict[str, int]:
    """Returns when each tally was written."""
    tallies = (out / "work").rglob("*.json")
    return {
        str(path): path.stat().st_mtime_ns
        for path in tallies
        if path.parent.name != "scratch" and not path.name.startswith("shards-")
    }


def unfinished_writes(out: Path) -> int:
    """Returns how many files are not whole."""
    return sum(path.is_file() for path in out.glob("work/**/scratch/**/*"))


def contents(out: Path) -> dict[str, bytes]:
    """Returns the files of a corpus."""
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


class Seen(NamedTuple):
    """What was seen of one or several runs that were killed.

    Attributes:
        kills: how many.
        kills_inside_a_write: of them, how many left a file that was not whole.
        finished_pieces_redone: pieces that had their tally and got another.
    """

    kills: int = 0
    kills_inside_a_write: int = 0
    finished_pieces_redone: int = 0

    def plus(self, other: "Seen") -> "Seen":
        """Returns the sums."""
        return Seen(*map(sum, zip(self, other, strict=True)))


def killed(out: Path, asked: list[str], kills: int, longest: float, draw: random.Random) -> Seen:
    """Runs it to its end, killed so many times at most; returns what was seen."""
    seen = Seen()
    before: dict[str, int] = {}
    while not run(asked, draw.uniform(EARLIEST, longest) if seen.kills < kills else None):
        found = finished_pieces(out)
        whole = (out / "manifest.json").exists()  # then the workspace is being removed
        kept = found if whole else before
        again = sum(found.get(path) != before.get(path) for path in before.keys() & kept.keys())
        seen = seen.plus(Seen(1, unfinished_writes(out) > 0, again))
        before = found
    return seen


def rounds(
    directory: Path, rules: str, workers: int, kills: int, longest: float, whole: dict[str, bytes]
) -> dict[str, Any]:
    """Returns what was seen until so many kills have fallen, and whether all outputs are alike."""
    draw, seen, same, number = random.Random(f"{SEED} {rules} {workers}"), Seen(), True, 0
    while seen.kills < kills:
        number, out = number + 1, directory / f"{workers}-{number}"
        left = kills - seen.kills
        seen = seen.plus(killed(out, command(out, rules, workers), left, longest, draw))
        same = same and contents(out) == whole
    about = {"rules": rules, "workers": workers, "runs": number}
    return {**about, **seen._asdict(), "identical": same}


def main() -> None:
    """Runs all, and writes what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rules", nargs="+", default=["mswitch-web", "mc4", "demo"])
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 4])
    asked = parser.parse_args()
    results = []
    for rules in asked.rules:
        with tempfile.TemporaryDirectory() as name:
            started = time.monotonic()
            run(command(Path(name, "whole"), rules, 1), None)
            seconds = time.monotonic() - started
            whole = contents(Path(name, "whole"))
            for workers in asked.workers:
                result = rounds(Path(name), rules, workers, asked.kills, 0.75 * seconds, whole)
                results.append(result)
                print(json.dumps(results[-1]), flush=True)
    RESULT.write_text(json.dumps(results, indent=1) + "\n")
    if not all(one["identical"] and not one["finished_pieces_redone"] for one in results):
        sys.exit("A killed run differs from the undisturbed one, or did finished work again.")


if __name__ == "__main__":
    main()
