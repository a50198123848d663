"""The share of a week that trains on machines that fail, by the interval between checkpoints.

    python benchmarks/training/preemptible_week.py [--tokens runs/demo/tokens]

First a small run is killed and started again, for the numbers of this machine: how long a save
holds up the loop, how long it takes until it is whole, and how long a start takes until its first
new step. Then weeks are drawn with failures at exponential times, of mean 3, 8 and 24 hours. A
failure loses the start and what was made since the beginning of the last save that was whole; saves
are asynchronous. The interval of Young and Daly (`pipeline/planning/figures.py`) stands
beside the best of a search over the same failures. The same is done for a plan of Switch-C on 256
chips: its saves are planned (`pipeline/planning/figures.py`), and its start is this machine's
and the reading of a checkpoint. Writes benchmarks/results/preemptible_week.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from model.sharding.layouts import with_shardings
from pipeline.planning.figures import STORE_BANDWIDTH, best_interval, planned_checkpoint
from pipeline.planning.topology import topology
from pipeline.recipe.fits import with_mesh
from pipeline.recipe.named import get
from pipeline.runs.checkpoints import Checkpoints
from pipeline.runs.directory import saved_steps
from pipeline.runs.opened_run import load_run

RESULT = Path(__file__).parents[1] / "results" / "preemptible_week.json"
HOURS = (3, 8, 24)  # mean time between failures
WEEK = 7 * 86_400.0
WEEKS = 2_000  # drawn for each mean
INTERVALS = np.geomspace(2, 6 * 3600, 400)  # seconds, that the search tries
SEED = 0
SAVES, EVERY = 5, 40  # saves before the kill, and steps between them
SETTINGS = (
    *("steps=1000000", "log_every=1", f"checkpoint_every={EVERY}", "evaluate_every=0"),
    *("model.embed=128", "model.mlp=512", "rows=16"),
    "model.vocabulary_rows=0",  # as many as the tokens have
)
SLICE = "v5p:4x8x8"


class Costs(NamedTuple):
    """What saves and starts take, in seconds.

    Attributes:
        blocked: for which a save holds up the loop.
        written: from the beginning of a save until it is whole.
        restart: from the start of a command until its first new step.
    """

    blocked: float
    written: float
    restart: float


def share_that_trains(interval: float, costs: Costs, uptimes: np.ndarray) -> float:
    """Returns the share of time whose work is kept.

    Save number k begins after k intervals of work and k - 1 saves before it.

    Args:
        interval: seconds of work between the beginnings of two saves.
        costs: seconds of saves and starts.
        uptimes: seconds between two failures, restarts included.
    """
    up = np.maximum(uptimes - costs.restart, 0.0)
    after = max(costs.written, costs.blocked) - costs.blocked
    whole = np.floor(np.maximum(up - after, 0.0) / (interval + costs.blocked))
    return float(np.sum(whole * interval) / np.sum(uptimes))


def uptimes(hours: float) -> np.ndarray:
    """Returns the times between failures of many weeks."""
    generator = np.random.default_rng(SEED)
    count = round(WEEKS * WEEK / (hours * 3600))
    return generator.exponential(hours * 3600, count)


def compared(costs: Costs, hours: float) -> dict[str, float]:
    """Returns the shares at Young and Daly's interval and at the best of the search."""
    drawn = uptimes(hours)
    daly = best_interval(costs.blocked, costs.written, hours * 3600)
    tried = [one for one in INTERVALS if one >= costs.written]
    shares = [share_that_trains(one, costs, drawn) for one in tried]
    best = int(np.argmax(shares))
    share = share_that_trains(daly, costs, drawn)
    return {
        "hours_between_failures": hours,
        "interval_seconds": daly,
        "share_that_trains": share,
        "best_interval_seconds": float(tried[best]),
        "best_share": shares[best],
        "points_below_the_best": 100 * (shares[best] - share),
    }


def measured(tokens: Path, out: Path) -> Costs:
    """Returns the costs of a small run on this machine, which is killed and started again."""
    started(tokens, out, lambda: len(steps(out)) > SAVES * EVERY + EVERY // 2)
    there = len(steps(out))
    began = time.perf_counter()
    last = saved_steps(out)[-1]
    started(tokens, out, lambda: last < len(steps(out)) < there)
    return Costs(*saves(out), time.perf_counter() - began)


def started(tokens: Path, out: Path, reached: Callable[[], bool]) -> None:
    """Starts the run, and kills it once something is reached."""
    words = ["pretrain", "--recipe=switch-demo", f"--tokens={tokens}", f"--out={out}"]
    command = [sys.executable, "-m", "pipeline.cli", *words, "--set", *SETTINGS]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not reached():
        if process.poll() is not None:
            sys.exit(f"The run ended by itself: {' '.join(command)}")
        time.sleep(0.05)
    process.kill()
    process.wait()


def steps(run: Path) -> list[int]:
    """Returns the logged steps."""
    log = run / "metrics.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return [json.loads(line)["step"] for line in lines if line.endswith("}")]


def saves(run: Path) -> tuple[float, float]:
    """Returns the median seconds of a save's call, and until its checkpoint is whole."""
    _, trainer = load_run(run)
    shapes = with_shardings(jax.eval_shape(trainer.init), trainer.shardings)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(run / "checkpoints")
        state = checkpoints.restore(checkpoints.steps()[-1], shapes)
        checkpoints.close()
        for number in range(SAVES + 1):
            checkpoints = Checkpoints(Path(folder, str(number)))
            began = time.perf_counter()
            checkpoints.save(number, state)
            blocked = time.perf_counter() - began
            checkpoints.close()
            found.append((blocked, time.perf_counter() - began))
    blocked, written = np.median(found[1:], axis=0)  # the first compiles
    return float(blocked), float(written)


def planned(restart: float) -> Costs:
    """Returns the costs of Switch-C on 256 chips by plan; a start reads what a save wrote."""
    devices = topology(SLICE).devices
    checkpoint = planned_checkpoint(with_mesh(get("switch-c"), len(devices)), devices)
    reading = checkpoint.host / STORE_BANDWIDTH
    return Costs(checkpoint.blocked, checkpoint.written, restart + reading)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=Path, default=Path("runs/demo/tokens"))
    asked = parser.parse_args()
    if not (asked.tokens / "manifest.json").exists():
        sys.exit(f"Token blocks were expected in {asked.tokens}; run `make demo` first.")
    with tempfile.TemporaryDirectory() as folder:
        here = measured(asked.tokens, Path(folder, "run"))
    result = {
        name: {"seconds": costs._asdict(), "weeks": [compared(costs, hours) for hours in HOURS]}
        for name, costs in {
            "this machine": here,
            f"switch-c on {SLICE}, by plan": planned(here.restart),
        }.items()
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
