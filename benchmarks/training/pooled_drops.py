"""Tokens dropped by capacity counted per small group, per pool, and over a whole batch.

    python benchmarks/training/pooled_drops.py --tokens runs/.../tokens
        --run runs/.../switch-0/trunk

The run's own choices of experts, on batches of its own training text with its jitter, are cut into
groups as small as those of Switch-C on 4,096 chips (512 inputs, 114 targets), and into groups with
as many tokens per expert as there (a quarter of one; capacity is then the least possible, 2).
Assignments over capacity are counted per layer by `assign_slots`. A pool of groups drops what one
group of all its tokens does (`tests/model/switch/test_capacity.py`), so pools are counted as
such, also one of all batches: 4,096 chips have a hundred times more tokens at once. Writes
benchmarks/results/pooled_drops.json.
"""

import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data.examples.loader import batches
from data.files.json_files import read_json
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import TokenManifest
from model.batch import Call
from model.config import expert_capacity
from model.switch.capacity import assign_slots
from pipeline.hardware.batches import to_devices
from pipeline.runs.opened_run import load_run, restore
from pipeline.training.run import make_examples

RESULT = Path(__file__).parents[1] / "results" / "pooled_drops.json"
FACTOR = 1.25
LEAST = 2  # Switch-C's minimum capacity
SMALL = {"encoder": 512, "decoder": 114}  # tokens of a group on 4,096 chips
SPARSE = 0.25  # tokens per expert there


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--batches", type=int, default=20)
    asked = parser.parse_args()
    counted = {"run": asked.run.name, "batches": asked.batches, "factor": FACTOR}
    experts = load_run(asked.run)[0].model.switch.experts
    choices = list(routed(asked.run, asked.tokens, asked.batches))
    for stack in SMALL:
        counted[stack] = cuttings(np.stack([one[stack] for one in choices], 1), stack, experts)
    RESULT.write_text(json.dumps(counted, indent=1) + "\n")
    print(json.dumps(counted, indent=1))


def routed(run: Path, tokens: Path, count: int) -> Iterator[dict[str, np.ndarray]]:
    """Yields, by stack, each layer's experts of a batch's tokens; padding has the next number."""
    recipe, trainer = load_run(run)
    arrays, _ = restore(run, trainer, None)
    blocks = TokenBlocks(tokens, read_json(tokens / "manifest.json", TokenManifest))
    examples = make_examples(recipe, blocks)
    experts = recipe.model.switch.experts

    @jax.jit
    def forward(arrays: Any, batch: Any, key: Any) -> Any:
        output = trainer.model(arrays)(batch, Call(trainer.mesh, key))
        stacks = output.encoder_routing, output.decoder_routing
        return [routing.expert_index[..., 0] for routing in stacks]

    source = batches(examples, rows=recipe.rows, first_batch=0, host=0, hosts=1)
    for number, rows in enumerate(itertools.islice(source, count)):
        batch = to_devices(rows, trainer.mesh, recipe.rows)
        chosen = jax.device_get(forward(arrays, batch, jax.random.key(number)))
        real = batch.inputs != 0, batch.is_target
        masked = [
            np.where(np.asarray(m)[None], c, experts) for c, m in zip(chosen, real, strict=True)
        ]
        yield {stack: one.reshape(len(one), -1) for stack, one in zip(SMALL, masked, strict=True)}


def cuttings(choices: np.ndarray, stack: str, experts: int) -> dict[str, dict[str, float]]:
    """Returns the shares dropped of [layers, batches, tokens], by tokens of a group."""
    whole, together = choices.shape[-1], choices.reshape(len(choices), -1)
    sizes = {"small groups": SMALL[stack], "as many tokens per expert": int(SPARSE * experts)}
    found = {name: dropped(choices, size, experts) for name, size in sizes.items()}
    found["pool of a batch"] = dropped(choices, whole, experts)
    found["pool of all batches"] = dropped(together, together.shape[-1], experts)
    return found


def dropped(choices: np.ndarray, size: int, experts: int) -> dict[str, float]:
    """Returns what groups of this many tokens drop; a rest of the batch is left out."""
    groups = choices.shape[-1] // size
    cut = choices[..., : groups * size].reshape(-1, size, 1)
    capacity = expert_capacity(size, experts, FACTOR, LEAST)
    slots = jax.jit(jax.vmap(lambda index: assign_slots(index, experts, capacity)))(cut)
    real = cut < experts
    over = real & (np.asarray(slots.position) >= capacity)
    return {
        "tokens": size,
        "capacity": capacity,
        "dropped": float(over.sum() / real.sum()),
        "slots over tokens": experts * capacity / size,
    }


if __name__ == "__main__":
    main()
