"""Kills a run twenty times at random (SIGKILL) and compares the result with an undisturbed run.

    python benchmarks/training/soak.py [--tokens runs/demo/tokens] [--kills 20]

Each start runs until it has made a first step of its own, then for a random time, so kills come
during steps, saves and evaluations. Steps lost are those that had to be repeated. The two runs must
agree bit for bit: every line of metrics.jsonl except its times, every evaluation, every parameter.
Writes benchmarks/results/soak.json; exits with 1 if anything differs.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet as pq

from pipeline.runs.directory import saved_steps
from pipeline.runs.opened_run import load_run, restore

RESULT = Path(__file__).parents[1] / "results" / "soak.json"
LONGEST = 5.0  # seconds from a start's first step to its kill
UNTIMED = ("seconds", "tokens_per_second", "model_flops_utilization")


def command(tokens: Path, out: Path, steps: int) -> list[str]:
    settings = (
        f"steps={steps} checkpoint_every=5 evaluate_every=100 log_every=1 rows=8 inputs=64 "
        "model.embed=32 model.mlp=64 model.switch.encoder_group_tokens=512 "
        "model.switch.decoder_group_tokens=112"
    ).split()
    asked = ["pretrain", "--recipe=switch-demo", f"--tokens={tokens}", f"--out={out}"]
    return [sys.executable, "-m", "pipeline.cli", *asked, "--set", *settings]


def lines(run: Path) -> list[dict]:
    path = run / "metrics.jsonl"
    found = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in found if line.endswith("}")]


def saved_step(run: Path) -> int:
    """Returns the last whole checkpoint."""
    return max(saved_steps(run), default=0)


def kill_once(asked: list[str], out: Path, generator: random.Random) -> tuple[bool, int, int]:
    """Returns whether it was killed, its last step, and its last checkpoint."""
    started, before, path = time.time(), saved_step(out), out / "metrics.jsonl"

    def has_stepped() -> bool:
        fresh = path.exists() and path.stat().st_mtime > started
        return fresh and any(line["step"] > before for line in lines(out))

    with subprocess.Popen(asked, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not has_stepped():
            time.sleep(0.05)
        time.sleep(generator.uniform(0.0, LONGEST))
        killed = process.poll() is None
        process.kill()
    return killed, max((line["step"] for line in lines(out)), default=0), saved_step(out)


def parameters(run: Path) -> list[np.ndarray]:
    _, trainer = load_run(run)
    arrays, _ = restore(run, trainer, None)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(arrays)]


def differences(one: Path, other: Path) -> list[str]:
    """Returns the differences between two runs."""
    trajectory = [
        [{k: v for k, v in line.items() if k not in UNTIMED} for line in lines(run)]
        for run in (one, other)
    ]
    found = [] if trajectory[0] == trajectory[1] else ["metrics.jsonl"]
    for path in sorted((one / "evaluation").iterdir()):
        if not pq.read_table(path).equals(pq.read_table(other / "evaluation" / path.name)):
            found.append(path.name)
    pairs = zip(parameters(one), parameters(other), strict=True)
    if not all(np.array_equal(left, right) for left, right in pairs):
        found.append("parameters")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=Path, default=Path("runs/demo/tokens"))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if not (asked.tokens / "manifest.json").exists():
        sys.exit(f"Token blocks were expected in {asked.tokens}; run `make demo` first.")
    generator, kills, lost, unfinished = random.Random(asked.seed), 0, [], 0
    with tempfile.TemporaryDirectory() as name:
        whole, killed = Path(name, "whole"), Path(name, "killed")
        subprocess.run(command(asked.tokens, whole, asked.steps), check=True, capture_output=True)
        while kills < asked.kills:
            alive, last, saved = kill_once(
                command(asked.tokens, killed, asked.steps), killed, generator
            )
            if not alive:
                break
            kills += 1
            lost.append(max(last - saved, 0))
            folders = {path.name.split("-")[0] for path in killed.glob("checkpoints/*-*")}
            unfinished += not folders <= set(map(str, saved_steps(killed)))
            print(f"kill {kills}: at step {last}, checkpoint {saved}, {lost[-1]} steps lost")
        subprocess.run(command(asked.tokens, killed, asked.steps), check=True, capture_output=True)
        found = differences(whole, killed)
    result = {
        "kills_survived": kills,
        "steps": asked.steps,
        "checkpoint_every": 5,
        "steps_lost": sum(lost),
        "steps_lost_a_kill": sum(lost) / max(len(lost), 1),
        "kills_during_a_save": unfinished,
        "different": found,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    sys.exit(1 if found or kills < asked.kills else 0)


if __name__ == "__main__":
    main()
