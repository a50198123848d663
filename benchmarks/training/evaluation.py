"""The cost of scoring held-out pages over the forward passes that it consists of.

    python benchmarks/training/evaluation.py [--tokens runs/demo/tokens]

`HeldOut.score` (all languages together, one program, sums added up page by page) takes turns with
the bare compiled forward pass on as many batches of the same shape, already on the device. Reported
is the median of the pairs, in CPU seconds of all threads. Each page is scored on its own, so rows
are padded where a page ends; the padded share of a batch is reported beside the ratio. Writes
benchmarks/results/evaluation.json.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from data.files.json_files import read_json
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import TokenManifest
from model.sharding.mesh import make_mesh
from model.trainer import make_trainer
from pipeline.hardware.batches import to_devices
from pipeline.recipe import named
from pipeline.training.evaluation import HeldOut

RESULT = Path(__file__).parents[1] / "results" / "evaluation.json"
ROUNDS, WARM = 7, 1


def cpu_seconds(action: Callable[[], object]) -> float:
    started = time.process_time()
    action()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=Path, default=Path("runs/demo/tokens"))
    asked = parser.parse_args()
    if not (asked.tokens / "manifest.json").exists():
        sys.exit(f"Token blocks were expected in {asked.tokens}; run `make demo` first.")
    blocks = TokenBlocks(asked.tokens, read_json(asked.tokens / "manifest.json", TokenManifest))
    recipe = named.get("switch-demo")
    mesh = make_mesh(recipe.mesh, jax.devices()[:1])
    trainer = make_trainer(recipe.model, recipe.optimizer, steps=1, seed=0, mesh=mesh)
    arrays = trainer.init().arrays
    held_out = HeldOut(blocks, recipe.lengths, recipe.rows)
    made = cpu_seconds(lambda: held_out.batches)
    count, first = len(held_out.batches), held_out.batches[0]
    rows = {"inputs": first.inputs, "targets": first.targets, "language": first.page}
    batch = to_devices(rows, mesh, recipe.rows)

    def forward() -> None:
        for _ in range(count):
            jax.block_until_ready(trainer.score(arrays, batch, len(held_out.languages)))

    forward()  # compiles
    programs = trainer.score._cache_size()
    pairs = [
        (cpu_seconds(lambda: held_out.score(trainer, arrays)), cpu_seconds(forward))
        for _ in range(ROUNDS + WARM)
    ][WARM:]
    ratios = [scored / bare for scored, bare in pairs]
    real = sum(int((one.inputs != 0).sum() + (one.targets != 0).sum()) for one in held_out.batches)
    places = count * recipe.rows * (recipe.lengths.inputs + recipe.lengths.targets)
    result = {
        "languages": len({page.language for page in held_out.pages}),
        "pages": len(held_out.pages),
        "batches": count,
        "cutting_cpu_seconds_once_a_run": made,
        "score_cpu_seconds": statistics.median(scored for scored, _ in pairs),
        "forward_cpu_seconds": statistics.median(bare for _, bare in pairs),
        "score_over_forward": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "programs_compiled": programs,
        "share_of_places_that_are_padding": 1 - real / places,
        "score_a_real_token_over_forward_of_full_rows": float(np.median(ratios)) * places / real,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
