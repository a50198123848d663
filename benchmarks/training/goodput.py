"""The cost of the training loop over its compiled step, and where a run's time goes.

    python benchmarks/training/goodput.py [--tokens runs/demo/tokens] [--minutes 3]

The loop (loader, transfer, accounts, metrics, checkpoints in the background) and the bare step (the
same compiled program, one batch again and again) take turns of some steps each, so a machine's
drift affects both alike; the overhead is the median of the pairs. Then one run of some minutes,
with a checkpoint at least every 60 seconds, shows the share of its time per activity. CPUs give
only an indication: here the writing of checkpoints shares the cores with the step. Writes
benchmarks/results/goodput.json.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import jax
from rich.console import Console

from data.files.json_files import read_json
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import TokenManifest
from model.sharding.mesh import make_mesh
from model.trainer import make_trainer
from pipeline.hardware.compile_cache import keep_compiled_programs
from pipeline.recipe import named
from pipeline.recipe.overrides import override
from pipeline.recipe.recipe import Recipe
from pipeline.training.evaluation import GapFiller, HeldOut, PageEvaluator
from pipeline.training.log.time_account import TimeAccount, shares
from pipeline.training.log.tracking import Tracking
from pipeline.training.loop import Training, device_batches, train
from pipeline.training.profile import Profile
from pipeline.training.run import make_examples

RESULT = Path(__file__).parents[1] / "results" / "goodput.json"
PAIRS, STEPS = 5, 30
SECONDS_BETWEEN_CHECKPOINTS = 45.0  # planned from the bare step; at most 60 in the end
LOOP = ("stepping", "waiting_for_data", "logging")


def sized() -> Recipe:
    """The demo's switch model, wider: a step of some hundred milliseconds."""
    settings = ["model.embed=128", "model.mlp=512", "rows=16", "log_every=10"]
    return override(named.get("switch-demo"), settings)


def training_of(recipe: Recipe, blocks: TokenBlocks, out: Path) -> Training:
    out.mkdir(parents=True)
    trainer = make_trainer(
        recipe.model,
        recipe.optimizer,
        steps=10**6,  # one program, whatever the number of steps
        seed=recipe.seed,
        mesh=make_mesh(recipe.mesh, jax.devices()[:1]),
    )
    held_out = HeldOut(blocks, recipe.lengths, recipe.rows)
    return Training(
        recipe=recipe,
        trainer=trainer,
        examples=make_examples(recipe, blocks),
        evaluator=PageEvaluator(held_out, GapFiller(held_out, recipe), out, print),
        out=out,
        account=TimeAccount(),
        profile=Profile(None, out),
        console=Console(quiet=True),
        tracking=Tracking((), out, {}, print),
    )


class BareStep:
    """The compiled step alone."""

    def __init__(self, training: Training):
        self.state = training.trainer.init()
        self.batch = next(device_batches(training, 0))
        self.step = training.trainer.with_compiled_step(self.state, self.batch).step

    def run(self, steps: int) -> tuple[float, float]:
        """Returns seconds and CPU-seconds per step."""
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(steps):
            self.state, metrics = self.step(self.state, self.batch)
            jax.block_until_ready(metrics)
        return (time.perf_counter() - wall) / steps, (time.process_time() - cpu) / steps


def never(recipe: Recipe, **other: int) -> Recipe:
    """The recipe with checkpoints and evaluations only at its ends."""
    return replace(recipe, checkpoint_every=10**9, evaluate_every=10**9, **other)


def measure_loop(recipe: Recipe, blocks: TokenBlocks, folder: Path) -> dict[str, float]:
    bare = BareStep(training_of(recipe, blocks, folder / "bare"))
    bare.run(5)
    pairs = []
    for number in range(PAIRS):
        alone, _ = bare.run(STEPS)
        training = training_of(never(recipe, steps=STEPS), blocks, folder / str(number))
        train(training)
        loop = sum(training.account.seconds[name] for name in LOOP) / STEPS
        again, _ = bare.run(STEPS)
        pairs.append(loop / ((alone + again) / 2))
    return {
        "bare_step_seconds": bare.run(STEPS)[0],
        "loop_over_bare_step": statistics.median(pairs),
        "lowest": min(pairs),
        "highest": max(pairs),
    }


def measure_goodput(
    recipe: Recipe, blocks: TokenBlocks, out: Path, step_seconds: float, minutes: float
) -> dict:
    steps = max(int(60 * minutes / step_seconds), 10)
    every = max(int(SECONDS_BETWEEN_CHECKPOINTS / step_seconds), 1)
    planned = replace(recipe, steps=steps, checkpoint_every=every, evaluate_every=10**9)
    training = training_of(planned, blocks, out)
    started = time.perf_counter()
    train(training)
    seconds = dict(training.account.seconds)
    running = {name: spent for name, spent in seconds.items() if name not in ("starting",)}
    loop = {name: seconds[name] for name in (*LOOP, "checkpointing")}
    checkpoints = -(-steps // every)
    return {
        "steps": steps,
        "wall_seconds": time.perf_counter() - started,
        "checkpoints": checkpoints,
        "seconds_between_checkpoints": sum(loop.values()) / checkpoints,
        "shares_of_all": shares(running),
        "shares_of_the_loop": shares(loop),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=Path, default=Path("runs/demo/tokens"))
    parser.add_argument("--minutes", type=float, default=3.0)
    asked = parser.parse_args()
    if not (asked.tokens / "manifest.json").exists():
        sys.exit(f"Token blocks were expected in {asked.tokens}; run `make demo` first.")
    keep_compiled_programs()
    blocks = TokenBlocks(asked.tokens, read_json(asked.tokens / "manifest.json", TokenManifest))
    recipe = sized()
    with tempfile.TemporaryDirectory() as name:
        loop = measure_loop(recipe, blocks, Path(name))
        goodput = measure_goodput(
            recipe, blocks, Path(name, "long"), loop["bare_step_seconds"], asked.minutes
        )
    result = {"device": jax.devices()[0].device_kind, "loop": loop, "goodput": goodput}
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2), flush=True)
    # The loader that gave the bare step its one batch reads ahead, and Python would wait for it.
    os._exit(0)


if __name__ == "__main__":
    main()
